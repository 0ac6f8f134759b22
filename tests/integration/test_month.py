"""A month of refreshes in some minutes: every slot of a daily schedule is given to the worker as if its time had come.

The labels decide what comes of a day, by margins that no seed can turn around: the words of a text tell its label, or it is
drawn by lot.
"""

import json
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import pytest

from flows.catch_up import slots_between
from tasks.config.finetuning import ScheduleConfig
from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import read_outcomes
from tests.kit.finished_runs import tiny_values, write_inputs
from tests.kit.servers import Services, pretune, start_services, tail
from tests.kit.stages import TOPICS

pytestmark = [pytest.mark.soak, pytest.mark.timeout(2400)]

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULE = ScheduleConfig(cron="30 2 * * *", timezone="Europe/Berlin")
FIRST, LAST = datetime(2025, 10, 1, tzinfo=BERLIN), datetime(2025, 11, 1, tzinfo=BERLIN)
"""With the 26th, on which 2:30 came twice."""
NAME = "topics"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    home = tmp_path_factory.mktemp("home").resolve()
    try:
        yield start_services(home)
    finally:
        pretune(home, "down")


def write_examples(path: Path, count: int, by_lot: int | None = None) -> None:
    """Texts of three topics; with `by_lot`, the seed of a lottery, their labels mean nothing."""
    chance, rows = random.Random(by_lot), []
    for i in range(count):
        topic, words = list(TOPICS.items())[i % 3]
        word, other = words.split()[i // 3 % 5], words.split()[i // 15 % 5]
        label = topic if by_lot is None else chance.choice(list(TOPICS))
        rows.append({"text": f"{i}: {word} and {other}", "label": label})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pretrained(services: Services, folder: Path, run: str, seed: int) -> None:
    """A base of its own run; all are versions of the registered model `tiny`."""
    values = tiny_values(folder) | {"finetune": []}
    values["pretrain"]["seed"] = seed
    made = services.wait(services.trigger("pretrain/demo", config=values, name=run).json()["id"])
    assert made["type"] == "COMPLETED", f"{made['message']} {tail(services.home)}"


def fire(services: Services, slot: datetime, key: str = "") -> str:
    """What the scheduler does when a slot has come; returns the flow run."""
    with services.prefect() as client:
        found = client.get(f"/deployments/name/refresh/{NAME}").json()
        state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": slot.isoformat()}}
        asked = {"state": state, "tags": ["auto-scheduled"], "idempotency_key": f"{slot.isoformat()} {key}"}
        return client.post(f"/deployments/{found['id']}/create_flow_run", json=asked).raise_for_status().json()["id"]


def came(state: dict[str, Any]) -> str:
    return f"{state['name']}: {state['message']}"


def runs_of(services: Services) -> list[dict[str, Any]]:
    with services.prefect() as client:
        found = client.post("/flow_runs/filter", json={"flows": {"name": {"any_": ["refresh"]}}, "sort": "START_TIME_DESC"})
        return found.json()


def kill_flow(services: Services, run_id: str) -> None:
    """End the process of a flow run as a power cut would, while its candidate is trained."""
    deadline = time.monotonic() + 120
    while not list(FinetuneLayout(services.home, NAME).path.glob("*/finetune/lock")) or not training(services.home):
        assert time.monotonic() < deadline, tail(services.home)
        time.sleep(0.05)
    for process in psutil.process_iter(["environ"]):
        of_it = (process.info["environ"] or {}).get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run_id.replace("-", "")
        if of_it and "prefect" in (line := " ".join(process.cmdline())) and "tasks." not in line:
            os.kill(process.pid, signal.SIGKILL)


def training(home: Path) -> bool:
    """Whether a supervisor works on a candidate that is not done."""
    begun = FinetuneLayout(home, NAME).path.glob("*/finetune/request.json")
    return any(not path.with_name("manifest.json").exists() for path in begun)


def test_a_month_gives_exactly_the_versions_aliases_states_and_history_that_its_days_ask_for(services, tmp_path):
    folder = tmp_path / "in"
    write_inputs(folder)
    data = folder / "topics.jsonl"
    write_examples(data, 300, by_lot=1)
    pretrained(services, folder, "first", 0)
    file = tmp_path / "topics.toml"
    file.write_text(
        f'name = "{NAME}"\nbase = "models:/tiny@pretrained"\nepochs = 8\nbatch_size = 16\nmicro_batch_size = 16\n'
        f'max_length = 32\nlearning_rate = 1e-2\n[examples]\nsource = "jsonl"\npath = "{data}"\ntest_fraction = 0.3\n'
        f'[gate]\nabove_majority = "off"\nabove_random_init = "off"\n[launch]\nnum_processes = 1\n'
        f'[[schedule]]\ncron = "{SCHEDULE.cron}"\ntimezone = "{SCHEDULE.timezone}"\n'
    )
    done = pretune(services.home, "deploy", str(file))
    assert done.returncode == 0, done.stderr
    slots = slots_between(SCHEDULE, FIRST, LAST)
    assert len(slots) == 31
    assert [slot.astimezone(UTC).hour for slot in slots] == [0] * 26 + [1] * 5

    states: dict[int, list[str]] = {}
    for day, slot in enumerate(slots, 1):
        if day == 6:
            write_examples(data, 330)
        if day == 12:
            write_examples(data, 340, by_lot=2)
        if day == 15:
            write_examples(data, 330)
        if day == 20:
            write_examples(data, 360)
        if day == 25:
            before = {run["id"] for run in runs_of(services)}
            pretrained(services, folder, "second", 1)
            states[day] = [came(services.wait(triggered(services, before)))]
        ids = [fire(services, slot)]
        if day == 6:
            ids.append(fire(services, slot, "twice"))
        if day == 20:
            kill_flow(services, ids[0])
        states[day] = states.get(day, []) + [came(services.wait(one)) for one in ids]

    told = {day: found for day, found in states.items() if not all("unchanged" in one for one in found)}
    assert sorted(told) == [1, 6, 12, 20, 21, 25], json.dumps(told, indent=1)
    assert told[1][0].startswith("Promoted: v1: accuracy"), told[1]
    assert sorted(one.partition(":")[0] for one in told[6]) == ["Promoted", "Skipped"]
    assert any(one.startswith("Promoted: v2: +") and "points [" in one for one in told[6]), told[6]
    assert told[12][0].startswith("Rejected: v3: "), told[12]
    assert states[15] == [f"Skipped: base, data and recipe unchanged since v2 ({outcomes_day(services.home, 2)})"]
    assert told[20][0].startswith("Crashed"), told[20]
    assert told[21][0].startswith("Rejected: v4: "), told[21]
    assert told[25][0].startswith("Rejected: v5: ") and "unchanged since v5" in told[25][1], told[25]

    check_registry(services)


def check_registry(services: Services) -> None:
    versions = versions_in(services)
    assert sorted(versions) == [1, 2, 3, 4, 5]
    assert services.alias(NAME, "champion")["version"] == "2"
    assert services.alias(NAME, "previous")["version"] == "1"
    assert services.alias(NAME, "candidate")["version"] == "5"
    assert [f"{one.came} {one.version}" for one in read_outcomes(FinetuneLayout(services.home, NAME)) if one.version] == [
        "Promoted 1", "Promoted 2", "Rejected 3", "Rejected 4", "Rejected 5",
    ]  # fmt: skip
    named = {run["name"] for run in runs_of(services)}
    assert {f"{NAME} 2025-10-{day:02d}" for day in range(1, 32)} <= named | {f"{NAME} 2025-09-30"}


def triggered(services: Services, before: set[str]) -> str:
    """The refresh that the new base started."""
    deadline = time.monotonic() + 90
    while True:
        new = [run["id"] for run in runs_of(services) if run["id"] not in before and not run["auto_scheduled"]]
        if new:
            return new[0]
        assert time.monotonic() < deadline, tail(services.home)
        time.sleep(0.5)


def versions_in(services: Services) -> list[int]:
    with services.mlflow() as client:
        found = client.get("/model-versions/search", params={"filter": f"name='{NAME}'"}).json()
    return [int(one["version"]) for one in found["model_versions"]]


def outcomes_day(home: Path, version: int) -> str:
    return next(one.time[:10] for one in read_outcomes(FinetuneLayout(home, NAME)) if one.version == version)
