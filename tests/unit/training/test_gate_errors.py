"""How often the gate errs, by simulation: models of a known accuracy on a test set, judged by the code that judges real ones.

A test set is `n` examples. On a share of them, the correlation, all models get the same luck, on the others each has its own:
so are the errors of two models correlated by that much.
"""

from functools import cache

import numpy as np
import pytest

from tasks.config.gate import GateConfig
from tasks.record.manifest import Request
from tasks.training.evaluate import Scored, compare
from tasks.training.gate import decide

TRIALS, WEEKS = 2000, 52
SIZES = (100, 400, 2000, 10_000)
CORRELATIONS = (0.0, 0.8)
ONLY_THE_CHAMPION = {"above_majority": "off", "above_random_init": "off", "overlap": "off"}
SUPERIORITY = GateConfig(**ONLY_THE_CHAMPION)
NON_INFERIORITY = GateConfig(**ONLY_THE_CHAMPION, rule="non-inferiority", margin=0.003)
ASKED = {
    role: Request(
        kind="evaluate", identity={"kind": "classification"}, execution={role: {"version": number}, "champion": {"version": 1}}
    )
    for number, role in enumerate(("champion", "best"), start=1)
}


def scored(right: np.ndarray) -> Scored:
    return Scored({"accuracy": float(right.mean())}, right.astype(float))


@cache
def passes(gate: GateConfig, n: int, wins: int, losses: int) -> bool:
    """Whether a candidate that alone is right on `wins` examples, and alone wrong on `losses`, is promoted."""
    rest = n - wins - losses
    candidate, champion = np.repeat([1, 0, 1], [wins, losses, rest]), np.repeat([0, 1, 1], [wins, losses, rest])
    found = {"candidate": scored(candidate), "champion": scored(champion)}
    return decide(compare(ASKED["champion"], gate, found, np.zeros(n)), gate).decision == "promote"


def promoted(gate: GateConfig, n: int, wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    return np.array([passes(gate, n, int(w), int(x)) for w, x in zip(wins, losses, strict=True)])


def share_promoted(n: int, correlation: float, champion: float, candidate: float) -> float:
    """Of TRIALS test sets, with models of these accuracies."""
    wins, losses = alone_right(candidate, champion, correlation), alone_right(champion, candidate, correlation)
    counts = np.random.default_rng([n, round(10 * correlation)]).multinomial(n, [wins, losses, 1 - wins - losses], TRIALS)
    return float(promoted(SUPERIORITY, n, counts[:, 0], counts[:, 1]).mean())


def alone_right(one: float, other: float, correlation: float) -> float:
    """Share of examples that `one` gets right and the other does not."""
    return correlation * max(one - other, 0.0) + (1 - correlation) * one * (1 - other)


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("n", SIZES)
def test_of_models_that_are_no_better_at_most_6_percent_pass(n: int, correlation: float) -> None:
    assert share_promoted(n, correlation, 0.9, 0.9) <= 0.06


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("n", SIZES)
def test_of_models_that_are_better_by_three_standard_errors_85_percent_pass(n: int, correlation: float) -> None:
    champion, better = 0.6, 0.6
    for _ in range(50):
        both = alone_right(better, champion, correlation) + alone_right(champion, better, correlation)
        better = champion + 3 * ((both - (better - champion) ** 2) / n) ** 0.5
    assert better < 0.9
    assert share_promoted(n, correlation, champion, better) >= 0.85


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("n", [2000, 10_000])
def test_of_models_that_are_half_a_point_worse_1_percent_pass(n: int, correlation: float) -> None:
    """At n = 2000 and with independent errors that is half a standard error: a level of 5 % would pass 1.5 %."""
    assert share_promoted(n, correlation, 0.9, 0.895) <= 0.01


def year(gate: GateConfig, n: int, correlation: float, trials: int, random: np.random.Generator) -> np.ndarray:
    """The accuracy of the champion after WEEKS retrains, each 0.2 points worse than the one in use, (trials,).

    The test set is frozen: what a champion had right stays so, and the best so far is the one with the highest score on it.
    """
    common, luck = random.random((trials, n), np.float32) < correlation, random.random((trials, n), np.float32)
    accuracy = np.full(trials, 0.9, np.float32)

    def right(of: np.ndarray) -> np.ndarray:
        return np.where(common, luck, random.random((trials, n), np.float32)) < of[:, None]

    champion = right(accuracy)
    best = champion.copy()
    for _ in range(WEEKS):
        candidate = right(accuracy - np.float32(0.002))
        passed = np.ones(trials, np.bool_)
        for other in (champion, best) if gate.rule == "non-inferiority" else (champion,):
            passed &= promoted(gate, n, (candidate & ~other).sum(1), (other & ~candidate).sum(1))
        accuracy[passed] -= np.float32(0.002)
        champion[passed] = candidate[passed]
        higher = champion.sum(1) > best.sum(1)
        best[higher] = champion[higher]
    return accuracy


def ends(gate: GateConfig, n: int, correlation: float) -> float:
    """The mean, over TRIALS; some at a time, since a test set of each is held."""
    at_once, random = min(TRIALS, 2_000_000 // n), np.random.default_rng(n)
    return float(np.mean([year(gate, n, correlation, at_once, random) for _ in range(TRIALS // at_once)]))


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("gate", [SUPERIORITY, NON_INFERIORITY], ids=lambda gate: gate.rule)
@pytest.mark.parametrize("n", [100, 400, *(pytest.param(n, marks=pytest.mark.soak) for n in (2000, 10_000))])
def test_a_year_of_retrains_that_are_a_little_worse_ends_where_it_began(n: int, gate: GateConfig, correlation: float) -> None:
    assert ends(gate, n, correlation) >= 0.9 - 0.005


@pytest.mark.soak
@pytest.mark.parametrize("n", [2000, 10_000])
def test_with_a_margin_of_a_point_it_ends_no_further_down_than_that(n: int) -> None:
    assert ends(NON_INFERIORITY.model_copy(update={"margin": 0.01}), n, 0.8) >= 0.9 - 0.01 - 0.002


def test_best_and_champion_are_both_asked_for() -> None:
    """What `year` takes apart, one comparison at a time, is the decision with both."""
    random = np.random.default_rng(0)
    for _ in range(300):
        models = random.random((3, 400)) < random.uniform(0.85, 0.95, (3, 1))
        candidate, champion, best = models
        found = {role: scored(right) for role, right in zip(("candidate", "champion", "best"), models, strict=True)}
        apart = [
            passes(NON_INFERIORITY, 400, int((candidate & ~other).sum()), int((other & ~candidate).sum()))
            for other in (champion, best)
        ]
        decision = decide(compare(ASKED["best"], NON_INFERIORITY, found, np.zeros(400)), NON_INFERIORITY)
        assert (decision.decision == "promote") == all(apart)
