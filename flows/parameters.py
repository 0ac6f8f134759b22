"""What every flow takes, and what it does before its first stage."""

import logging
from typing import Annotated, Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from pydantic import Field

from flows.states import plan_run
from tasks.config.config import Config
from tasks.config.section import NAME_PATTERN
from tasks.launch.stage import request_stop
from tasks.record.files import read_json, write_json
from tasks.record.layout import RunLayout, begun_stages, home

logger = logging.getLogger("pretune")

RunName = Annotated[str, Field(pattern=NAME_PATTERN)]
FinetuneName = Annotated[str, Field(pattern=NAME_PATTERN)] | None
"""The sentences of the run form stand in the flows' docstrings, where Prefect looks for them."""


def open_run(config: Config, name: str) -> RunLayout:
    """The folder of the run, with its configuration written down.

    Raises RequestChangedError, naming the field, before anything is started or changed.
    """
    if not logger.level:
        logger.setLevel(logging.INFO)  # a worker's process has no main of ours that would
    plan_run(config, name, home())
    run = RunLayout(home(), name)
    values = config.model_dump(mode="json")
    if not run.config.exists() or read_json(run.config) != values:
        write_json(run.config, values)
    return run


def stop_stages(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for a cancelled flow run: every stage that it waits for stops at its next step boundary."""
    for stage in begun_stages(home()):
        if stage.orchestrator.exists() and read_json(stage.orchestrator)["flow_run_id"] == str(flow_run.id):
            logger.info("%s: asked to stop", stage.path.name)
            request_stop(stage)
