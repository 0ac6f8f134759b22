"""The order of samples is a bijection, differs by seed and epoch, is well mixed, and can be asked for at any step."""

import numpy as np
import pytest

from tasks.data.order import permute, samples_of_step

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
