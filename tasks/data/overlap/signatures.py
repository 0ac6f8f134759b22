"""MinHash band keys: documents that share many n-grams are likely to share one of a few 64-bit keys (LSH).

Each of `rows x bands` hash functions gives a document the smallest hash of its n-grams (Broder 1997); the smallest hashes
of `rows` functions together make the key of a band. Two documents whose sets of n-grams have the Jaccard similarity s
share at least one key with probability 1 - (1 - s^rows)^bands (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
section 3.4).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.documents.ngrams import longest, mixed, most_words, ngram_hashes_into, text_buffers
from tasks.data.kernels.kernel import kernel
from tasks.data.overlap.array_files import write_array

MAX_HASHES = 128
MIN_RECALL = 0.995
NO_KEY = np.uint64(0)
"""The key, in every band, of a document without words: it is like no other."""
KEY_PRIME = np.uint64(0x9E3779B97F4A7C15)
EMPTY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True)
class NearDuplicateSettings:
    """What counts as a near duplicate: a Jaccard similarity of word n-grams of `threshold` or more.

    `seed` moves all hashes; keys can be compared only where all three are the same.
    """

    threshold: float = 0.8
    ngram: int = 5
    seed: int = 0

    @property
    def rows(self) -> int:
        """The most rows with which a pair right at the threshold still shares a key with probability MIN_RECALL.

        More rows mean fewer candidates to verify in vain. At 0.8: 21 bands of 6 rows, and a probability of 0.998.
        """
        found = [rows for rows in range(1, MAX_HASHES + 1) if self.recall(self.threshold, rows) >= MIN_RECALL]
        return max(found, default=1)

    @property
    def bands(self) -> int:
        return MAX_HASHES // self.rows

    def recall(self, similarity: float, rows: int) -> float:
        """Probability that two documents so similar share a key of `MAX_HASHES // rows` bands."""
        return float(1 - (1 - similarity**rows) ** (MAX_HASHES // rows))


@kernel
def smallest_hashes(hashes: np.ndarray, count: int, multipliers: np.ndarray, masks: np.ndarray, smallest: np.ndarray) -> None:
    """Put min over x of (x xor mask) * multiplier mod 2^32 of every function into `smallest`; x: the upper 32 bits.

    x is mixed already, and an odd multiplier makes each function a permutation. Four n-grams at a time, so that the inner
    loop runs in vector registers.
    """
    smallest[:] = EMPTY
    at = 0
    while at + 4 <= count:
        first = np.uint32(hashes[at] >> np.uint64(32))
        second = np.uint32(hashes[at + 1] >> np.uint64(32))
        third = np.uint32(hashes[at + 2] >> np.uint64(32))
        fourth = np.uint32(hashes[at + 3] >> np.uint64(32))
        for k in range(len(multipliers)):
            factor, mask = multipliers[k], masks[k]
            low = min(np.uint32((first ^ mask) * factor), np.uint32((second ^ mask) * factor))
            high = min(np.uint32((third ^ mask) * factor), np.uint32((fourth ^ mask) * factor))
            smallest[k] = min(smallest[k], min(low, high))
        at += 4
    while at < count:
        value = np.uint32(hashes[at] >> np.uint64(32))
        for k in range(len(multipliers)):
            smallest[k] = min(smallest[k], np.uint32((value ^ masks[k]) * multipliers[k]))
        at += 1


@kernel
def band_keys_into(
    data: np.ndarray, offsets: np.ndarray, n: int, seed: np.uint64, multipliers: np.ndarray, masks: np.ndarray, out: np.ndarray
) -> None:
    bands, documents = out.shape
    rows = MAX_HASHES // bands
    hashes = np.empty(most_words(longest(offsets)), dtype=np.uint64)
    smallest = np.empty(len(multipliers), dtype=np.uint32)
    for document in range(documents):
        count = ngram_hashes_into(data, offsets[document], offsets[document + 1], n, seed, hashes)
        smallest_hashes(hashes, count, multipliers, masks, smallest)
        for band in range(bands):
            key = np.uint64(rows)
            for row in range(band * rows, (band + 1) * rows):
                key = (key ^ np.uint64(smallest[row])) * KEY_PRIME
                key ^= key >> np.uint64(32)
            key = mixed(key)
            # NO_KEY is kept for documents without words, whatever the hashes of others come to.
            out[band, document] = (key if key != NO_KEY else np.uint64(1)) if count else NO_KEY


def hash_functions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """MAX_HASHES odd multipliers and masks, uint32: outputs of splitmix64, so that the keys depend on no library.

    A few more than rows x bands: a multiple of 16 fills the vector registers.
    """
    steps = np.arange(1, MAX_HASHES + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(MAX_HASHES)
    value = steps * KEY_PRIME
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return (value >> np.uint64(32)).astype(np.uint32) | np.uint32(1), value.astype(np.uint32)


def band_keys(data: np.ndarray, offsets: np.ndarray, settings: NearDuplicateSettings) -> np.ndarray:
    """The keys of each document, uint64 of shape (bands, documents): all of a band lie together, as they are read.

    The same on every machine. A document without words has NO_KEY in every band.
    """
    out = np.empty((settings.bands, len(offsets) - 1), dtype=np.uint64)
    multipliers, masks = hash_functions(settings.seed)
    band_keys_into(data, offsets, settings.ngram, np.uint64(settings.seed), multipliers, masks, out)
    return out


def write_keys(documents: Path, out: Path, settings: NearDuplicateSettings) -> None:
    """Write the keys of a document file (Arrow IPC with a column `text`) to `out`, .npy, uint64 (bands, documents).

    Needs 24 bytes x bands of memory per document, and 4 bytes per byte of the longest one.
    """
    with pa.memory_map(str(documents)) as source, pa.ipc.open_file(source) as opened:
        batches = [opened.get_batch(index).column("text") for index in range(opened.num_record_batches)]
        found = [band_keys(*text_buffers(texts), settings) for texts in batches]
    keys = np.concatenate([np.empty((settings.bands, 0), dtype=np.uint64), *found], axis=1)
    write_array(out, keys)
