"""Evaluation text within training text, by shared word n-grams, and training n-grams within held-out text.

A document is contaminated if it holds an n-gram of an evaluation item; 13 words, lower-cased and without punctuation, as in
Brown et al. 2020 (GPT-3, appendix C). As there, n-grams that many have are passed over, since they are stock phrases; there
those of more than 10 training documents, here those of more than `MAX_ITEMS` evaluation items, which one part of the training
text needs no other part to know. Items shorter than n words: of MIN_WORDS words or more (the least of GPT-3's lengths), all
their words in a row must occur; shorter ones are not looked for, as they occur anywhere, and are counted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.data.documents.ngrams import distinct, longest, most_words, ngrams_of_words_into, text_buffers, word_hashes_into
from tasks.data.kernels.kernel import kernel

MAX_ITEMS = 10
MIN_WORDS = 8
SEED = np.uint64(0)
FILTER_BITS_PER_NGRAM = 16
"""Of a Bloom filter, by which about 99 of 100 n-grams are known not to be among those looked for without a search. Its three
bits lie in one 64-bit word (Putze, Sanders and Singler 2007, a blocked Bloom filter): one look at memory for each n-gram."""
ITEMS_AT_A_TIME = 10_000
CHARACTERS_AT_A_TIME = 4 << 20


@dataclass(frozen=True)
class NgramTable:
    """A set of n-gram hashes that is quick to say no."""

    ngrams: np.ndarray
    """uint64, sorted, distinct."""
    filter_words: np.ndarray
    """The filter, uint64; a power of two of them."""

    @classmethod
    def of(cls, ngrams: np.ndarray) -> "NgramTable":
        ngrams = distinct(ngrams)
        words = np.zeros(1 << (max(1, FILTER_BITS_PER_NGRAM * len(ngrams) // 64) - 1).bit_length(), dtype=np.uint64)
        fill_filter(ngrams, words)
        return cls(ngrams, words)


@kernel(inline="always")
def filter_bits(value: np.uint64) -> np.uint64:
    """Three of the 64 bits, chosen by the lowest 18 bits of a hash; the word is chosen by the next ones."""
    six, one = np.uint64(63), np.uint64(1)
    return (one << (value & six)) | (one << ((value >> np.uint64(6)) & six)) | (one << ((value >> np.uint64(12)) & six))


@kernel
def fill_filter(ngrams: np.ndarray, words: np.ndarray) -> None:
    for value in ngrams:
        words[(value >> np.uint64(18)) & np.uint64(len(words) - 1)] |= filter_bits(value)


@kernel
def find_ngram(value: np.uint64, ngrams: np.ndarray, words: np.ndarray) -> int:
    """Position of a hash in the table, or -1."""
    bits = filter_bits(value)
    if words[(value >> np.uint64(18)) & np.uint64(len(words) - 1)] & bits != bits:
        return -1
    low, high = 0, len(ngrams)
    while low < high:
        middle = (low + high) // 2
        if ngrams[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < len(ngrams) and ngrams[low] == value else -1


@dataclass(frozen=True)
class Contamination:
    """What `ContaminationIndex.check` found in some documents."""

    matches: np.ndarray
    """How often an n-gram of each evaluation set occurs in each document, int32 of shape (documents, sets)."""
    touched: np.ndarray
    """Which items of all sets have an n-gram in one of the documents, bool of shape (items,); parts are joined with `|`."""

    def contaminated(self, min_matches: int = 1) -> np.ndarray:
        """Which documents hold so many n-grams of one of the sets, bool of shape (documents,)."""
        return np.any(self.matches >= min_matches, axis=1)

    def first_set(self, min_matches: int = 1) -> np.ndarray:
        """Position of the first set of which each document holds so many n-grams, or -1; int64 of shape (documents,)."""
        enough = self.matches >= min_matches
        return np.where(enough.any(axis=1), enough.argmax(axis=1), -1) if enough.shape[1] else np.full(len(enough), -1)


@dataclass(frozen=True)
class ContaminationIndex:
    """The n-grams of named evaluation sets."""

    names: tuple[str, ...]
    table: NgramTable
    owner_starts: np.ndarray
    """Where the items of each n-gram begin in `owners`, int64."""
    owners: np.ndarray
    """Numbers of items, counted over all sets, int64."""
    item_sets: np.ndarray
    """The set of each item, int64."""
    lengths: np.ndarray
    """The lengths of n-gram to look for: n, and those of the shorter items, int64."""
    searched: np.ndarray
    """Whether an item has n-grams that are looked for, bool of shape (items,)."""

    @classmethod
    def build(cls, sets: Mapping[str, Iterable[str]], ngram: int = 13) -> "ContaminationIndex":
        """The index of the items' texts; the same for equal sets in equal order. Memory: about 100 bytes per word."""
        ngrams, items, lengths = [np.empty(0, np.uint64)], [np.empty(0, np.int64)], {ngram}
        item_sets: list[int] = []
        for number, texts in enumerate(sets.values()):
            for batch in batches_of(texts):
                found, starts, short = item_ngrams(*text_buffers(batch), ngram)
                first = len(item_sets)
                item_sets += [number] * len(batch)
                ngrams.append(found)
                items.append(first + np.repeat(np.arange(len(batch)), np.diff(starts)))
                lengths |= set(np.unique(short).tolist()) - {0}
        hashes, owners = np.concatenate(ngrams), np.concatenate(items)
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        # An n-gram that an item repeats has one owner more, not several: MAX_ITEMS counts items.
        again = np.concatenate([[False], (hashes[1:] == hashes[:-1]) & (owners[1:] == owners[:-1])])[: len(hashes)]
        hashes, owners = hashes[~again], owners[~again]
        _, positions, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        rare = counts[positions] <= MAX_ITEMS
        owners = owners[rare]
        wanted, counts = np.unique(hashes[rare], return_counts=True)
        searched = np.zeros(len(item_sets), dtype=np.bool_)
        searched[owners] = True
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        table, numbers = NgramTable.of(wanted), np.array(item_sets, dtype=np.int64)
        return cls(tuple(sets), table, starts, owners, numbers, np.array(sorted(lengths)), searched)

    def check(self, data: np.ndarray, offsets: np.ndarray) -> Contamination:
        """Look for the sets' n-grams in documents. An n-gram that items of several sets share counts for each set."""
        matches = np.zeros((len(offsets) - 1, len(self.names)), dtype=np.int32)
        touched = np.zeros(len(self.item_sets), dtype=np.bool_)
        owned = self.owner_starts, self.owners, self.item_sets
        check_into(data, offsets, self.lengths, self.table.ngrams, self.table.filter_words, *owned, matches, touched)
        return Contamination(matches, touched)

    def items_of_sets(self, items: np.ndarray) -> dict[str, int]:
        """How many of `items`, bool of shape (items,), each set has: of `touched`, of `searched`, of all."""
        counts = np.bincount(self.item_sets[items], minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))


