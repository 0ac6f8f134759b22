"""What the machine can do: the arithmetic, and that a measurement is of this machine."""

import time

import pytest

from tasks.training.measure.rates import LONG, SHORT, fastest, limit_and_short_dimension, measured


@pytest.mark.parametrize("short_dimension", [0.0, 64.0, 1000.0])
def test_the_law_goes_through_both_rates(short_dimension):
    rates = [1e11 * width / (width + short_dimension) for width in (SHORT, LONG)]
    limit, found = limit_and_short_dimension(*rates)
    assert (limit, found) == pytest.approx((1e11, short_dimension))


def test_odd_rates_give_a_law_all_the_same():
    assert limit_and_short_dimension(2e11, 1e11) == (1e11, 0)
    limit, found = limit_and_short_dimension(1e9, 1e11)
    assert limit == pytest.approx(4e11) and found == pytest.approx(3 * LONG)


def test_the_fastest_repetition_counts_and_not_the_first():
    waits = iter([0.0, 0.05, 0.2])
    assert 0.05 <= fastest(lambda: time.sleep(next(waits)), seconds=0.0) < 0.2


def test_a_measurement_is_of_this_machine(monkeypatch):
    monkeypatch.setattr("tasks.training.measure.rates.SECONDS_PER_TRIAL", 0.0)
    rates = measured()
    # From a tenth of a slow core to hundreds of fast ones.
    assert 1e8 < rates.fp32_flops < 1e14 and 1e8 < rates.bf16_flops < 1e15
    assert 1e8 < rates.memory_bandwidth < 1e13
    assert 0 <= rates.short_dimension <= 3 * LONG
