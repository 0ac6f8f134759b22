"""What is scheduled runs, and in two minutes no loop of the servers or the worker fails."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import read_outcomes
from tests.kit.loop_work import LOOPS, RARE_LOOPS, give_work, let_loops_be_heard, post, turns
from tests.kit.servers import FINAL, Services, pretune, start_services, tail, tiny_parameters

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


def test_what_is_deployed_recurs_at_the_worker_and_ends_as_promoted_then_as_skipped(services, loops_have_worked, tmp_path):
    config = tiny_parameters(tmp_path / "in")
    made = services.wait(services.trigger("pretrain/demo", config=config, name="weekly").json()["id"])
    assert made["type"] == "COMPLETED", tail(services.home)
    file = finetune_file(tmp_path / "minutely.toml", config)
    deployed = pretune(services.home, "deploy", str(file))
    assert deployed.stdout == "deployed refresh/minutely: cron * * * * * (UTC)\n", deployed.stderr

    until(lambda: len(ended(services, "minutely")) >= 2, services)

    first, second = ended(services, "minutely")[:2]
    assert [one["state"]["name"] for one in (first, second)] == ["Promoted", "Skipped"], f"{first}\n{tail(services.home)}"
    assert first["name"] == f"minutely {first['expected_start_time'][:10]}"
    assert first["state"]["message"].startswith("v1: accuracy ") and "unchanged since v1" in second["state"]["message"]
    # Prefect rounds the wait to whole seconds: a run may begin half a second early.
    planned, began = (datetime.fromisoformat(first[key]) for key in ("expected_start_time", "start_time"))
    assert timedelta(seconds=-1) <= began - planned < timedelta(seconds=60)
    assert services.alias("minutely", "champion")["version"] == "1"
    outcomes = read_outcomes(FinetuneLayout(services.home, "minutely"))
    assert [(one.came, one.flow_run_id) for one in outcomes[:2]] == [("Promoted", first["id"]), ("Skipped", second["id"])]
    assert datetime.fromisoformat(outcomes[0].slot) == planned

    removed = pretune(services.home, "deploy", "--remove", str(file))
    assert removed.stdout == "removed refresh/minutely; what it made is kept\n", removed.stderr
    with services.prefect() as client:
        assert client.get("/deployments/name/refresh/minutely").status_code == 404
    assert services.alias("minutely", "champion")["version"] == "1"


def finetune_file(path: Path, config: dict[str, Any]) -> Path:
    """The fine-tune of a run's configuration as a file of its own, every minute."""
    one = config["finetune"][0]
    examples, gate = (
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in one[section].items() if value is not None)
        for section in ("examples", "gate")
    )
    settings = "".join(f"{key} = {one[key]}\n" for key in ("epochs", "batch_size", "micro_batch_size", "max_length"))
    path.write_text(
        f'name = "minutely"\nbase = "run:weekly"\n{settings}\n[examples]\n{examples}\n[gate]\n{gate}\n'
        '[launch]\nnum_processes = 1\n\n[[schedule]]\ncron = "* * * * *"\n'
    )
    return path


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


def ended(services: Services, name: str) -> list[dict[str, Any]]:
    """Scheduled runs of a fine-tune that have come to their end, the first one first."""
    return [run for run in scheduled(services) if run["state_type"] in FINAL and run["name"].startswith(f"{name} ")]


def until(condition: Callable[[], bool], services: Services, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (
            f"{(services.home / 'services/prefect.log').read_text()[-3000:]}\n{tail(services.home)}"
        )
        time.sleep(0.5)
