"""Sources mixed by weight: exact shares and limits, every source walked in its own order, and any step found at once."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.data.order.mixture import BLOCK, Mixture, phases, whole_shares
from tasks.data.order.permutation import samples_of_step

MIXTURES = {
    "two": ([700, 5000], [0.7, 0.3], [None, None]),
    "uneven": ([13, 10_000, 999], [0.123456, 3.0, 1e-3], [None, None, None]),
    "capped": ([1000, 5000, 300], [0.5, 0.3, 0.2], [2.0, None, 3.0]),
    "all capped": ([1000, 500, 300], [0.1, 0.6, 0.3], [1.5, 2.0, 0.5]),
    "tiny": ([3, 1, 5], [1, 1, 1], [1, 2, 1]),
    "capped by size": ([400, 1600, 100], [None, None, None], [None, 1.0, None]),
    "never drawn": ([400, 10], [1.0, 1.0], [None, 0.01]),
}


def taken(mixture: Mixture, positions: int, sizes: list[int], batch: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Source and sample within it at each of the first positions."""
    ids = np.concatenate([mixture.sample_ids(step, batch) for step in range(positions // batch)])
    ends = np.cumsum(sizes)
    sources = np.searchsorted(ends, ids, side="right")
    return sources, ids - (ends - sizes)[sources]


@pytest.mark.parametrize("name", MIXTURES)
def test_every_source_is_walked_epoch_after_epoch_each_sample_once(name):
    sizes, weights, limits = MIXTURES[name]
    mixture = Mixture(sizes, weights, limits, seed=3)
    positions = mixture.num_samples or 9_000
    sources, samples = taken(mixture, positions, sizes, batch=1 if mixture.num_samples else 7)
    for source, (size, limit) in enumerate(zip(sizes, limits, strict=True)):
        seen = samples[sources == source]
        assert limit is None or len(seen) <= limit * size
        for epoch in range(len(seen) // size + 1):
            part = seen[epoch * size : (epoch + 1) * size]
            assert len(np.unique(part)) == len(part), "no sample twice in an epoch, also in one that is not complete"
    if mixture.num_samples is not None:
        counted = np.bincount(sources, minlength=len(sizes)).tolist()
        assert counted == [int(limit * size) for size, limit in zip(sizes, limits, strict=True)]


def test_epochs_and_sources_of_one_size_have_orders_of_their_own():
    sources, samples = taken(Mixture([100, 100], [1, 1], [None, None], seed=0), 700, [100, 100])
    walks = [samples[sources == source][:300].reshape(3, 100) for source in (0, 1)]
    orders = [tuple(order.tolist()) for walk in walks for order in walk]
    assert len(set(orders)) == 6
    assert all(sorted(order) == list(range(100)) for order in orders)


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [1, 1, 1], [0.123456, 3.0, 0.01], [2, 0.5, 1e-4]])
def test_shares_are_exact_after_every_block_and_close_within_one(weights):
    sizes = [50, 60, 70]
    mixture = Mixture(sizes, weights, [None] * 3, seed=1)
    block = mixture._phases[0].block
    assert block == max(BLOCK, -(-2 * sum(map(Fraction, map(str, weights))) // Fraction(str(min(weights)))))
    sources, _ = taken(mixture, 6 * block, sizes, batch=block)
    shares = np.array([float(Fraction(str(w)) / sum(map(Fraction, map(str, weights)))) for w in weights])
    for blocks in range(1, 7):
        counts = np.bincount(sources[: blocks * block], minlength=3)
        assert np.abs(counts - shares * blocks * block).max() < 1
    counts = np.bincount(sources[: block // 2], minlength=3)
    assert np.abs(counts - shares * block / 2).max() < 5 * np.sqrt(block) / 4, "half a block is a fair sample of it"


def test_after_ten_billion_positions_the_shares_have_not_drifted():
    first, period = 10**10 // 1000, 1000
    mixture = Mixture([10**9, 10**9], [0.7, 0.3], [None, None], seed=0)
    phase = mixture._phases[0]
    before = phase.given(first)
    assert before == (7 * first * BLOCK // 10, first * BLOCK - 7 * first * BLOCK // 10)
    ids = np.concatenate([mixture.sample_ids(step, BLOCK) for step in range(first, first + period)])
    assert (ids < 10**9).sum() == pytest.approx(0.7 * period * BLOCK, abs=1)


def test_a_source_that_has_reached_its_limit_leaves_its_share_to_the_others():
    sizes = [1000, 50_000, 300]
    mixture = Mixture(sizes, [0.5, 0.3, 0.2], [2.0, None, 4.0], seed=5)
    sources, _ = taken(mixture, 14_000, sizes)
    counts = [np.bincount(part, minlength=3).tolist() for part in np.split(sources, [4000, 5000])]
    assert counts == [[2000, 1200, 800], [0, 600, 400], [0, 9000, 0]]
    assert mixture.num_samples is None
    assert [phase.start for phase in mixture._phases] == [0, 4000, 5000]


def test_where_every_source_has_a_limit_all_of_it_is_given_and_then_no_more():
    sizes, limits = [1001, 503, 300], [1.5, 2.0, 0.51]
    mixture = Mixture(sizes, [0.1, 0.6, 0.3], limits, seed=2)
    allowed = [1501, 1006, 153]
    assert mixture.num_samples == sum(allowed) == 2660
    sources, _ = taken(mixture, 2660, sizes, batch=20)
    assert np.bincount(sources).tolist() == allowed
    for step in (133, 10**9):
        with pytest.raises(IndexError, match=rf"step {step} needs {(step + 1) * 20} samples, and .* have 2660"):
            mixture.sample_ids(step, 20)
    with pytest.raises(IndexError, match="step 0 needs 2661"):
        mixture.sample_ids(0, 2661)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_step_is_a_function_of_seed_and_step_alone(name):
    sizes, weights, limits = MIXTURES[name]
    end = Mixture(sizes, weights, limits, seed=1).num_samples or 6000
    whole = Mixture(sizes, weights, limits, seed=1).sample_ids(0, end)
    steps = list(range(end // 4))
    for step in np.random.default_rng(0).permutation(steps)[:200].tolist():
        fresh = Mixture(sizes, weights, limits, seed=1)
        assert fresh.sample_ids(step, 4).tolist() == whole[4 * step : 4 * step + 4].tolist()
    if end > 10:
        assert Mixture(sizes, weights, limits, seed=2).sample_ids(0, end).tolist() != whole.tolist()


def test_a_far_step_is_found_without_those_before():
    ids = Mixture([10**8, 10**9], [0.9, 0.1], [40.0, None], seed=0).sample_ids(10**9, 256)
    assert ids.shape == (256,)
    assert ids.dtype == np.int64
    assert ids.min() >= 10**8, "the first source has long reached its limit"
    assert ids.max() < 11 * 10**8


def test_sources_come_mixed_and_not_in_turns():
    sources, _ = taken(Mixture([1000, 1000], [1, 1], [None, None], seed=0), 70_000, [1000, 1000])
    runs = int((sources[1:] != sources[:-1]).sum())
    assert runs == pytest.approx(35_000, abs=5 * np.sqrt(70_000 / 4))
    per_batch = sources[: 1000 * 64].reshape(-1, 64).sum(axis=1)
    assert per_batch.mean() == pytest.approx(32, abs=0.1)
    assert per_batch.std() < 4.5, "binomial would be 4"


def test_without_weights_and_limits_it_is_one_permutation_over_everything():
    mixture = Mixture([30, 0, 70], [None] * 3, [None] * 3, seed=9)
    for step in (0, 3, 10**9):
        assert mixture.sample_ids(step, 16).tolist() == samples_of_step(step, 16, 100, seed=9).tolist()


def test_one_source_is_walked_as_if_there_were_no_mixture():
    mixture = Mixture([100], [None], [2.5], seed=9)
    assert mixture.num_samples == 250
    assert mixture.sample_ids(1, 125).tolist() == samples_of_step(1, 125, 100, seed=9).tolist()
    with pytest.raises(IndexError, match="have 250"):
        mixture.sample_ids(2, 125)


def test_a_source_alone_and_in_a_mixture_of_any_weight_comes_in_one_order():
    walks = []
    for weights in ([0.5, 0.5], [0.9, 0.1]):
        sources, samples = taken(Mixture([40, 60], weights, [None, None], seed=4), 2800, [40, 60])
        walks.append(samples[sources == 1][:200].tolist())
    assert walks[0] == walks[1]


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([10, 10], [1.0, None], r"either every source has a weight or none, and they are \[1.0, None\]"),
        ([10, 0], [1.0, 1.0], r"every source needs a sample, and they have \[10, 0\]"),
        ([0], [None], r"every source needs a sample, and they have \[0\]"),
        ([10, 10], [1.0, 1e-7], "below one in a million"),
    ],
)
def test_what_cannot_be_mixed_is_refused(sizes, weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture(sizes, weights, [None] * len(sizes), seed=0)


def test_weights_are_taken_as_they_are_written():
    assert whole_shares([0.7, 0.2, 0.1]) == [7, 2, 1]
    assert whole_shares([1, 2.5]) == [2, 5]
    assert whole_shares([1e-05, 1]) == [1, 100_000]


@pytest.mark.parametrize("seed", range(30))
def test_phases_add_up_for_any_shares_and_limits(seed):
    """No block takes samples back, and each source ends exactly at its limit."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 6))
    shares = random.integers(1, 200, count).tolist()
    limits = [int(random.integers(0, 30_000)) if random.random() < 0.8 else None for _ in range(count)]
    given = np.zeros(count, dtype=np.int64)
    for phase in phases(shares, limits):
        assert phase.start == given.sum()
        assert phase.before == tuple(given.tolist())
        last = phase.block_of(phase.length - 1) if phase.length is not None else 20
        counts = np.array([phase.given(block) for block in range(last + 2)])
        assert (np.diff(counts, axis=0) >= 0).all()
        assert (counts[:-1].sum(axis=1) == np.arange(last + 1) * phase.block).all()
        given = given + counts[-1]
    for limit, total in zip(limits, given.tolist(), strict=True):
        assert limit is None or total == limit
