import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flows.catch_up import missed_slot, slots_between
from flows.deployed import keep_deployed
from tasks.config.finetuning import FinetuneFile, ScheduleConfig
from tasks.record.layout import FinetuneLayout, deployed_folder
from tasks.record.outcomes import Outcome, note_outcome

BERLIN = ZoneInfo("Europe/Berlin")
DAILY = ScheduleConfig(cron="30 2 * * *", timezone="Europe/Berlin")


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=BERLIN)


def test_slots_follow_the_time_zone_through_both_changes_of_daylight_saving():
    """On 2026-03-29 there is no 2:30 in Berlin, on 2026-10-25 there are two: each day has one slot all the same."""
    spring = slots_between(DAILY, at(2026, 3, 28, 0, 0), at(2026, 3, 31, 0, 0))
    autumn = slots_between(DAILY, at(2026, 10, 24, 0, 0), at(2026, 10, 27, 0, 0))

    assert [one.astimezone(BERLIN).day for one in spring] == [28, 29, 30]
    assert [one.astimezone(BERLIN).day for one in autumn] == [24, 25, 26]
    assert [one.astimezone(UTC).hour for one in (autumn[0], autumn[-1])] == [0, 1]


def test_an_interval_has_its_slots_too():
    hourly = ScheduleConfig(every_minutes=60)
    assert len(slots_between(hourly, at(2026, 5, 1, 0, 30), at(2026, 5, 1, 5, 30))) == 5


@pytest.fixture
def settings() -> FinetuneFile:
    return FinetuneFile(name="topic", base="run:demo", schedule=(DAILY,))


def test_what_was_never_deployed_and_never_ran_has_missed_nothing(home, settings):
    assert missed_slot(home, settings, DAILY) is None


def test_of_many_missed_slots_the_last_is_caught_up_with(home, settings):
    keep_deployed(home, settings)
    deployed = datetime.now(UTC) - timedelta(days=9)
    os.utime(deployed_folder(home) / "topic.json", (deployed.timestamp(), deployed.timestamp()))

    slot = missed_slot(home, settings, DAILY)
    assert slot is not None
    assert datetime.now(UTC) - timedelta(days=1, hours=1) < slot <= datetime.now(UTC)

    note_outcome(FinetuneLayout(home, "topic"), Outcome(came="Skipped", message="base, data and recipe unchanged"))
    assert missed_slot(home, settings, DAILY) is None
