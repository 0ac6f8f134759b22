"""Runs the pipeline in the process of the command line. Importing Prefect comes after its settings are in place."""

import logging
import os
from typing import Literal

from tasks.config.config import Config
from tasks.data.inputs.commits import pinned
from tasks.launch.stage import start_or_attach
from tasks.record.layout import RunLayout, home
from tasks.services.servers import TemporaryServer, temporary_server, use_running_server
from tasks.stages.work import in_one_part, prepare_work

logger = logging.getLogger("pretune")

QUIET_CONSOLE = {"PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""The terminal gets pretune's own lines; Prefect's are kept by its server, with each run."""

DRAIN_SECONDS = 5
FlowName = Literal["pipeline", "prepare"]


def run_flow(config: Config, name: str, flow: FlowName = "pipeline") -> None:
    """At the Prefect server that the user has set, or that of `pretune up`, or a temporary one of this run's own."""
    if not logger.isEnabledFor(logging.DEBUG):
        os.environ.update(QUIET_CONSOLE)
    if os.environ.get("PREFECT_API_URL") or use_running_server(home()):
        call_flow(config, name, flow)
        return
    logger.info("starting a Prefect server for this run (20 s the first time); the text is prepared meanwhile")
    with temporary_server(home()) as server:
        begin_preparation(pinned(RunLayout(home(), name), config))
        wait_for(server)
        call_flow(config, name, flow)


def begin_preparation(config: Config) -> None:
    """Start the first stage, if it is small and not done, while the server starts; the flow joins it."""
    work = prepare_work(home(), config)
    if in_one_part(work.request, config.preparation):
        start_or_attach(work.stage, work.request)


def wait_for(server: TemporaryServer) -> None:
    import prefect  # noqa: F401  (takes two seconds, which the server needs anyway)

    server.wait()


def call_flow(config: Config, name: str, flow: FlowName) -> None:
    """Raises the PretuneError of the stage that failed. What Prefect still has to send is sent before this returns."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    from flows.pipeline import pipeline
    from flows.preparation import prepare

    try:
        pipeline(config, name) if flow == "pipeline" else prepare(config, name)
    finally:
        EventsWorker.drain_all(timeout=DRAIN_SECONDS)
        APILogWorker.drain_all(timeout=DRAIN_SECONDS)
