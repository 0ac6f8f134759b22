"""The documents that are compared with each other: their numbers, digests and sets of n-grams, read part by part.

Documents are numbered from 0: those of the reference parts first, then the others, in the order of the parts. The lower
number ranks before the higher one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.documents.document import open_documents
from tasks.data.documents.ngrams import longest, most_words, ngram_hashes_into, text_buffers
from tasks.data.kernels.kernel import kernel
from tasks.data.overlap.signatures import NearDuplicateSettings

Comparer = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ComparedPart:
    """A document file with the keys that `write_keys` made of it, and where the result goes.

    `out` + ".drop.npy" and `out` + ".duplicate_of.npy" are written, but nothing for a reference part: its documents are
    those of an earlier data set, which stay and come before all others. `keys` is not read where only equal texts count.
    """

    documents: Path
    keys: Path
    out: Path
    reference: bool = False


class ComparedTexts:
    """All documents of some parts. Memory: 8 bytes per document, mapped from a file in `work`, and one part's batches."""

    def __init__(self, parts: Sequence[ComparedPart], work: Path) -> None:
        self.parts = sorted(parts, key=lambda part: not part.reference)
        firsts = [0]
        with (work / "sizes").open("wb") as file:
            for part in self.parts:
                sizes = self._sizes(part)
                sizes.tofile(file)
                firsts.append(firsts[-1] + len(sizes))
        self.firsts = np.array(firsts, dtype=np.int64)
        """Number of the first document of each part, and of all documents at the end."""
        self.num_documents = int(self.firsts[-1])
        self.num_references = int(self.firsts[sum(part.reference for part in self.parts)])
        self.sizes = (
            np.asarray(np.memmap(work / "sizes", dtype=np.int64, mode="r")) if self.num_documents else np.empty(0, np.int64)
        )
        """Bytes of each text."""

    @staticmethod
    def _sizes(part: ComparedPart) -> np.ndarray:
        with open_documents(part.documents) as opened:
            texts = [opened.get_batch(index).column("text") for index in range(opened.num_record_batches)]
            return np.concatenate([np.empty(0, dtype=np.int64), *[np.diff(text_buffers(found)[1]) for found in texts]])

    def slices(self) -> Iterator[tuple[ComparedPart, slice]]:
        """Each part, and the numbers of its documents."""
        for part, first, end in zip(self.parts, self.firsts[:-1], self.firsts[1:], strict=True):
            yield part, slice(int(first), int(end))

    def ngram_sets(self, numbers: np.ndarray, settings: NearDuplicateSettings) -> tuple[np.ndarray, np.ndarray]:
        """The distinct n-gram hashes of documents (in ascending order of number), sorted, and where each one's begin.

        Takes 4 bytes of address space per byte of text; what is written to is about a third of that for prose.
        """
        sizes = self.sizes[numbers]
        out = np.empty(int(most_words(sizes).sum()), dtype=np.uint64)
        starts = np.zeros(len(numbers) + 1, dtype=np.int64)
        done = 0
        for part, documents in self.slices():
            end = int(np.searchsorted(numbers, documents.stop))
            if end == done:
                continue
            with open_documents(part.documents) as opened:
                first = documents.start
                for index in range(opened.num_record_batches):
                    batch = opened.get_batch(index)
                    stop = int(np.searchsorted(numbers, first + batch.num_rows))
                    if stop > done:
                        rows = numbers[done:stop] - first
                        buffers = text_buffers(batch.column("text"))
                        ngram_sets_into(*buffers, rows, settings.ngram, np.uint64(settings.seed), out, starts[done:])
                    first, done = first + batch.num_rows, stop
                    if done == end:
                        break
                del batch
        return out, starts

    def similarities(
        self, firsts: np.ndarray, seconds: np.ndarray, settings: NearDuplicateSettings, memory_bytes: int
    ) -> np.ndarray:
        """The exact Jaccard similarity of the n-gram sets of each pair of documents, float64.

        Pairs with the same first document should follow one another: its set is then made once for as many of them as
        `memory_bytes` hold. A pair that is larger than that is compared all the same.
        """
        found = np.empty(len(firsts), dtype=np.float64)
        again = np.concatenate([[False], firsts[1:] == firsts[:-1]])
        cost = 4 * np.cumsum(self.sizes[seconds] + np.where(again, 0, self.sizes[firsts]))
        start = 0
        while start < len(firsts):
            spent = int(cost[start - 1]) if start else 0
            end = max(start + 1, int(np.searchsorted(cost, spent + memory_bytes)))
            pairs = np.stack([firsts[start:end], seconds[start:end]])
            numbers, positions = np.unique(pairs, return_inverse=True)
            sets, starts = self.ngram_sets(numbers, settings)
            jaccard_into(sets, starts, *positions.reshape(pairs.shape), found[start:end])
            start = end
        return found

    def comparer(self, numbers: np.ndarray, settings: NearDuplicateSettings, memory_bytes: int) -> Comparer:
        """Compares documents by position in `numbers`, as `similarities` does.

        The sets of all of them are made once, if `memory_bytes` hold them; else anew for every call.
        """
        if 4 * int(self.sizes[numbers].sum()) > memory_bytes:
            return lambda firsts, seconds: self.similarities(numbers[firsts], numbers[seconds], settings, memory_bytes)
        order = np.argsort(numbers)
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        sets, starts = self.ngram_sets(numbers[order], settings)

        def compare(firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
            found = np.empty(len(firsts), dtype=np.float64)
            jaccard_into(sets, starts, ranks[firsts], ranks[seconds], found)
            return found

        return compare

    def where(self, number: int) -> str:
        """The place in the input that a document came from."""
        index = int(np.searchsorted(self.firsts, number, side="right")) - 1
        row, batch = number - int(self.firsts[index]), 0
        with open_documents(self.parts[index].documents) as opened:
            while row >= opened.get_batch(batch).num_rows:
                row, batch = row - opened.get_batch(batch).num_rows, batch + 1
            return str(opened.get_batch(batch).column("where")[row].as_py())


def mapped(path: Path, length: int, dtype: type) -> np.ndarray:
    """A new array of zeros in a file, of which the system keeps in memory what there is room for."""
    return np.asarray(np.memmap(path, dtype=dtype, mode="w+", shape=(max(length, 1),)))[:length]


@kernel
def ngram_sets_into(
    data: np.ndarray, offsets: np.ndarray, rows: np.ndarray, n: int, seed: np.uint64, out: np.ndarray, starts: np.ndarray
) -> None:
    """Append the sorted distinct n-gram hashes of `rows` to `out` from `starts[0]` on, and their ends to `starts`."""
    hashes = np.empty(most_words(longest(offsets)), dtype=np.uint64)
    end = starts[0]
    for index in range(len(rows)):
        count = ngram_hashes_into(data, offsets[rows[index]], offsets[rows[index] + 1], n, seed, hashes)
        hashes[:count].sort()
        for position in range(count):
            if position == 0 or hashes[position] != hashes[position - 1]:
                out[end] = hashes[position]
                end += 1
        starts[index + 1] = end


@kernel
def jaccard_into(sets: np.ndarray, starts: np.ndarray, firsts: np.ndarray, seconds: np.ndarray, out: np.ndarray) -> None:
    """Intersection over union of pairs of sorted sets; two empty sets are not alike."""
    for pair in range(len(firsts)):
        a, a_end = starts[firsts[pair]], starts[firsts[pair] + 1]
        b, b_end = starts[seconds[pair]], starts[seconds[pair] + 1]
        total, shared = (a_end - a) + (b_end - b), 0
        while a < a_end and b < b_end:
            left, right = sets[a], sets[b]
            # Sums instead of branches: which side moves on is as good as random, and cannot be predicted.
            shared += left == right
            a += left <= right
            b += right <= left
        out[pair] = shared / (total - shared) if total else 0.0
