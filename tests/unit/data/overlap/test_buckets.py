"""Buckets of documents that share keys: which, in which order, and which pairs of them are compared."""

from types import SimpleNamespace

import numpy as np
import pytest

from tasks.data.overlap.array_files import write_array
from tasks.data.overlap.buckets import ENTRY_BYTES, KEPT, buckets_of, buckets_of_band

FRESH = np.ones(8, dtype=np.bool_)


def buckets(keys, fresh=FRESH):
    return buckets_of(np.array(keys, np.uint64), np.arange(len(keys)), fresh)


def numbers_of(found):
    return [found.numbers[a:b].tolist() for a, b in zip(found.starts, found.starts[1:], strict=False)]


def pairs(found, num_references=0, fresh=FRESH):
    positions = found.pairs(num_references, fresh)
    return list(zip(*(found.numbers[side].tolist() for side in positions), strict=True))


def test_only_shared_keys_make_buckets_and_numbers_ascend_in_them():
    assert numbers_of(buckets([5, 9, 5, 1, 9, 5, 2])) == [[0, 2, 5], [1, 4]]
    assert numbers_of(buckets([])) == numbers_of(buckets([1, 2, 3])) == []


def test_the_first_is_compared_with_all_and_then_the_next_that_is_not_covered():
    found = buckets([7, 7, 7, 7, 9, 9])
    assert pairs(found) == [(0, 1), (0, 2), (0, 3), (4, 5)]
    found.covered[1] = True
    assert pairs(found) == [(2, 3)]
    assert pairs(found) == pairs(found) == []


def test_references_are_not_compared_with_each_other():
    found = buckets([7, 7, 7, 9, 9])
    assert pairs(found, num_references=2) == [(0, 2), (3, 4)]
    assert pairs(found, num_references=2) == [(1, 2)]
    assert pairs(buckets([7, 7, 7]), num_references=3) == []


def test_of_two_documents_one_must_be_fresh():
    fresh = np.array([False, False, True, False, False])
    found = buckets([7, 7, 7, 9, 9], fresh)
    assert numbers_of(found) == [[0, 1, 2]]
    assert [pairs(found, fresh=fresh) for _ in range(3)] == [[(0, 2)], [(1, 2)], []]
    found = buckets([7, 7, 7], np.array([True, False, False]))
    assert [pairs(found, fresh=np.array([True, False, False])) for _ in range(2)] == [[(0, 1), (0, 2)], []]


def test_blocks_hold_whole_buckets_of_limited_size():
    found = buckets([1, 1, 2, 2, 2, 3, 3])
    sizes = np.array([1, 1, 5, 5, 5, 1, 1, 1])
    assert [numbers_of(block) for block in found.blocks(sizes, 4)] == [[[0, 1]], [[2, 3, 4]], [[5, 6]]]
    assert [numbers_of(block) for block in found.blocks(sizes, 17)] == [[[0, 1], [2, 3, 4]], [[5, 6]]]
    assert [pairs(block) for block in found.blocks(sizes, 100)] == [[(0, 1), (2, 3), (2, 4), (5, 6)]]


@pytest.mark.parametrize("num_fresh", [1, 8, 400])
@pytest.mark.parametrize("entries", [1, 40, 10_000])
def test_the_same_buckets_in_however_many_ranges_of_keys(tmp_path, num_fresh, entries):
    """400 documents in two parts, some dropped before, some without a key; few fresh ones are looked up by key."""
    rng = np.random.default_rng(0)
    keys = rng.choice(rng.integers(1, 2**64, 150, dtype=np.uint64), 400)
    keys[rng.choice(400, 20, replace=False)] = 0
    keeper = np.where(rng.random(400) < 0.2, 0, KEPT)
    fresh = np.arange(400) % (400 // num_fresh) == 0
    parts = []
    for first, end in ((0, 250), (250, 400)):
        write_array(tmp_path / f"{first}.npy", np.stack([np.zeros(end - first, np.uint64), keys[first:end]]))
        parts.append((SimpleNamespace(keys=tmp_path / f"{first}.npy"), slice(first, end)))
    texts = SimpleNamespace(num_documents=400, slices=lambda: iter(parts))
    found = [numbers_of(some) for some in buckets_of_band(texts, keeper, fresh, 1, entries * ENTRY_BYTES)]
    groups = [np.flatnonzero((keys == key) & (keeper == KEPT)) for key in np.unique(keys[keys > 0])]
    expected = [group.tolist() for group in groups if len(group) > 1 and fresh[group].any()]
    assert [bucket for some in found for bucket in some] == expected
    assert entries > 400 or num_fresh == 1 or len(found) > 1
