"""The learning rate at the edges of the phases."""

import math

import pytest

from tasks.training.schedule import Schedule

PRETRAIN = Schedule(1.0, 0.1, 4, 10, "1-sqrt")
FINETUNE = Schedule(2.0, 0.0, 2, 8, "linear")


@pytest.mark.parametrize(
    ("step", "rate", "phase"),
    [
        (0, 0.25, "warm-up"), (1, 0.5, "warm-up"), (3, 1.0, "warm-up"), (4, 1.0, "stable"), (29, 1.0, "stable"),
        (30, 0.1 + 0.9 * (1 - math.sqrt(0.1)), "decay"), (32, 0.1 + 0.9 * (1 - math.sqrt(0.3)), "decay"), (39, 0.1, "decay"),
        (50, 0.1, "decay"),
    ],
)  # fmt: skip
def test_warm_up_stable_and_one_minus_square_root(step: int, rate: float, phase: str) -> None:
    assert PRETRAIN.learning_rate(step, 30) == pytest.approx(rate, abs=1e-12)
    assert PRETRAIN.phase(step, 30) == phase


def test_a_decay_that_is_not_known_yet_never_comes() -> None:
    assert PRETRAIN.learning_rate(10**6, None) == 1.0
    assert PRETRAIN.phase(10**6, None) == "stable"


@pytest.mark.parametrize(("step", "rate"), [(0, 1.0), (1, 2.0), (2, 1.75), (5, 1.0), (9, 0.0)])
def test_a_linear_decay_follows_the_warm_up(step: int, rate: float) -> None:
    assert FINETUNE.learning_rate(step, 2) == pytest.approx(rate)


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert Schedule(1.0, 0.0, 0, 5, "linear").learning_rate(0, None) == 1.0
    assert Schedule(1.0, 0.0, 0, 5, "linear").learning_rate(0, 0) == pytest.approx(0.8)


@pytest.mark.parametrize("schedule", [PRETRAIN, FINETUNE])
def test_the_decay_only_falls_and_stays_within_its_bounds(schedule: Schedule) -> None:
    rates = [schedule.learning_rate(step, 20) for step in range(20, 20 + schedule.decay_steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(schedule.minimum)
    assert rates[0] < schedule.peak
