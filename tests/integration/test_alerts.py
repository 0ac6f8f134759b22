"""What cannot say of itself that something is wrong, since it stands still, is told by the server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tasks.services.records import alive
from tests.integration.test_approval import asking, received, until  # noqa: F401  (fixtures)
from tests.kit.servers import Services, pretune, processes_of

pytestmark = pytest.mark.soak

IMPATIENT = """
from tasks.record.layout import home
from tasks.services.servers import use_running_server
assert use_running_server(home())
from flows import automations
automations.LATE_MINUTES = automations.SILENT_MINUTES = 1 / 6
automations.register_alerts(home())
"""


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def told(services: Services, bodies: list[dict[str, Any]], run: str) -> dict[str, Any]:
    return until(lambda: next((one for one in bodies if run in one.get("url", "")), None), services, 120)


def engines(services: Services) -> list[psutil.Process]:
    """The processes of flow runs."""
    return [one for one in processes_of(services.home) if "prefect.engine" in " ".join(one.cmdline())]


def heartbeats(services: Services, run: str) -> int:
    asked = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    with services.prefect() as client:
        return client.post("/events/filter", json={"filter": asked}).json()["total"]


def test_what_hangs_and_what_is_late_is_told(services, received, asking):  # noqa: F811
    url, bodies = received
    assert pretune(services.home, "alerts", "--webhook", url).returncode == 0
    parameters = asking("stuck", approval="none")
    subprocess.run([sys.executable, "-c", IMPATIENT], env=os.environ | {"PRETUNE_HOME": str(services.home)}, check=True)

    run = services.trigger("refresh/stuck", **parameters).json()["id"]
    until(lambda: heartbeats(services, run), services)
    (engine,) = engines(services)
    with stopped(engine):
        hung = told(services, bodies, run)
    assert hung["what"].startswith("gave no sign of life for ") and hung["flow_run"].startswith("stuck 20")
    assert services.wait(run)["name"] == "Promoted"

    worker = alive(services.home, "worker")
    assert worker is not None
    with stopped(psutil.Process(worker.pid)):
        run = services.trigger("refresh/stuck", **parameters).json()["id"]
        late = told(services, bodies, run)
    assert late["what"].startswith("is late by more than ") and late["state"] == "Late"
    assert services.wait(run)["name"] == "Skipped"
    assert pretune(services.home, "alerts", "--off").returncode == 0
