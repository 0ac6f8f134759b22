"""Which cron expressions are taken: each of them is understood by Prefect and fires; the others are refused in a sentence."""

import random
from datetime import datetime

import pytest
from prefect._vendor.croniter import CroniterBadDateError, croniter
from prefect.schedules import Cron

from tasks.config.cron import MONTHS, UNITS, WEEKDAYS, check_cron
from tasks.config.presets import parse_config
from tasks.record.errors import ConfigError
from tests.kit.finished_runs import config_on_files, tiny_values

FROM = datetime(2026, 1, 1)
"""A Thursday."""
NEXT = {
    "* * * * *": datetime(2026, 1, 1, 0, 1),
    "0 3 * * 1": datetime(2026, 1, 5, 3, 0),
    "0 3 * * MON-FRI": datetime(2026, 1, 1, 3, 0),
    "30 4 1,15 * *": datetime(2026, 1, 1, 4, 30),
    "*/20 9-17/4 * feb,dec sun": datetime(2026, 2, 1, 9, 0),
    "5/15 * * * *": datetime(2026, 1, 1, 0, 5),
    "0 0 29 2 *": datetime(2028, 2, 29),
    "0 0 31 2,3 *": datetime(2026, 3, 31),
    "0 0 * * 7": datetime(2026, 1, 4),
}


@pytest.mark.parametrize("cron", NEXT)
def test_a_good_expression_is_taken_and_fires_when_it_says(cron):
    check_cron("schedule.cron", cron)
    assert croniter(Cron(cron).cron, FROM).get_next(datetime) == NEXT[cron]


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("", "has 0 fields and needs five: minute, hour, day of month, month, day of week"),
        ("weekly", "has 1 fields and needs five"),
        ("* * * * * *", "has 6 fields and needs five"),
        ("60 * * * *", "minute '60' is not one; use 0 to 59"),
        ("0 24 * * *", "hour '24' is not one; use 0 to 23"),
        ("0 0 0 * *", "day of month '0' is not one; use 1 to 31"),
        ("0 0 * 13 *", "month '13' is not one; use 1 to 12 or jan|feb|"),
        ("0 0 * * 8", "day of week '8' is not one; use 0 to 7 or sun|mon|"),
        ("0 0 * mon *", "month 'mon' is not one"),
        ("R * * * *", "minute 'r' is not one"),
        ("²  * * * *", "minute '²' is not one"),
        ("*/0 * * * *", "minute '*/0' is empty; a range goes upwards, and a step is 1 or more"),
        ("0 0 * * fri-mon", "day of week 'fri-mon' is empty"),
        ("0 3, * * *", "hour '' is none of *, a number, a range"),
        ("? * * * *", "minute '?' is none of"),
        ("0 0 30 2 *", "never fires, since no month in it has a day 30; name a day up to 29, or other months"),
        ("0 0 31 feb,apr 1", "never fires, since no month in it has a day 31; name a day up to 30"),
    ],
)
def test_a_bad_expression_is_refused_in_one_sentence(cron, reason):
    with pytest.raises(ValueError) as refusal:
        check_cron("schedule.cron", cron)
    said = str(refusal.value)
    assert said.startswith(f"schedule.cron={cron!r}") and reason in said and "\n" not in said


def test_whatever_is_taken_is_understood_by_prefect_and_fires():
    draw, taken = random.Random(0), 0
    for _ in range(4000):
        cron = " ".join(any_field(draw, unit) for unit in UNITS)
        try:
            check_cron("schedule", cron)
        except ValueError:
            continue
        taken += 1
        assert croniter(Cron(cron).cron, FROM).get_next(datetime) > FROM, cron
    assert taken > 1000


def test_prefect_itself_takes_a_date_that_never_comes_and_fails_at_it():
    with pytest.raises(CroniterBadDateError):
        croniter(Cron("0 0 31 feb,apr 1").cron, FROM).get_next(datetime)


def any_field(draw: random.Random, unit: str) -> str:
    """A field as people write them; about one in ten of those drawn is wrong."""
    low, high = UNITS[unit]
    words = {"month": MONTHS, "day of week": WEEKDAYS}.get(unit, ())
    one = [str(draw.randint(low, high)), str(draw.randint(low, high + 2)), *words[-1:]]
    a, b = sorted(draw.choices(range(low, high + 1), k=2))
    forms = ["*", "*", "*", f"*/{draw.randint(0, 70)}", f"{a}-{b}", f"{a}-{b}/{draw.randint(1, 9)}", *one, ",".join(one[:2])]
    return draw.choice(forms)


def test_a_configuration_with_a_bad_schedule_is_refused(tmp_path):
    config_on_files(tmp_path)
    values = tiny_values(tmp_path)
    values["finetune"][0]["schedule"] = [{"cron": "0 25 * * *"}]

    with pytest.raises(ConfigError) as refusal:
        parse_config(values)

    assert "schedule.cron='0 25 * * *': hour '25' is not one; use 0 to 23" in str(refusal.value)
    values["finetune"][0]["schedule"] = [{"cron": "0 2 * * *"}]
    assert [one.cron for one in parse_config(values).finetune[0].schedule] == ["0 2 * * *"]
