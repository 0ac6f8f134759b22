"""The Prefect server, the MLflow server and the worker of a home: started together, ended together, leaving nothing."""

import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tasks.launch.stage import request_stop
from tasks.record.files import read_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, begun_stages
from tasks.record.lock import owner
from tasks.services.environment import (
    client_environment,
    mlflow_command,
    mlflow_environment,
    server_command,
    server_environment,
    use_server,
    worker_command,
)
from tasks.services.processes import end, free_port, log_file, spawn, spawn_temporary, wait_until_it_answers
from tasks.services.records import SERVICES, ServiceRecord, alive, record_file, recorded

logger = logging.getLogger("pretune")

PREFECT_PORT, MLFLOW_PORT = 4200, 5000
STOP_TRAINING_SECONDS = 150.0
"""Longer than a supervisor gives its ranks to reach a step boundary."""
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}


def start_servers(home: Path, prefect_port: int | None = None, mlflow_port: int | None = None) -> None:
    """Start what does not run of the two servers, and wait until both answer. Loopback only.

    Raises ConfigError for a port that is taken, StageError for a server that does not come up.
    """
    if alive(home, "prefect") is None:
        port = free_port(prefect_port, PREFECT_PORT, "--prefect-port")
        logger.info("starting the Prefect server on port %d (about 20 s the first time)", port)
        spawn(home, "prefect", server_command(port), server_environment(home, port), port)
    if alive(home, "mlflow") is None:
        port = free_port(mlflow_port, MLFLOW_PORT, "--mlflow-port")
        logger.info("starting the MLflow server on port %d", port)
        spawn(home, "mlflow", mlflow_command(home, port), mlflow_environment(home), port)
    for name, path in HEALTH.items():
        record = recorded(home, "prefect" if name == "prefect" else "mlflow")
        assert record is not None
        wait_until_it_answers(f"{record.url}{path}", partial(is_alive, record), log_file(home, name))


def start_worker(home: Path) -> None:
    """Start the one worker, which runs flows that are triggered in the UI or by a schedule. Needs the Prefect server."""
    server = alive(home, "prefect")
    assert server is not None and server.port is not None
    if alive(home, "worker") is None:
        spawn(home, "worker", worker_command(), client_environment(home, server.port), None)


def use_running_server(home: Path) -> bool:
    """Point this process at the Prefect server of `pretune up`, if that runs; one that is starting is waited for."""
    server = alive(home, "prefect")
    if server is not None and server.port is not None:
        url = f"http://127.0.0.1:{server.port}{HEALTH['prefect']}"
        wait_until_it_answers(url, lambda: server.process() is not None, log_file(home, "prefect"))
        use_server(home, server.port)
    return server is not None


@contextmanager
def temporary_server(home: Path) -> Iterator["TemporaryServer"]:
    """A Prefect server for one run of the command line, on the same database as that of `pretune up`."""
    port = free_port(None, 0, "")
    use_server(home, port, pages=False)
    process = spawn_temporary(home, server_command(port, temporary=True), server_environment(home, port))
    try:
        yield TemporaryServer(home, port, process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class TemporaryServer:
    def __init__(self, home: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.home, self.port, self.process = home, port, process

    def wait(self) -> None:
        """Until it answers; raises StageError if it does not come up."""
        url = f"http://127.0.0.1:{self.port}{HEALTH['prefect']}"
        wait_until_it_answers(url, lambda: self.process.poll() is None, log_file(self.home, "prefect-temporary"))


def is_alive(record: ServiceRecord) -> bool:
    return record.process() is not None


def stop_services(home: Path, keep_training: bool = False) -> list[str]:
    """End trainings at a step boundary (unless they are to go on), then the services; returns what was ended, by name."""
    if not keep_training:
        stop_stages(running_stages(home))
    spare = {int(holder["pid"]) for stage in running_stages(home) if (holder := owner(stage)) and "pid" in holder}
    ended: list[str] = []
    for name in reversed(SERVICES):
        record: ServiceRecord | None = recorded(home, name)
        if record is None:
            continue
        if record.process() is not None:
            end(record, spare)
            ended.append(name)
        record_file(home, name).unlink(missing_ok=True)
    return ended


def running_stages(home: Path) -> list[StageLayout]:
    return [stage for stage in begun_stages(home) if owner(stage) is not None]


def stages_of(home: Path, name: str) -> list[StageLayout]:
    """The stages that run now for a run or a fine-tune: its own, and the data that is prepared for it."""
    own = (RunLayout(home, name).path, FinetuneLayout(home, name).path)
    return [
        stage
        for stage in running_stages(home)
        if any(stage.path.is_relative_to(path) for path in own)
        or (stage.orchestrator.exists() and read_json(stage.orchestrator).get("run", "").partition(" ")[0] == name)
    ]


def stop_stages(stages: list[StageLayout]) -> None:
    """Ask each to stop at its next step boundary, and wait until they have."""
    for stage in stages:
        logger.info("%-24s stops at the next step boundary", stage.path.name)
        request_stop(stage)
    deadline = time.monotonic() + STOP_TRAINING_SECONDS
    while any(owner(stage) is not None for stage in stages) and time.monotonic() < deadline:
        time.sleep(0.2)
