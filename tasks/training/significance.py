"""Whether one model is better than another on the same examples: paired tests that hold their level, and intervals.

Every function takes what both models did on each example, and gives the difference candidate - other with a two-sided interval
of confidence 1 - 2 x level, whose bounds are the one-sided ones, and the one-sided p-value of "the candidate is no better".
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtrc, ndtri
from scipy.stats import t

PERMUTATIONS = 9999
SEED = 0
CELLS_AT_A_TIME = 1 << 24
"""Permutations x examples that are held at once."""


@dataclass(frozen=True)
class Difference:
    """candidate - other, in the metric; above zero the candidate is better."""

    value: float
    low: float
    high: float
    p_value: float


def accuracy_difference(candidate: np.ndarray, other: np.ndarray, level: float) -> Difference:
    """Of right (1) or wrong (0) on each example, (examples,): McNemar's test with its mid-p-value, Tango's score interval.

    Worked out over all shares of examples that one model alone has right, for 30 to 2,000 examples, the mid-p-value at a level
    of 5 % errs in at most 5.01 % (the exact one in 3.0 to 4.6 %, which costs power; the normal approximation in up to 5.3 %).
    Fagerland, Lydersen, Laake 2013, doi:10.1186/1471-2288-13-91; Tango 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8.
    """
    wins, losses = int((candidate > other).sum()), int((candidate < other).sum())
    low, high = score_interval(wins, losses, len(candidate), float(-ndtri(level)))
    return Difference((wins - losses) / len(candidate), low, high, mid_p_value(wins, losses))


def mid_p_value(wins: int, losses: int) -> float:
    """Of `wins` among the examples on which the models differ, where either is as likely: P(more) + P(as many) / 2."""
    more, as_many_or_more = bdtrc([wins, wins - 1], wins + losses, 0.5)
    return float(more + as_many_or_more) / 2


def score_interval(wins: int, losses: int, examples: int, z: float) -> tuple[float, float]:
    """The differences that the score test does not reject at `z` standard deviations."""
    estimate = (wins - losses) / examples
    statistic = partial(score_statistic, wins=wins, losses=losses, examples=examples)
    low = brentq(lambda d: statistic(d) - z, -1.0, estimate) if estimate > -1.0 else -1.0
    high = brentq(lambda d: statistic(d) + z, estimate, 1.0) if estimate < 1.0 else 1.0
    return float(low), float(high)


def score_statistic(difference: float, wins: int, losses: int, examples: int) -> float:
    """Standard deviations between what was found and a true `difference`, of the likeliest variance with it (Tango 1998)."""
    middle = (2 * examples - wins + losses) * difference - wins - losses
    share_lost = math.sqrt(max(middle**2 + 8 * examples * losses * difference * (1 - difference), 0.0)) - middle
    variance = max(share_lost / 2 + examples * difference * (1 - difference), 0.0)
    distance = wins - losses - examples * difference
    if variance == 0.0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def mean_difference(candidate: np.ndarray, other: np.ndarray, level: float) -> Difference:
    """Of one number an example, (examples,), higher is better: the t-test of paired differences, and its interval."""
    pairs = candidate - other
    value = float(pairs.mean())
    if len(pairs) < 2:
        return Difference(value, -np.inf, np.inf, 1.0)
    error = float(pairs.std(ddof=1) / np.sqrt(len(pairs)))
    if error == 0.0:
        return Difference(value, value, value, 0.0 if value > 0 else 1.0)
    reach = float(t.isf(level, len(pairs) - 1)) * error
    return Difference(value, value - reach, value + reach, float(t.sf(value / error, len(pairs) - 1)))


def macro_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes that occur in `truth`; both (examples,), a prediction below zero is none of them."""
    return float(f1_scores(*f1_counts(predicted, truth)).mean())


def f1_counts(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each class that occurs in `truth`: hits, and predictions and examples together; both (classes,)."""
    named, true = one_hot(predicted, truth), one_hot(truth, truth)
    return (named & true).sum(0), named.sum(0) + true.sum(0)


def f1_scores(hits: np.ndarray, both: np.ndarray) -> np.ndarray:
    return 2.0 * hits / both


def one_hot(places: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(examples, classes that occur in `truth`)."""
    return places[:, None] == np.unique(truth)


def f1_influence(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One number an example, whose mean and standard error are those of the macro-F1 (delta method), (examples,)."""
    hits, both = f1_counts(predicted, truth)
    scores = f1_scores(hits, both)
    named, true = one_hot(predicted, truth), one_hot(truth, truth)
    parts = (2.0 * (named & true) - scores * (named.astype(float) + true)) * (len(truth) / both)
    return scores.mean() + parts.mean(1)


def macro_f1_difference(candidate: np.ndarray, other: np.ndarray, truth: np.ndarray, level: float) -> Difference:
    """Of the predicted classes of each example, (examples,): a permutation test, and the interval of the delta method.

    Were the models equally good, either could have made each of the two predictions of an example: they are swapped at random,
    and the p-value is the share of differences made so that are at least as large (Yeh 2000, arXiv:cs/0008005), the one that
    was found among them. The swaps are the same every time.
    """
    value = macro_f1(candidate, truth) - macro_f1(other, truth)
    interval = mean_difference(f1_influence(candidate, truth), f1_influence(other, truth), level)
    differ = candidate != other
    named, named_other = one_hot(candidate, truth)[differ], one_hot(other, truth)[differ]
    true = one_hot(truth, truth)[differ]
    # What an example adds to the counts of the first model, and takes from those of the second, where it is swapped.
    moves = np.concatenate([(named_other & true).astype(int) - (named & true), named_other.astype(int) - named], axis=1)
    found, random = [], np.random.default_rng(SEED)
    first, second = (np.concatenate(f1_counts(one, truth)) for one in (candidate, other))
    rows = max(1, CELLS_AT_A_TIME // max(1, len(moves)))
    for start in range(0, PERMUTATIONS, rows):
        swapped = random.integers(0, 2, (min(rows, PERMUTATIONS - start), len(moves)), dtype=np.int8)
        moved = swapped.astype(np.float32) @ moves.astype(np.float32)
        found.append(of_counts(first + moved) - of_counts(second - moved))
    # The smallest difference is a step of the counts; what is closer is rounding.
    as_large = int((np.concatenate(found) >= value - 1e-9).sum())
    return Difference(value, interval.low, interval.high, (1 + as_large) / (1 + PERMUTATIONS))


def of_counts(counts: np.ndarray) -> np.ndarray:
    """Macro-F1 of rows of hits and of predictions and examples, side by side: (rows, 2 x classes) to (rows,)."""
    hits, both = np.split(np.rint(counts).astype(np.float64), 2, axis=1)
    return f1_scores(hits, both).mean(1)
