"""Which documents to compare: those that share a band key, a bucket, band after band within a memory budget.

In a bucket the earliest document is compared with all later ones; those that are like it are covered, and drop out. The
earliest document that is left comes next, and so on, at most MAX_ROUNDS times, so that the work in a bucket grows with its
size and not with the square of it. What one bucket decides changes nothing in another bucket of the same band, as a document
is in one bucket of a band: so the result does not depend on how many buckets are in memory together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.data.documents.ngrams import distinct
from tasks.data.kernels.kernel import kernel
from tasks.data.overlap.array_files import read_row
from tasks.data.overlap.signatures import NO_KEY
from tasks.data.overlap.texts import ComparedTexts

MAX_ROUNDS = 32
"""Documents of a bucket that all others are compared with. Only in a bucket with more documents that are alike enough to
share a key, but no two of the first ones alike enough to be duplicates, does anything stay uncompared."""
ENTRY_BYTES = 128
"""Memory for each document of the buckets in hand: key, number, order, the sorted copies, pairs, their similarity."""
KEPT = -1
"""In place of the number of the document that another one is a duplicate of."""


@dataclass
class Buckets:
    """Documents that share a key with another one, bucket after bucket, by number within a bucket."""

    starts: np.ndarray
    """Where each bucket begins, int64 of shape (buckets + 1,)."""
    numbers: np.ndarray
    covered: np.ndarray
    """Whether the document is known to be a duplicate."""
    cursors: np.ndarray
    """Position of the document that the rest of each bucket is compared with next."""

    def blocks(self, sizes: np.ndarray, most: int) -> Iterator["Buckets"]:
        """Some buckets after the others, whose documents have the sum of `sizes` `most` together, or a single larger one."""
        ends = np.cumsum(sizes[self.numbers])[self.starts[1:] - 1]
        first = 0
        while first < len(ends):
            spent = ends[first - 1] if first else 0
            end = max(first + 1, int(np.searchsorted(ends, spent + most, side="right")))
            inside = slice(int(self.starts[first]), int(self.starts[end]))
            starts = self.starts[first : end + 1] - self.starts[first]
            yield Buckets(starts, self.numbers[inside], self.covered[inside], starts[:-1].copy())
            first = end

    def pairs(self, num_references: int, fresh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the next pairs to compare, at most one document of each bucket with all later ones."""
        firsts = np.empty(len(self.numbers), dtype=np.int64)
        seconds = np.empty(len(self.numbers), dtype=np.int64)
        count = pairs_into(self.starts, self.numbers, self.covered, self.cursors, num_references, fresh, firsts, seconds)
        return firsts[:count], seconds[:count]


def buckets_of_band(
    texts: ComparedTexts, keeper: np.ndarray, fresh: np.ndarray, band: int, memory_bytes: int
) -> Iterator[Buckets]:
    """The buckets of the documents that are still kept and of which at least one is fresh, some at a time, by key.

    `memory_bytes` are for the documents of a range of keys; one key's documents always come together.
    """
    ranges = max(1, -(-texts.num_documents * ENTRY_BYTES // memory_bytes))
    # In later sweeps few documents are fresh: what shares no key with them is then left out before anything is sorted.
    few = 0 < np.count_nonzero(fresh) <= texts.num_documents // (8 * ranges)
    sought = keys_of_few(texts, fresh, band) if few else None
    for index in range(ranges):
        keys, numbers = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
        for part, documents in texts.slices():
            found = read_row(part.keys, band)
            wanted = (keeper[documents] == KEPT) & (found != NO_KEY)
            if ranges > 1:
                # The upper half of a key is a fraction of 2^32, so that this is the number of its range, without a division.
                wanted &= ((found >> np.uint64(32)) * np.uint64(ranges)) >> np.uint64(32) == np.uint64(index)
            chosen = np.flatnonzero(wanted)
            if sought is not None:
                # A key beyond the last one sought meets NO_KEY behind it, which none of the chosen has.
                chosen = chosen[sought[np.searchsorted(sought[:-1], found[chosen])] == found[chosen]]
            keys.append(found[chosen])
            numbers.append(chosen + documents.start)
        buckets = buckets_of(np.concatenate(keys), np.concatenate(numbers), fresh)
        if len(buckets.numbers):
            yield buckets


def keys_of_few(texts: ComparedTexts, fresh: np.ndarray, band: int) -> np.ndarray:
    """The keys of the fresh documents of a band, in order, and NO_KEY: only what shares one of them has to be sorted."""
    found = [read_row(part.keys, band)[fresh[documents]] for part, documents in texts.slices() if fresh[documents].any()]
    return np.concatenate([distinct(np.concatenate(found)), [NO_KEY]])


def buckets_of(keys: np.ndarray, numbers: np.ndarray, fresh: np.ndarray) -> Buckets:
    """Buckets of two documents or more, one of them fresh; `numbers` ascend."""
    order = np.argsort(keys, kind="stable")  # within a key the numbers still ascend: the earliest document comes first
    keys, numbers = keys[order], numbers[order]
    edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]])) if len(keys) else np.zeros(1, np.int64)
    lengths = np.diff(edges)
    useful = lengths > 1
    useful &= np.add.reduceat(fresh[numbers], edges[:-1], dtype=np.int64) > 0 if len(lengths) else useful
    lengths = np.where(useful, lengths, 0)
    numbers = numbers[np.repeat(useful, np.diff(edges))]
    starts = np.concatenate([[0], np.cumsum(lengths[useful])]).astype(np.int64)
    return Buckets(starts, numbers, np.zeros(len(numbers), dtype=np.bool_), starts[:-1].copy())


@kernel
def pairs_into(
    starts: np.ndarray,
    numbers: np.ndarray,
    covered: np.ndarray,
    cursors: np.ndarray,
    num_references: int,
    fresh: np.ndarray,
    firsts: np.ndarray,
    seconds: np.ndarray,
) -> int:
    """For each bucket move the cursor to the next document that is to be compared with later ones, and write these pairs.

    Not compared: documents that are covered, two references, two documents that are not fresh.
    """
    count = 0
    for bucket in range(len(cursors)):
        end = starts[bucket + 1]
        while cursors[bucket] < end and covered[cursors[bucket]]:
            cursors[bucket] += 1
        first, before = cursors[bucket], count
        for second in range(first + 1, end):
            if covered[second] or numbers[second] < num_references:
                continue
            if fresh[numbers[first]] or fresh[numbers[second]]:
                firsts[count] = first
                seconds[count] = second
                count += 1
        # Without a pair here there is none further on: no document that could be dropped, or none of them fresh.
        cursors[bucket] = first + 1 if count > before else end
    return count