def batches_of(texts: Iterable[str]) -> Iterator[pa.LargeStringArray]:
    """The texts some at a time, and an empty batch if there are none."""
    waiting: list[str] = []
    characters = 0
    for text in texts:
        waiting.append(text)
        characters += len(text)
        if len(waiting) == ITEMS_AT_A_TIME or characters >= CHARACTERS_AT_A_TIME:
            yield pa.array(waiting, pa.large_string())
            waiting, characters = [], 0
    yield pa.array(waiting, pa.large_string())


def item_ngrams(data: np.ndarray, offsets: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n-grams to look for of each item, where each item's begin, and the length of those that are shorter than n (or 0)."""
    out = np.empty(most_words(int(offsets[-1] - offsets[0])) + len(offsets), dtype=np.uint64)
    starts = np.zeros(len(offsets), dtype=np.int64)
    short = np.zeros(len(offsets) - 1, dtype=np.int64)
    item_ngrams_into(data, offsets, ngram, out, starts, short)
    return out[: starts[-1]], starts, short


@kernel
def item_ngrams_into(
    data: np.ndarray, offsets: np.ndarray, ngram: int, out: np.ndarray, starts: np.ndarray, short: np.ndarray
) -> None:
    for item in range(len(short)):
        rest = out[starts[item] :]
        words = word_hashes_into(data, offsets[item], offsets[item + 1], SEED, rest)
        count = ngrams_of_words_into(rest, words, ngram, rest) if words >= min(ngram, MIN_WORDS) else 0
        short[item] = words if count and words < ngram else 0
        starts[item + 1] = starts[item] + count


@kernel
def check_into(
    data: np.ndarray,
    offsets: np.ndarray,
    lengths: np.ndarray,
    ngrams: np.ndarray,
    filter_words: np.ndarray,
    owner_starts: np.ndarray,
    owners: np.ndarray,
    item_sets: np.ndarray,
    matches: np.ndarray,
    touched: np.ndarray,
) -> None:
    """Count the matches of each document with each set, and mark the items."""
    words = np.empty(most_words(longest(offsets)), dtype=np.uint64)
    hashes = np.empty(len(words), dtype=np.uint64)
    # For each set the last match that it was counted for, by number: with several items of a set that own an n-gram the match
    # counts once, and nothing has to be cleared before the next one.
    counted = np.full(matches.shape[1], -1, dtype=np.int64)
    found = 0
    for document in range(len(offsets) - 1):
        num_words = word_hashes_into(data, offsets[document], offsets[document + 1], SEED, words)
        for length in lengths:
            if num_words < length:
                continue
            for position in range(ngrams_of_words_into(words, num_words, length, hashes)):
                index = find_ngram(hashes[position], ngrams, filter_words)
                if index < 0:
                    continue
                found += 1
                for owner in range(owner_starts[index], owner_starts[index + 1]):
                    item = owners[owner]
                    touched[item] = True
                    if counted[item_sets[item]] != found:
                        counted[item_sets[item]] = found
                        matches[document, item_sets[item]] += 1


def sample_ngrams(texts: Iterable[str], ngram: int = 13, max_ngrams: int = 1_000_000) -> NgramTable:
    """The distinct n-grams of `texts` with the smallest hashes, at most so many: a uniform sample, the same in any order.

    Of texts with fewer than n words nothing is taken. Memory: 16 bytes per n-gram of the sample, and the texts in hand.
    """
    kept = np.empty(0, dtype=np.uint64)
    for batch in batches_of(texts):
        found = long_ngrams(*text_buffers(batch), ngram)
        kept = distinct(np.concatenate([kept, found]))[:max_ngrams]
    return NgramTable.of(kept)


def long_ngrams(data: np.ndarray, offsets: np.ndarray, ngram: int) -> np.ndarray:
    """The n-grams of documents that have n words or more."""
    found, starts, short = item_ngrams(data, offsets, ngram)
    return found[np.repeat(short == 0, np.diff(starts))]


def overlap(table: NgramTable, data: np.ndarray, offsets: np.ndarray, ngram: int = 13) -> np.ndarray:
    """Which n-grams of the table occur in the documents, bool of shape (n-grams,); parts are joined with `|`.

    The mean over all training parts is the share of held-out n-grams that training has seen.
    """
    seen = np.zeros(len(table.ngrams), dtype=np.bool_)
    overlap_into(data, offsets, ngram, table.ngrams, table.filter_words, seen)
    return seen


@kernel
def overlap_into(
    data: np.ndarray, offsets: np.ndarray, ngram: int, ngrams: np.ndarray, filter_words: np.ndarray, seen: np.ndarray
) -> None:
    words = np.empty(most_words(longest(offsets)), dtype=np.uint64)
    for document in range(len(offsets) - 1):
        num_words = word_hashes_into(data, offsets[document], offsets[document + 1], SEED, words)
        for position in range(ngrams_of_words_into(words, num_words, ngram, words) if num_words >= ngram else 0):
            index = find_ngram(words[position], ngrams, filter_words)
            if index >= 0:
                seen[index] = True
