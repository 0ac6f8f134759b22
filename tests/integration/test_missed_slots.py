"""A slot that passed while nothing ran is caught up with by `up`, once."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import read_outcomes
from tests.integration.test_approval import asking  # noqa: F401  (a fixture)
from tests.kit.servers import pretune, running, tail

pytestmark = pytest.mark.soak


def test_a_slot_that_passed_while_nothing_ran_is_caught_up_with_once(services, asking, tmp_path):  # noqa: F811
    asking("missed", approval="none")
    file = tmp_path / "missed.toml"
    slot = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    file.write_text(f'{file.read_text()}\n[[schedule]]\ncron = "{slot.minute} * * * *"\n')
    assert pretune(services.home, "deploy", str(file)).returncode == 0
    assert pretune(services.home, "down").returncode == 0
    assert datetime.now(UTC) < slot, "it was to pass while nothing runs"
    time.sleep((slot - datetime.now(UTC)).total_seconds() + 2)

    again = running(services.home)

    with again.prefect() as client:
        asked = {"deployments": {"name": {"any_": ["missed"]}}, "flow_runs": {"expected_start_time": {"before_": now()}}}
        (run,) = client.post("/flow_runs/filter", json=asked).json()
    assert "catch-up" in run["tags"] and not run["auto_scheduled"]
    assert again.wait(run["id"])["name"] == "Promoted", tail(services.home)
    assert [one.came for one in read_outcomes(FinetuneLayout(services.home, "missed"))] == ["Promoted"]
    pretune(services.home, "down")
    once_more = running(services.home)
    with once_more.prefect() as client:
        asked = asked | {"flow_runs": {"expected_start_time": {"before_": now()}}}
        assert [one["id"] for one in client.post("/flow_runs/filter", json=asked).json()] == [run["id"]]


def now() -> str:
    return datetime.now(UTC).isoformat()
