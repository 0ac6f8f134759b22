"""What is scheduled runs, and in two minutes no loop of the servers or the worker fails."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.kit.loop_work import LOOPS, RARE_LOOPS, get, give_work, let_loops_be_heard, post, turns
from tests.kit.servers import FINAL, Services, pretune, start_services, tail, tiny_parameters

RECURRING = "/deployments/name/finetune/demo-topic-recurring"
ALONE_SECONDS = 120.0
ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b|Traceback|\w(Error|Exception)\b")


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Services:
    home = tmp_path_factory.mktemp("home").resolve()
    let_loops_be_heard(home / "prefect")
    try:
        yield start_services(home)
    finally:
        pretune(home, "down")


@pytest.fixture(scope="module")
def since(services) -> float:
    """When `up` had started everything."""
    return time.monotonic()


@pytest.fixture(scope="module")
def loops_have_worked(services, since) -> dict[str, Callable[[], bool]]:
    with services.prefect() as client:
        client.headers["Connection"] = "close"  # it is used now and then, and the server ends a connection that is idle
        yield give_work(client)


def test_up_alone_schedules_the_recurring_fine_tune_of_a_preset(services, since):
    until(lambda: len(scheduled(services)) == 3, services, 60.0)

    times = [datetime.fromisoformat(run["expected_start_time"]) for run in scheduled(services)]
    assert {(one.weekday(), one.hour, one.minute) for one in times} == {(0, 3, 0)}
    assert [later - earlier for earlier, later in pairwise(times)] == [timedelta(days=7)] * 2
    assert timedelta(0) < times[0] - datetime.now(UTC) <= timedelta(days=7)


def test_what_is_scheduled_every_minute_is_executed_by_the_worker(services, loops_have_worked, tmp_path):
    config = tiny_parameters(tmp_path / "in")
    made = services.wait(services.trigger("pretrain/demo", config=config, name="weekly").json()["id"])
    assert made["type"] == "COMPLETED", tail(services.home)
    with services.prefect() as client:
        recurring = get(client, RECURRING)
        wanted = {"config": config, "name": "weekly", "finetune_name": "animals", "on_change": "new run"}
        path = f"/deployments/{recurring['id']}"
        assert client.patch(path, json={"parameters": wanted}).is_success
        every_minute = {"schedule": {"cron": "* * * * *"}}
        assert client.patch(f"{path}/schedules/{recurring['schedules'][0]['id']}", json=every_minute).is_success

    until(lambda: any(run["state_type"] in FINAL for run in scheduled(services)), services)

    fired = next(run for run in scheduled(services) if run["state_type"] in FINAL)
    assert fired["state_type"] == "COMPLETED", f"{fired['state']['message']}\n{tail(services.home)}"
    # Prefect rounds the wait to whole seconds: a run may begin half a second early.
    planned, began = (datetime.fromisoformat(fired[key]) for key in ("expected_start_time", "start_time"))
    assert planned.second == 0 and timedelta(seconds=-1) <= began - planned < timedelta(seconds=60)
    assert services.alias("tiny-animals", "candidate")["version"] == "1"


def test_in_two_minutes_each_loop_turns_and_no_log_has_an_error(services, since, loops_have_worked):
    until(lambda: time.monotonic() - since > ALONE_SECONDS and all(did() for did in loops_have_worked.values()), services)

    logs = {path.name: path.read_text(errors="replace") for path in (services.home / "services").glob("*.log")}
    assert {"prefect.log", "mlflow.log", "worker.log"} <= logs.keys()
    turned = turns(logs["prefect.log"])
    assert turned.keys() == LOOPS
    assert {name for name in turned if turned[name] < 2} <= RARE_LOOPS
    assert [f"{name}: {line}" for name, log in logs.items() for line in log.splitlines() if ERROR.search(line)] == []


def scheduled(services: Services) -> list[dict[str, Any]]:
    """Runs that a schedule made, the first one first."""
    with services.prefect() as client:
        asked = {"flow_runs": {"tags": {"all_": ["auto-scheduled"]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [run for run in post(client, "/flow_runs/filter", **asked) if run["auto_scheduled"]]


def until(condition: Callable[[], bool], services: Services, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (
            f"{(services.home / 'services/prefect.log').read_text()[-3000:]}\n{tail(services.home)}"
        )
        time.sleep(0.5)
