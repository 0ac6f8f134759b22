"""Several sources in one order: which of them a position draws from, and which of its samples, as a function of the position.

The run is cut into phases, in each of which the same sources are drawn from; a phase ends where one of them has been seen as
often as it may, and its share goes to the others. A phase is cut into blocks. How many samples of a source the first n
positions of a phase hold is a closed form, a difference of two rounded cumulative shares (so the counts add up to n, and each
stays within one sample of its share); within a block the sources are shuffled. Every source is walked in order.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from tasks.data.order.permutation import permute, walk

BLOCK = 1024
"""Positions shuffled together, if each source still has two of them: so small that batches are alike in their sources."""
SMALLEST_SHARE = 1e-6
"""Smaller shares would need blocks of more than two million positions, which are held in memory."""


class Mixture:
    """The order of the samples of several sources, numbered one source after the other."""

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float | None], max_epochs: Sequence[float | None], seed: int
    ) -> None:
        """One size (in samples), weight and limit per source; weights are relative, and all None for shares by size.

        Raises ValueError for weights of only some sources, for a source without a sample where sources are told apart, and
        for a share below `SMALLEST_SHARE`.
        """
        chosen = any(value is not None for value in (*weights, *max_epochs))
        self._sizes = list(sizes) if chosen else [sum(sizes)]
        if min(self._sizes) < 1:
            raise ValueError(f"every source needs a sample, and they have {list(sizes)}")
        if any(weight is None for weight in weights) and any(weight is not None for weight in weights):
            raise ValueError(f"either every source has a weight or none, and they are {list(weights)}")
        self._offsets = [0, *accumulate(self._sizes)][:-1]
        self._seeds = [derived_seed(seed, f"source {i}") for i in range(len(self._sizes))] if len(self._sizes) > 1 else [seed]
        self._block_seed = derived_seed(seed, "blocks")
        shares = whole_shares([size if weight is None else weight for size, weight in zip(sizes, weights, strict=True)])
        if chosen and min(shares) < SMALLEST_SHARE * sum(shares):
            raise ValueError(f"the smallest of the shares {shares} is below one in a million")
        limits = [
            None if epochs is None else math.floor(Fraction(str(epochs)) * size)
            for size, epochs in zip(sizes, max_epochs, strict=True)
        ]
        self._phases = phases(shares, limits) if chosen else phases([1], [None])
        self._starts = [phase.start for phase in self._phases]
        self.num_samples = sum(limit or 0 for limit in limits) if None not in limits else None
        """Positions until every source has been seen as often as it may; None where one has no limit."""

    def sample_ids(self, step: int, global_batch_size: int) -> np.ndarray:
        """Ids of the samples that step `step` (the first is 0) consumes over all ranks, int64 of shape (global_batch_size,).

        Raises IndexError for a step that reaches beyond `num_samples`.
        """
        position, end = step * global_batch_size, (step + 1) * global_batch_size
        if self.num_samples is not None and end > self.num_samples:
            raise IndexError(f"step {step} needs {end} samples, and all sources within their epochs have {self.num_samples}")
        if len(self._sizes) == 1:
            return walk(position, global_batch_size, self._sizes[0], self._seeds[0])
        parts = []
        while position < end:
            phase = self._phases[bisect_right(self._starts, position) - 1]
            start, sources, places = arrangement(phase, phase.block_of(position - phase.start), self._block_seed)
            parts.append((sources[position - start : end - start], places[position - start : end - start]))
            position += len(parts[-1][0])
        sources, places = (np.concatenate(part) for part in zip(*parts, strict=True))
        ids = np.empty_like(places)
        for source in np.unique(sources).tolist():
            taken = sources == source
            # Within a source the places follow one another.
            first, count = int(places[taken.argmax()]), int(taken.sum())
            ids[taken] = self._offsets[source] + walk(first, count, self._sizes[source], self._seeds[source])
        return ids


@dataclass(frozen=True)
class Phase:
    """Positions from `start` on; shares and counts have an entry per source."""

    start: int
    before: tuple[int, ...]
    """Samples that the sources have given before."""
    shares: tuple[int, ...]
    """Relative shares; 0 for a source that gives no more."""
    totals: tuple[int, ...] | None
    """Samples that the sources give in this phase; None for the last one, which has no end."""

    @property
    def length(self) -> int | None:
        return None if self.totals is None else sum(self.totals)

    @property
    def block(self) -> int:
        """Positions per block: at least two of each source, so that rounding never takes one back."""
        return max(BLOCK, -(-2 * sum(self.shares) // min(share for share in self.shares if share)))

    def block_of(self, place: int) -> int:
        """Number of the block in which place `place` of the phase lies; the last block takes the remainder too."""
        number = place // self.block
        return number if self.length is None else min(number, max(0, self.length // self.block - 1))

    def given(self, block: int) -> tuple[int, ...]:
        """Samples that each source has given in this phase when the block begins."""
        places = block * self.block
        if self.totals is not None and self.block_of(places) < block:
            return self.totals  # the end of the last block, which is longer than the others
        rounded = [places * cumulative // sum(self.shares) for cumulative in (0, *accumulate(self.shares))]
        return tuple(high - low for low, high in pairwise(rounded))


def phases(shares: Sequence[int], limits: Sequence[int | None]) -> list[Phase]:
    """The phases of a run over sources of which each gives at most `limits` samples; without end where one has no limit."""
    found: list[Phase] = []
    before = (0,) * len(shares)
    while True:
        start = sum(before)
        left = [None if limit is None else limit - given for limit, given in zip(limits, before, strict=True)]
        active = tuple(0 if room == 0 else share for share, room in zip(shares, left, strict=True))
        if not any(active):
            return found
        rounds = [Fraction(room, share) for room, share in zip(left, active, strict=True) if share and room is not None]
        if not rounds:
            return [*found, Phase(start, before, active, None)]
        totals = tuple(math.floor(min(rounds) * share) for share in active)
        found.append(Phase(start, before, active, totals))
        before = tuple(a + b for a, b in zip(before, totals, strict=True))


@lru_cache(maxsize=2)
def arrangement(phase: Phase, block: int, seed: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Of a block its first position in the run, and for each of its positions the source and the place in its walk."""
    start, low, high = phase.start + block * phase.block, phase.given(block), phase.given(block + 1)
    counts = np.array([b - a for a, b in zip(low, high, strict=True)], dtype=np.int64)
    ends = np.cumsum(counts)
    size = int(ends[-1])
    sources = np.searchsorted(ends, permute(np.arange(size), size, seed, start), side="right")
    # Counting up within each source: the n-th position of a source has the n-th of its places in this block.
    places = np.empty(size, dtype=np.int64)
    firsts = np.array([a + b for a, b in zip(phase.before, low, strict=True)], dtype=np.int64)
    places[np.argsort(sources, kind="stable")] = np.arange(size) + np.repeat(firsts - (ends - counts), counts)
    return start, sources, places


def whole_shares(weights: Sequence[float]) -> list[int]:
    """Whole numbers in exactly the ratio of the weights as they are written in decimal."""
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in exact))
    return [int(fraction * scale) for fraction in exact]


def derived_seed(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "little")
