"""What the Prefect UI shows: every flow once per preset with its form filled in, and the schedules of recurring fine-tunes."""

import logging
from typing import Any, Literal

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists
from prefect.schedules import Cron
from prefect.utilities.callables import ParameterSchema

from flows.finetuning import finetune
from flows.pipeline import pipeline
from flows.prediction import predict
from flows.preparation import prepare
from flows.pretraining import pretrain
from flows.promotion import promote
from tasks.config.config import Config
from tasks.config.presets import load_config, preset_names
from tasks.services.environment import WORK_POOL

logger = logging.getLogger("pretune")

FLOWS: tuple[Flow[Any, Any], ...] = (pipeline, prepare, pretrain, finetune, promote)


class ClosedSchema(ParameterSchema):
    """A form whose unknown keys the server refuses; with Prefect's own, such a run would be taken and crash."""

    additionalProperties: Literal[False]


def register_deployments() -> list[str]:
    """Create or update the work pool and all deployments at the server in use; returns their names."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", description="Flows of this machine"))
        except ObjectAlreadyExists:
            logger.debug("work pool %s is there", WORK_POOL)
    names = []
    for preset in preset_names():
        for deployment in deployments_of(preset, load_config([preset])):
            deployment.apply()
            names.append(f"{deployment.flow_name}/{deployment.name}")
    asking = deployment_of(predict, "registered-model", "", {})
    asking.apply()
    return [*names, f"{asking.flow_name}/{asking.name}"]


def deployments_of(preset: str, config: Config) -> list[RunnerDeployment]:
    """One deployment per flow, and one per fine-tune that has a schedule."""
    parameters = {"config": config.model_dump(mode="json"), "name": preset}
    about = config.description
    made = [deployment_of(flow, preset, about, parameters) for flow in FLOWS]
    for one in config.finetune:
        if one.schedule is not None:
            recurring = parameters | {"finetune_name": one.name, "on_change": "new run"}
            made.append(deployment_of(finetune, f"{preset}-{one.name}-recurring", about, recurring, one.schedule))
    return made


def deployment_of(
    flow: Flow[Any, Any], name: str, about: str, parameters: dict[str, Any], schedule: str | None = None
) -> RunnerDeployment:
    """Found by module, never by file: the flow's process imports it as this one does."""
    made = RunnerDeployment.from_flow(
        flow,
        name=name,
        description="\n\n".join(part for part in ((flow.description or "").split("\n\n")[0], about) if part),
        parameters=parameters,
        schedules=[Cron(schedule)] if schedule else None,
        tags=["pretune"],
        work_pool_name=WORK_POOL,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made._parameter_openapi_schema = ClosedSchema(**made._parameter_openapi_schema.model_dump(), additionalProperties=False)
    return made
