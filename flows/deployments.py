"""What the Prefect UI shows: a run's flows once per preset, with the form filled in, and fine-tunes with their schedules."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.schedules import Cron, Interval, Schedule
from prefect.utilities.callables import ParameterSchema

from flows.automations import register_alerts, register_expiry, remove_expiry
from flows.catch_up import catch_up
from flows.deployed import deployed
from flows.judging import evaluate, promote
from flows.pipeline import pipeline
from flows.prediction import predict
from flows.preparation import prepare
from flows.pretraining import pretrain
from flows.refresh import refresh
from tasks.config.finetuning import FinetuneFile, ScheduleConfig
from tasks.config.gate import GateConfig
from tasks.config.presets import changed, load_config, preset_names
from tasks.orchestration.events import NEW_BASE, base_resource
from tasks.services.environment import WORK_POOL

logger = logging.getLogger("pretune")

RUN_FLOWS: tuple[Flow[Any, Any], ...] = (pipeline, prepare, pretrain)
VERSION_FLOWS: tuple[Flow[Any, Any], ...] = (evaluate, promote, predict)
"""What is done with a version that is named in the form."""


class ClosedSchema(ParameterSchema):
    """A form whose unknown keys the server refuses; with Prefect's own, such a run would be taken and crash."""

    additionalProperties: Literal[False]


def register_deployments(home: Path) -> list[str]:
    """Create or update the work pool and all deployments at the server in use; returns their names."""
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", description="Flows of this machine"))
        except ObjectAlreadyExists:
            logger.debug("work pool %s is there", WORK_POOL)
    finetunes = [
        *(one for preset in preset_names() for one in load_config([preset]).finetunes(preset)),
        *deployed(home).values(),
    ]
    made = [one for preset in preset_names() for one in deployments_of(preset)]
    made += [deployment_of(flow, "any version", {}) for flow in VERSION_FLOWS]
    for deployment in made:
        identity = cast(UUID, deployment.apply())
        if deployment.flow_name == promote.name:  # of any model: a run that is woken before its time asks again
            register_expiry(f"{promote.name}/{deployment.name}", identity, GateConfig().approval_days)
    made += [deploy_finetune(settings) for settings in finetunes]
    register_alerts(home)
    catch_up(home, finetunes)
    return [f"{deployment.flow_name}/{deployment.name}" for deployment in made]


def deployments_of(preset: str) -> list[RunnerDeployment]:
    """One deployment per flow of a run."""
    config = load_config([preset])
    parameters = {"config": config.model_dump(mode="json"), "name": preset}
    return [deployment_of(flow, preset, parameters, config.description) for flow in RUN_FLOWS]


def deploy_finetune(settings: FinetuneFile) -> RunnerDeployment:
    """Create or update the deployment of a fine-tune at the server in use, and what ends its waits for approval."""
    made = finetune_deployment(settings)
    identity, name = cast(UUID, made.apply()), f"{refresh.name}/{settings.name}"
    if settings.gate.approval == "required":
        register_expiry(name, identity, settings.gate.approval_days)
    else:
        remove_expiry(name)
    return made


def remove_finetune(name: str) -> None:
    """Take the deployment of a fine-tune away, with its runs that have not begun."""
    remove_expiry(f"{refresh.name}/{name}")
    with get_client(sync_client=True) as client:
        try:
            client.delete_deployment(client.read_deployment_by_name(f"{refresh.name}/{name}").id)
        except ObjectNotFound:
            logger.debug("refresh/%s is not there", name)


def finetune_deployment(settings: FinetuneFile) -> RunnerDeployment:
    """With its schedules, whose runs may have settings that differ, and with a trigger on its base."""
    parameters = {"settings": settings.model_dump(mode="json")}
    return deployment_of(
        refresh, settings.name, parameters, f"From {settings.base} to {settings.name}.",
        schedules=[schedule_of(settings, one) for one in settings.schedule],
        triggers=[on_new_base(settings)],
    )  # fmt: skip


def on_new_base(settings: FinetuneFile) -> DeploymentEventTrigger:
    """Another model where its base is looked for starts a refresh, as a schedule would."""
    assert settings.base is not None
    return DeploymentEventTrigger(
        name=f"refresh {settings.name} from a new base",
        expect={NEW_BASE},
        match={"prefect.resource.id": base_resource(settings.base)},
    )


def schedule_of(settings: FinetuneFile, one: ScheduleConfig) -> Schedule:
    parameters = {"settings": changed(settings, one.settings).model_dump(mode="json")} if one.settings else {}
    if one.cron is not None:
        return Cron(one.cron, timezone=one.timezone, parameters=parameters)
    return Interval(timedelta(minutes=one.every_minutes or 0), timezone=one.timezone, parameters=parameters)


def deployment_of(
    flow: Flow[Any, Any], name: str, parameters: dict[str, Any], description: str = "", **starts: Any
) -> RunnerDeployment:
    """Found by module, never by file: the flow's process imports it as this one does. `starts` are schedules and triggers."""
    made = RunnerDeployment.from_flow(
        flow,
        name=name,
        description="\n\n".join(part for part in ((flow.description or "").split("\n\n")[0], description) if part),
        parameters=parameters,
        **starts,
        tags=["pretune"],
        work_pool_name=WORK_POOL,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    made._parameter_openapi_schema = ClosedSchema(**made._parameter_openapi_schema.model_dump(), additionalProperties=False)
    return made
