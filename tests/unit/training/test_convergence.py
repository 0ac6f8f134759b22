"""Verdicts on curves whose truth is known."""

import math
import random

import pytest

from tasks.config.training import ConvergenceConfig
from tasks.training.convergence import Evaluation, expected_gain, judge

ROUND = 500_000
UNIT = 50_000


def power_law(tokens: float, exponent: float, offset: float = 2.0) -> float:
    return offset + (tokens / 1e6) ** -exponent


def curve(exponent: float, count: int, noise: float = 0.0, seed: int = 0) -> list[Evaluation]:
    chance = random.Random(seed)
    found = []
    for i in range(1, count + 1):
        loss = power_law(i * UNIT, exponent) + chance.gauss(0, noise)
        found.append(Evaluation(step=i * 10, tokens_seen=i * UNIT, heldout_loss=loss, train_loss=loss - 0.1))
    return found


def losses(*values: float, train: float = 2.0) -> list[Evaluation]:
    return [
        Evaluation(step=10 * i, tokens_seen=UNIT * i, heldout_loss=value, train_loss=train - 0.01 * i)
        for i, value in enumerate(values, 1)
    ]


CONFIG = ConvergenceConfig(min_gain=0.02, round_tokens=ROUND, min_evaluations=6)


@pytest.mark.parametrize("exponent", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("noise", [1e-4, 0.005, 0.02])
@pytest.mark.parametrize("count", [8, 25])
def test_the_true_gain_lies_within_two_deviations_of_the_expected(exponent: float, noise: float, count: int) -> None:
    """95 % is the aim; 20 curves of each kind allow for chance, and for the shape of the prior."""
    true = power_law(count * UNIT, exponent) - power_law(count * UNIT + ROUND, exponent)
    inside = 0
    for seed in range(20):
        points = curve(exponent, count, noise, seed)
        gain, uncertainty, _ = expected_gain([p.tokens_seen for p in points], [p.heldout_loss for p in points], ROUND)
        inside += abs(gain - true) <= 2 * uncertainty
    assert inside >= 15


@pytest.mark.parametrize("exponent", [0.2, 0.5, 1.0])
def test_the_fit_of_a_curve_without_noise_is_its_power_law(exponent: float) -> None:
    points = curve(exponent, 20)
    gain, uncertainty, fit = expected_gain([p.tokens_seen for p in points], [p.heldout_loss for p in points], ROUND)
    true = power_law(20 * UNIT, exponent) - power_law(20 * UNIT + ROUND, exponent)
    assert gain == pytest.approx(true, rel=0.05)
    assert uncertainty < 0.05 * true
    assert fit.exponent == pytest.approx(exponent, rel=0.04)
    assert fit.offset == pytest.approx(2.0, abs=0.15)
    assert fit.residual < 0.02
    for point in points[5:]:
        fitted = fit.offset + fit.coefficient * point.tokens_seen**-fit.exponent
        assert fitted == pytest.approx(point.heldout_loss, abs=0.02)


def test_noise_and_a_longer_round_mean_more_doubt() -> None:
    def doubt(noise: float, round_tokens: int) -> float:
        points = curve(0.5, 15, noise)
        return expected_gain([p.tokens_seen for p in points], [p.heldout_loss for p in points], round_tokens)[1]

    assert doubt(0.02, ROUND) > 2 * doubt(0.002, ROUND)
    assert doubt(0.02, 4 * ROUND) > doubt(0.02, ROUND)


def test_tokens_may_be_counted_in_any_unit() -> None:
    points = curve(0.5, 10, 0.01)
    small = expected_gain([p.tokens_seen // 50 for p in points], [p.heldout_loss for p in points], ROUND // 50)
    large = expected_gain([p.tokens_seen * 10**6 for p in points], [p.heldout_loss for p in points], ROUND * 10**6)
    assert small[:2] == pytest.approx(large[:2], rel=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.003])
def test_improving_becomes_converged_where_the_true_gain_falls_below_what_a_round_is_worth(noise: float) -> None:
    whole = curve(0.5, 140, noise)
    verdicts = [judge(whole[:count], CONFIG).verdict for count in range(6, 141)]
    assert verdicts[0] == "improving"
    assert "converged" in verdicts
    first = verdicts.index("converged") + 6
    true = next(n for n in range(6, 200) if power_law(n * UNIT, 0.5) - power_law(n * UNIT + ROUND, 0.5) < CONFIG.min_gain)
    assert 0.85 * true <= first <= 1.3 * true
    assert set(verdicts) == {"improving", "converged"}


def test_the_reason_says_gain_uncertainty_and_threshold() -> None:
    flat = judge(losses(*([3.0] * 8)), CONFIG)
    assert (flat.verdict, flat.num_evaluations) == ("converged", 8)
    assert flat.expected_gain == pytest.approx(0.0, abs=1e-6)
    assert flat.reason == (
        "another 500,000 tokens promise 0.0000 ± 0.0000 nats/token, below the 0.02 that a round must be worth"
    ).replace("0.0000 ±", f"{flat.expected_gain:.4f} ±")
    steep = judge(curve(0.5, 8), CONFIG)
    assert steep.verdict == "improving"
    assert steep.reason.endswith("nats/token, which may reach the 0.02 that a round must be worth")
    assert steep.fit is not None and steep.uncertainty is not None


def test_doubt_alone_keeps_training_going() -> None:
    """A flat but noisy start could hide a gain, so that it is no convergence yet."""
    noisy = judge(losses(3.0, 3.1, 2.9, 3.1, 2.9, 3.0), ConvergenceConfig(min_gain=0.001, round_tokens=ROUND))
    assert noisy.verdict == "improving"
    assert noisy.uncertainty > 0.001


def test_too_few_points_are_no_reason_to_stop() -> None:
    for count in range(6):
        verdict = judge(losses(*([3.0] * count)), CONFIG)
        assert (verdict.verdict, verdict.expected_gain, verdict.fit) == ("improving", None, None)
        assert verdict.reason == f"{count} of at least 6 evaluations"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_has_diverged_however_few_points_there_are(bad: float) -> None:
    verdict = judge(losses(3.0, bad), CONFIG)
    assert verdict.verdict == "diverged"
    assert verdict.reason == "the loss at step 20 is not a finite number; lower pretrain.learning_rate"
    train = [Evaluation(step=1, tokens_seen=1, heldout_loss=3.0, train_loss=bad)]
    assert judge(train, CONFIG).verdict == "diverged"


def test_a_loss_far_above_its_minimum_has_diverged() -> None:
    verdict = judge(losses(4.0, 3.0, 3.5, 4.1), CONFIG)
    assert verdict.verdict == "diverged"
    assert verdict.reason == (
        "held-out loss 4.1000 at step 40 is more than 1.0 above 3.0000 at step 20; lower pretrain.learning_rate"
    )
    assert judge(losses(4.0, 3.0, 4.1, 3.9), CONFIG).verdict == "improving", "it has come back"


OVERFITTED = [4.0, 3.5, 3.2, 3.1, 3.0, 3.02, 3.06, 3.07]


def test_overfitting_is_held_out_up_twice_and_training_down() -> None:
    verdict = judge(losses(*OVERFITTED), CONFIG)
    assert verdict.verdict == "overfitting"
    assert verdict.reason == (
        "held-out loss rose from 3.0000 at step 50 to 3.0700 at step 80 while training loss fell from 1.9500 to 1.9200"
    )


@pytest.mark.parametrize(
    "points",
    [
        losses(*OVERFITTED[:-1]),
        losses(*OVERFITTED, 3.04),
        [e.model_copy(update={"train_loss": 2.0 + 0.01 * e.step}) for e in losses(*OVERFITTED)],
    ],
    ids=["only the last is above", "it has come back", "training loss rose too"],
)
def test_what_is_no_overfitting(points: list[Evaluation]) -> None:
    assert judge(points, CONFIG).verdict in ("improving", "converged")


def test_divergence_outranks_overfitting() -> None:
    assert judge(losses(4.0, 3.5, 3.2, 3.1, 3.0, 3.5, 4.2, 4.3), CONFIG).verdict == "diverged"


def test_the_same_curve_gives_the_same_verdict() -> None:
    points = curve(0.4, 12, 0.01)
    assert judge(points, CONFIG) == judge(list(points), CONFIG)
