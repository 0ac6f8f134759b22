"""Bins hold everything once and are few; packed rows say the same as rows of their own."""

import math

import numpy as np
import pytest

from tasks.data.tokens.examples import IGNORED
from tasks.data.tokens.packing import best_fit, pack

PAD = 9


def brute_force(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing by looking at every bin."""
    bins: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rooms = [capacity - sum(lengths[i] for i in content) for content in bins]
        fitting = [room for room in rooms if room >= lengths[place]]
        if fitting:
            bins[rooms.index(min(fitting))].append(place)
        else:
            bins.append([place])
    return bins


@pytest.mark.parametrize("seed", range(20))
def test_bins_are_those_of_best_fit_decreasing(seed):
    random = np.random.default_rng(seed)
    capacity = int(random.integers(5, 200))
    lengths = random.integers(1, capacity + 1, size=int(random.integers(1, 300))).tolist()
    bins = best_fit(lengths, capacity)
    assert sorted(place for content in bins for place in content) == list(range(len(lengths)))
    fills = [sum(lengths[place] for place in content) for content in bins]
    assert max(fills) <= capacity
    expected = brute_force(lengths, capacity)
    assert sorted(fills) == sorted(sum(lengths[place] for place in content) for content in expected)
    assert len(bins) <= 11 / 9 * math.ceil(sum(lengths) / capacity) + 4 or min(lengths) > capacity / 3
    assert best_fit(lengths, capacity) == bins


@pytest.mark.parametrize(
    ("lengths", "capacity", "fills"),
    [
        ([5, 5, 5], 5, [5, 5, 5]),
        ([4, 6, 3, 7, 2, 8], 10, [10, 10, 10]),
        ([6, 5, 4, 3, 2], 10, [10, 10]),
        ([7, 6, 3, 3], 10, [10, 9]),
        ([1] * 7, 3, [3, 3, 1]),
        ([], 3, []),
    ],
)
def test_the_longest_go_first_to_where_they_fit_best(lengths, capacity, fills):
    bins = best_fit(lengths, capacity)
    assert sorted((sum(lengths[place] for place in content) for content in bins), reverse=True) == fills


def test_many_lengths_fill_the_bins_nearly_whole():
    lengths = np.random.default_rng(0).integers(10, 1500, size=50_000)
    bins = best_fit(lengths.tolist(), 2048)
    assert sum(map(len, bins)) == 50_000
    assert lengths.sum() / (len(bins) * 2048) > 0.998


@pytest.mark.parametrize("wrong", [0, 11, -1])
def test_a_length_that_fits_nowhere_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"lengths must be in \[1, 10\], and one is {wrong}"):
        best_fit([3, wrong], 10)


def examples(lengths: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Token ids that occur once, the second half of each example being its answer."""
    ids = [np.arange(100 * (n + 1), 100 * (n + 1) + length) for n, length in enumerate(lengths)]
    labels = [np.where(np.arange(len(row)) >= len(row) // 2, row, IGNORED) for row in ids]
    return ids, labels


@pytest.mark.parametrize("lengths", [[12, 5, 6, 3, 2, 9], [4], [7, 7, 7], [2, 2, 30]])
def test_each_example_is_in_one_row_with_its_targets_and_positions(lengths):
    ids, labels = examples(lengths)
    batch = pack(ids, labels, PAD)
    assert batch.input_ids.shape == batch.labels.shape == batch.position_ids.shape
    assert batch.input_ids.shape[1] == max(lengths) - 1, "never longer than a padded row"
    assert batch.input_ids.shape[0] == len(best_fit([n - 1 for n in lengths], max(lengths) - 1)) <= len(lengths)
    assert batch.input_ids.dtype == batch.labels.dtype == batch.position_ids.dtype == np.int64
    rest = np.ones(batch.input_ids.shape, dtype=bool)
    for own, targets in zip(ids, labels, strict=True):
        row, start = (int(at[0]) for at in np.nonzero(batch.input_ids == own[0]))
        place = (row, slice(start, start + len(own) - 1))
        assert batch.input_ids[place].tolist() == own[:-1].tolist()
        assert batch.labels[place].tolist() == targets[1:].tolist()
        assert batch.position_ids[place].tolist() == list(range(len(own) - 1))
        rest[place] = False
    assert (batch.input_ids[rest] == PAD).all()
    assert (batch.labels[rest] == IGNORED).all()
    ends = ~rest[:, :-1] & rest[:, 1:]
    assert (batch.position_ids[:, 1:][ends] == 0).all(), "padding is apart from the example before it"
