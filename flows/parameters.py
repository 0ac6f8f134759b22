"""What every flow takes, and what it does before its first stage."""

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run as this_flow_run
from pydantic import Field

from flows.states import plan_run
from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.config.section import NAME_PATTERN
from tasks.data.inputs.commits import keep_commits, pinned
from tasks.data.inputs.sources import located
from tasks.launch.stage import request_stop
from tasks.record.files import read_json, write_json
from tasks.record.layout import RunLayout, begun_stages, home

logger = logging.getLogger("pretune")

RunName = Annotated[str, Field(pattern=NAME_PATTERN)]
ModelName = Annotated[str, Field(pattern=NAME_PATTERN)]
"""The sentences of the run form stand in the flows' docstrings, where Prefect looks for them."""


def open_run(config: Config, name: str) -> Config:
    """The configuration that the run's stages take: with its commits of data sets on the hub. Both are written down.

    Raises RequestChangedError, naming the field, before anything is started or changed. A flow inside of another one, which has
    asked that for the same configuration, does not ask again: it would look up every input once more.
    """
    hear_log()
    run = RunLayout(home(), name)
    settled, values = pinned(run, config), config.model_dump(mode="json")
    changed = not run.config.exists() or read_json(run.config) != values
    if changed or not inside_of_a_flow():
        plan_run(settled, name, home())
        settled = keep_commits(run, config, settled)
    if changed:
        write_json(run.config, values)
    return settled


def settled(settings: FinetuneFile) -> FinetuneFile:
    """The settings with absolute paths, as the processes that read them work in another folder."""
    hear_log()
    return located(settings)


def hear_log() -> None:
    if not logger.level:
        logger.setLevel(logging.INFO)  # a worker's process has no main of ours that would


def inside_of_a_flow() -> bool:
    """Whether the flow that runs now was called by another one."""
    now = FlowRunContext.get()
    return now is not None and now.flow_run is not None and now.flow_run.parent_task_run_id is not None


def meant_for() -> datetime:
    return this_flow_run.scheduled_start_time or datetime.now(UTC)


def started_by() -> dict[str, Any]:
    """Which flow run this is, and its slot, where a schedule made it."""
    tags = this_flow_run.tags or []
    return {"flow_run_id": this_flow_run.id, "slot": meant_for().isoformat() if "auto-scheduled" in tags else None}


def stop_stages(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for a cancelled flow run: every stage that it waits for stops at its next step boundary."""
    for stage in begun_stages(home()):
        if stage.orchestrator.exists() and read_json(stage.orchestrator)["flow_run_id"] == str(flow_run.id):
            logger.info("%s: asked to stop", stage.path.name)
            request_stop(stage)
