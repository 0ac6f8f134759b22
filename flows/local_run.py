"""Runs a flow in the process of the command line. Importing Prefect comes after its settings are in place."""

import logging
import os
from collections.abc import Callable

from tasks.config.config import Config
from tasks.data.inputs.commits import pinned
from tasks.launch.stage import start_or_attach
from tasks.record.layout import RunLayout, home
from tasks.services.servers import TemporaryServer, temporary_server, use_running_server
from tasks.stages.work import Work, in_one_part, prepare_work

logger = logging.getLogger("pretune")

QUIET_CONSOLE = {"PREFECT_LOGGING_ROOT_LEVEL": "CRITICAL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""The terminal gets pretune's own lines; Prefect's are kept by its server, with each run."""

DRAIN_SECONDS = 5


def run_flow(call: Callable[[], object], first: Callable[[], Work | None] = lambda: None) -> None:
    """Call a flow at the Prefect server that the user has set, or that of `pretune up`, or a temporary one of its own.

    `first` gives work that is begun while a temporary server starts; the flow joins it. Raises the PretuneError of the stage
    that failed.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        os.environ.update(QUIET_CONSOLE)
    if os.environ.get("PREFECT_API_URL") or use_running_server(home()):
        call_flow(call)
        return
    logger.info("starting a Prefect server for this run (20 s the first time); the first stage is begun meanwhile")
    with temporary_server(home()) as server:
        if (work := first()) is not None:
            start_or_attach(work.stage, work.request)
        wait_for(server)
        call_flow(call)


def first_of_run(config: Config, name: str) -> Work | None:
    """The text of a run, if one process prepares it."""
    work = prepare_work(home(), pinned(RunLayout(home(), name), config))
    return work if in_one_part(work.request, config.preparation) else None


def wait_for(server: TemporaryServer) -> None:
    import prefect  # noqa: F401  (takes two seconds, which the server needs anyway)

    server.wait()


def call_flow(call: Callable[[], object]) -> None:
    """What Prefect still has to send is sent before this returns."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    try:
        call()
    finally:
        EventsWorker.drain_all(timeout=DRAIN_SECONDS)
        APILogWorker.drain_all(timeout=DRAIN_SECONDS)
