"""Paired tests against counts by hand, against scipy and scikit-learn, and against their own level."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, multinomial, permutation_test, ttest_rel
from sklearn.metrics import f1_score

from tasks.training.significance import (
    accuracy_difference,
    f1_influence,
    macro_f1,
    macro_f1_difference,
    mean_difference,
    mid_p_value,
    score_interval,
    score_statistic,
)


def rights(wins: int, losses: int, both: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [wins, losses, both, neither]
    return np.repeat([1.0, 0.0, 1.0, 0.0], counts), np.repeat([0.0, 1.0, 1.0, 0.0], counts)


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [(0, 0, 0.5), (1, 0, 0.25), (5, 0, 1 / 64), (3, 1, (1 + 4 / 2) / 16), (2, 2, 0.5), (0, 5, 1 - 1 / 64)],
)
def test_the_mid_p_value_is_that_of_a_count_by_hand(wins: int, losses: int, p_value: float) -> None:
    assert mid_p_value(wins, losses) == pytest.approx(p_value)


@pytest.mark.parametrize(("wins", "losses"), [(12, 7), (40, 20), (900, 850), (3, 30)])
def test_it_is_half_way_between_scipys_exact_test_with_and_without_what_was_found(wins: int, losses: int) -> None:
    exact = binomtest(wins, wins + losses, alternative="greater").pvalue
    more = binomtest(wins + 1, wins + losses, alternative="greater").pvalue
    assert mid_p_value(wins, losses) == pytest.approx((exact + more) / 2)


@pytest.mark.parametrize("n", [30, 50, 100, 400])
def test_mid_p_errs_as_often_as_its_level_says_whatever_the_share_that_differs(n: int) -> None:
    """Worked out, not simulated: over all numbers of examples on which the models differ."""
    sizes = []
    for differ in range(n + 1):
        wins = np.arange(differ + 1)
        rejected = np.array([mid_p_value(int(w), int(differ - w)) <= 0.05 for w in wins])
        sizes.append(binom.pmf(wins, differ, 0.5)[rejected].sum())
    worst = max(binom.pmf(np.arange(n + 1), n, share) @ np.array(sizes) for share in np.linspace(0.01, 0.6, 60))
    assert 0.045 < worst < 0.0505


def test_an_accuracy_is_compared_on_the_examples_where_the_models_differ() -> None:
    found = accuracy_difference(*rights(15, 5, 60, 20), 0.05)
    assert (found.value, found.p_value) == (pytest.approx(0.1), pytest.approx(mid_p_value(15, 5)))
    more = accuracy_difference(*rights(15, 5, 600, 200), 0.05)
    assert more.p_value == found.p_value
    assert found.low < 0.1 < found.high and more.high < found.high


def test_the_score_interval_is_where_the_score_test_turns_and_mirrors() -> None:
    z = 1.6448536
    low, high = score_interval(12, 4, 100, z)
    assert score_statistic(low, 12, 4, 100) == pytest.approx(z, abs=1e-6)
    assert score_statistic(high, 12, 4, 100) == pytest.approx(-z, abs=1e-6)
    assert score_interval(4, 12, 100, z) == (pytest.approx(-high), pytest.approx(-low))
    # At no difference it is McNemar's statistic.
    assert score_statistic(0.0, 12, 4, 100) == pytest.approx((12 - 4) / math.sqrt(12 + 4))


@pytest.mark.parametrize(("wins", "losses", "n"), [(0, 0, 50), (50, 0, 50), (0, 50, 50), (1, 0, 1)])
def test_the_interval_of_the_ends_is_not_certain(wins: int, losses: int, n: int) -> None:
    low, high = score_interval(wins, losses, n, 1.645)
    estimate = (wins - losses) / n
    assert -1 <= low <= estimate <= high <= 1
    assert low < high
    assert wins + losses or high == pytest.approx(1.645**2 / (n + 1.645**2))


@pytest.mark.parametrize(("n", "shares"), [(60, (0.1, 0.05)), (200, (0.04, 0.02)), (400, (0.2, 0.1))])
def test_the_interval_covers_the_truth_as_often_as_it_says(n: int, shares: tuple[float, float]) -> None:
    counts = np.random.default_rng(n).multinomial(n, [*shares, 1 - sum(shares)], 2000)
    bounds = np.array([score_interval(int(w), int(x), n, 1.6448536) for w, x, _ in counts])
    truth = shares[0] - shares[1]
    above, below = (bounds[:, 0] > truth).mean(), (bounds[:, 1] < truth).mean()
    assert max(above, below) < 0.075 and 0.08 < above + below <= 0.12


@pytest.mark.parametrize("margin", [0.01, 0.03])
@pytest.mark.parametrize("n", [30, 100])
def test_a_model_that_is_worse_by_the_margin_is_seldom_taken_for_no_worse(n: int, margin: float) -> None:
    """Worked out over all that can be found, for models that differ on 3 to 40 % of the examples."""
    wins, losses = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = [(int(w), int(x)) for w, x in zip(wins.ravel(), losses.ravel(), strict=True) if w + x <= n]
    passed = np.array([pair for pair in possible if score_statistic(-margin, *pair, n) >= 1.6448536])
    for differ in (0.03, 0.05, 0.1, 0.2, 0.4):
        shares = [(differ - margin) / 2, (differ + margin) / 2, 1 - differ]
        chance = multinomial.pmf(np.column_stack([passed, n - passed.sum(1)]), n, shares).sum()
        assert chance <= 0.061


def test_means_are_compared_by_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    candidate, other = random.normal(0.1, 1, 80), random.normal(0, 1, 80)
    found = mean_difference(candidate, other, 0.05)
    theirs = ttest_rel(candidate, other, alternative="greater")
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.low == pytest.approx(theirs.confidence_interval(0.95).low)
    assert found.high - found.value == pytest.approx(found.value - found.low)


@pytest.mark.parametrize(
    ("pairs", "low", "p_value"),
    [([0.5, 0.5, 0.5], 0.5, 0.0), ([0.0, 0.0, 0.0], 0.0, 1.0), ([-0.5, -0.5], -0.5, 1.0), ([3.0], -math.inf, 1.0)],
)
def test_pairs_without_spread_and_a_single_one(pairs: list, low: float, p_value: float) -> None:
    found = mean_difference(np.array(pairs), np.zeros(len(pairs)), 0.05)
    assert (found.low, found.p_value) == (low, p_value)


@pytest.mark.parametrize("n", [30, 100, 400])
def test_the_t_test_holds_its_level_on_losses_with_long_tails_and_answers_of_all_lengths(n: int) -> None:
    """Losses summed over an answer, as the gate compares them: log-normal, as are the lengths; the errors correlated."""
    random = np.random.default_rng(n)
    passed = 0
    for _ in range(2000):
        lengths, common = np.exp(random.normal(3, 1, n)), random.normal(0, 1, n)
        losses = [-lengths * np.exp(0.8 * common + 0.6 * random.normal(0, 1, n)) / lengths.mean() for _ in range(2)]
        passed += mean_difference(losses[0], losses[1], 0.05).p_value <= 0.05
    assert passed / 2000 <= 0.06


def predictions(random: np.random.Generator, n: int, accuracies: tuple[float, float]) -> list[np.ndarray]:
    """Truth, of which two of five classes are rare, and what two models with correlated errors make of it."""
    truth = random.choice(5, n, p=[0.4, 0.3, 0.2, 0.06, 0.04])
    common, shared = random.random(n), random.random(n) < 0.7
    wrong = random.integers(0, 5, n)
    made = []
    for accuracy in accuracies:
        luck = np.where(shared, common, random.random(n))
        made.append(np.where(luck < accuracy, truth, np.where(shared, wrong, random.integers(0, 5, n))))
    return [truth, *made]


def test_macro_f1_is_that_of_scikit_learn_and_the_mean_of_its_parts() -> None:
    truth, predicted, _ = predictions(np.random.default_rng(0), 300, (0.7, 0.7))
    predicted[:20] = -1
    theirs = f1_score(truth, predicted, average="macro", labels=np.unique(truth))
    assert macro_f1(predicted, truth) == pytest.approx(theirs)
    assert f1_influence(predicted, truth).mean() == pytest.approx(theirs)


def test_the_permutation_test_counts_what_all_swaps_give() -> None:
    truth = np.array([0, 0, 1, 1, 1, 2, 2, 2, 0, 1])
    candidate, other = truth.copy(), np.array([0, 1, 1, 1, 0, 2, 1, 0, 2, 1])
    differ = np.flatnonzero(candidate != other)
    value, as_large = macro_f1(candidate, truth) - macro_f1(other, truth), 0
    for swaps in itertools.product([False, True], repeat=len(differ)):
        first, second = candidate.copy(), other.copy()
        at = differ[list(swaps)]
        first[at], second[at] = other[at], candidate[at]
        as_large += macro_f1(first, truth) - macro_f1(second, truth) >= value - 1e-9
    found = macro_f1_difference(candidate, other, truth, 0.05)
    assert found.value == pytest.approx(value)
    assert found.p_value == pytest.approx(as_large / 2 ** len(differ), abs=0.007)


def test_the_permutation_test_is_scipys() -> None:
    truth, candidate, other = predictions(np.random.default_rng(3), 120, (0.8, 0.7))

    def statistic(one: np.ndarray, two: np.ndarray) -> float:
        return macro_f1(one.astype(int), truth) - macro_f1(two.astype(int), truth)

    theirs = permutation_test(
        (candidate, other), statistic, permutation_type="samples", alternative="greater", n_resamples=2000, rng=0
    )
    assert macro_f1_difference(candidate, other, truth, 0.05).p_value == pytest.approx(theirs.pvalue, abs=0.03)


def test_a_model_against_itself_is_no_better() -> None:
    truth, predicted, _ = predictions(np.random.default_rng(1), 50, (0.7, 0.7))
    found = macro_f1_difference(predicted, predicted, truth, 0.05)
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert macro_f1_difference(predicted, predicted, truth, 0.05) == found


@pytest.mark.parametrize("n", [100, pytest.param(400, marks=pytest.mark.soak)])
def test_macro_f1_holds_its_level_and_sees_a_better_model(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.significance.PERMUTATIONS", 199)
    random = np.random.default_rng(n)
    passed = {0.8: 0.0, 0.95: 0.0}
    for accuracy in passed:
        for _ in range(1000):
            truth, candidate, other = predictions(random, n, (accuracy, 0.8))
            passed[accuracy] += macro_f1_difference(candidate, other, truth, 0.05).p_value <= 0.05
    assert passed[0.8] / 1000 <= 0.065
    assert passed[0.95] / 1000 >= 0.85


def test_the_interval_of_macro_f1_covers_the_truth() -> None:
    random = np.random.default_rng(5)
    many = predictions(random, 400_000, (0.85, 0.8))
    truth_value = macro_f1(many[1], many[0]) - macro_f1(many[2], many[0])
    inside = 0
    for _ in range(500):
        truth, candidate, other = predictions(random, 600, (0.85, 0.8))
        found = mean_difference(f1_influence(candidate, truth), f1_influence(other, truth), 0.05)
        inside += found.low <= truth_value <= found.high
    assert 0.86 <= inside / 500 <= 0.94
