"""The order of samples is a bijection, differs by seed and epoch, is well mixed, and can be asked for at any step."""

import itertools

import numpy as np
import pytest

from tasks.data.order.permutation import CHUNK, permute, samples_of_step, walk

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000, 1023, 1024, 1025, 4095, 4097, 65537]


@pytest.mark.parametrize("size", SIZES)
def test_every_sample_is_seen_exactly_once(size):
    order = permute(np.arange(size), size, seed=3, epoch=1)
    assert sorted(order.tolist()) == list(range(size))


def test_one_index_is_the_same_alone_and_in_an_array():
    order = permute(np.arange(100).reshape(4, 25), 100, seed=1, epoch=0)
    assert order.shape == (4, 25)
    assert order.dtype == np.int64
    assert [permute(i, 100, 1, 0) for i in range(100)] == order.reshape(-1).tolist()


def test_the_permutation_is_the_same_on_every_machine():
    assert permute(np.arange(10), 10, seed=0, epoch=0).tolist() == [7, 0, 6, 2, 5, 3, 4, 1, 8, 9]


def test_seeds_epochs_and_sizes_give_other_orders():
    orders = [permute(np.arange(1000), 1000, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9
    same_place = max(np.mean(np.array(a) == np.array(b)) for i, a in enumerate(orders) for b in orders[:i])
    assert same_place < 0.01


@pytest.mark.parametrize("size", [1000, 10_000])
def test_the_order_is_well_mixed(size):
    for epoch in range(5):
        order = permute(np.arange(size), size, seed=7, epoch=epoch)
        assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 4 / np.sqrt(size)
        assert np.mean(np.abs(np.diff(order)) == 1) < 0.01
        halves = np.mean(order[: size // 2] < size // 2)
        assert abs(halves - 0.5) < 2.5 / np.sqrt(size)


def test_every_place_is_equally_likely_over_the_epochs():
    counts = np.zeros((8, 8))
    for epoch in range(2000):
        counts[np.arange(8), permute(np.arange(8), 8, seed=0, epoch=epoch)] += 1
    chi_squared = ((counts - 250) ** 2 / 250).sum()
    assert chi_squared < 100, "64 cells, 49 degrees of freedom: the 99.99th percentile is 95"


def test_a_large_index_is_found_without_a_table():
    size = 10**15
    found = permute(np.array([0, 1, size - 1]), size, seed=0, epoch=0)
    assert len(set(found.tolist())) == 3
    assert found.min() >= 0
    assert found.max() < size


def test_an_index_outside_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 10\)"):
        permute(10, 10, 0, 0)
    with pytest.raises(ValueError, match=r"in \[0, 10\)"):
        permute(np.array([-1]), 10, 0, 0)


def test_steps_cover_each_epoch_once_and_reach_into_the_next():
    seen = np.concatenate([samples_of_step(step, 4, 10, seed=5) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()


def test_a_batch_larger_than_the_data_takes_several_epochs():
    batch = samples_of_step(0, 25, 10, seed=5)
    assert np.bincount(batch, minlength=10).tolist() == pytest.approx([2.5] * 10, abs=0.5)


def test_a_step_does_not_depend_on_how_the_steps_before_were_cut():
    by_four = np.concatenate([samples_of_step(step, 4, 1000, seed=1) for step in range(6)])
    by_eight = np.concatenate([samples_of_step(step, 8, 1000, seed=1) for step in range(3)])
    assert by_four.tolist() == by_eight.tolist()
    far = samples_of_step(10**9, 512, 10**7, seed=1)
    assert far.shape == (512,)
    assert far.max() < 10**7


def test_the_order_of_a_run_is_the_same_in_every_version():
    assert samples_of_step(0, 8, 1000, seed=0).tolist() == [838, 337, 309, 507, 687, 478, 72, 491]
    assert samples_of_step(10**9, 4, 10**7, seed=3).tolist() == [7117498, 1875930, 385964, 4225011]


@pytest.mark.parametrize("size", [1, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
def test_a_walk_is_one_permutation_after_the_other_wherever_it_is_cut(size):
    whole = np.concatenate([permute(np.arange(size), size, 4, epoch) for epoch in range(3)])
    cuts = sorted({0, 1, size // 3, CHUNK, size, 2 * size, 3 * size} & set(range(3 * size + 1)))
    for first, end in itertools.pairwise(cuts):
        assert walk(first, end - first, size, 4).tolist() == whole[first:end].tolist()
    assert walk(5, 0, size, 4).shape == (0,)


def test_a_batch_belongs_to_its_caller():
    batch = samples_of_step(0, 4, 100, seed=0)
    kept = batch.tolist()
    batch[:] = 0
    assert samples_of_step(0, 4, 100, seed=0).tolist() == kept


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_the_ranks_share_the_same_global_batches(ranks):
    """Rank r of n reads every n-th micro-batch; together they have read what one rank reads, each sample once."""
    alone = samples_of_step(17, 48, 1000, seed=2).reshape(-1, 2)
    shared = [samples_of_step(17, 48, 1000, seed=2).reshape(-1, 2)[rank::ranks] for rank in range(ranks)]
    assert sorted(np.concatenate(shared).tolist()) == sorted(alone.tolist())


def chi_squared(counts: np.ndarray) -> float:
    """In standard deviations from its expectation, for cells that are equally likely."""
    freedom = counts.size - 1
    return float((((counts - counts.mean()) ** 2).sum() / counts.mean() - freedom) / np.sqrt(2 * freedom))


ORDERS = [(size, seed) for size in (4096, 50_000, 65_536) for seed in (0, 1, 12345)]


@pytest.mark.parametrize(("size", "seed"), ORDERS)
def test_neighbours_of_the_order_are_any_pair(size, seed):
    order = permute(np.arange(size), size, seed, epoch=0)
    bucket = order * 16 // size
    for lag in (1, 2, 7, 64):
        pairs = np.bincount(bucket[:-lag] * 16 + bucket[lag:], minlength=256)
        assert abs(chi_squared(pairs)) < 5
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < 4.5 / np.sqrt(size)


@pytest.mark.parametrize(("size", "seed"), ORDERS)
def test_no_sample_stays_near_its_place(size, seed):
    """A position's bucket says nothing of its sample's, and how far a sample moves is as for any shuffle."""
    order = permute(np.arange(size), size, seed, epoch=0)
    cells = np.bincount(np.arange(size) * 16 // size * 16 + order * 16 // size, minlength=256)
    assert abs(chi_squared(cells)) < 5
    moved = np.abs(order - np.arange(size)) / size
    assert moved.mean() == pytest.approx(1 / 3, abs=4.5 * np.sqrt(1 / 18 / size)), "the mean of |a - b| is a third"
    assert np.mean(moved < 0.01) == pytest.approx(0.0199, abs=4.5 * np.sqrt(0.02 / size))
    assert (order == np.arange(size)).sum() < 8, "a shuffle keeps one in place on average"


@pytest.mark.parametrize(("one", "other"), [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 0)), ((7, 3), (7, 4))])
def test_epochs_and_seeds_are_independent(one, other):
    size = 50_000
    a, b = (permute(np.arange(size), size, seed, epoch) for seed, epoch in (one, other))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(size)
    assert abs(chi_squared(np.bincount(a * 16 // size * 16 + b * 16 // size, minlength=256))) < 5
    places = np.empty(size, dtype=np.int64)
    places[a] = np.arange(size)
    assert abs(np.corrcoef(places[b[:-1]], places[b[1:]])[0, 1]) < 4.5 / np.sqrt(size), "neighbours of one in the other"


def test_low_bits_are_as_random_as_high_ones():
    size = 1 << 16
    order = permute(np.arange(size), size, 5, epoch=0)
    for bit in range(16):
        ones = (order >> bit) & 1
        runs = int((ones[1:] != ones[:-1]).sum())
        assert abs(runs - size / 2) < 4.5 * np.sqrt(size / 4)
