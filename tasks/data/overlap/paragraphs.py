"""Paragraphs that an earlier document has, found with a table of hashes of a fixed size, and cut out.

A paragraph is what stands between blank lines; in a text without blank lines, a line. White space around it does not count.
Copies within one document stay: a refrain is no boilerplate. Hashes have 64 bits: of a thousand million different paragraphs
one is taken for another with a probability of 3 %.

The map step hashes the paragraphs of each document file on its own; then one process goes through the hashes in the order of
the documents.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.data.documents.document import read_batches
from tasks.data.documents.ngrams import longest, mixed, text_buffers
from tasks.data.kernels.kernel import kernel
from tasks.data.overlap.array_files import write_array

FREE_SLOT = np.uint64(0)
MAX_LOAD = 0.75
"""Of the slots; beyond it, open addressing looks at many slots before it finds a free one."""
HASH_PRIME = np.uint64(0x9FB21C651E98DF25)
NEWLINE = 10
"""The line end; it and the other bytes up to the space are white space here, as cleaned text has no others."""
SPACE = 32


@dataclass(frozen=True)
class ParagraphHashes:
    """The paragraphs of some documents that are long enough to be taken for copies, in order."""

    hashes: np.ndarray
    """uint64, never FREE_SLOT."""
    starts: np.ndarray
    """Where each document's begin, int64 of shape (documents + 1,)."""


@kernel
def next_line(data: np.ndarray, at: int, stop: int) -> tuple[int, int, int]:
    """First and last byte + 1 of the line at `at` without white space around it, and where the next line begins."""
    end = at
    while end < stop and data[end] != NEWLINE:
        end += 1
    following = min(end + 1, stop)
    while at < end and data[at] <= SPACE:
        at += 1
    while end > at and data[end - 1] <= SPACE:
        end -= 1
    return at, end, following


@kernel
def has_blank_line(data: np.ndarray, start: int, stop: int) -> bool:
    """Whether a line without text stands between two that have some."""
    at, begun, blank = start, False, False
    while at < stop:
        first, end, at = next_line(data, at, stop)
        if end > first and begun and blank:
            return True
        begun |= end > first
        blank = end == first
    return False


@kernel
def paragraphs_into(data: np.ndarray, start: int, stop: int, firsts: np.ndarray, ends: np.ndarray) -> int:
    """Where each paragraph of a document begins and ends; `firsts` and `ends` must hold (stop - start + 1) // 2."""
    by_line = not has_blank_line(data, start, stop)
    at, count, inside = start, 0, False
    while at < stop:
        first, end, at = next_line(data, at, stop)
        if end == first:
            inside = False
            continue
        if not inside:
            firsts[count] = first
            count += 1
        ends[count - 1] = end
        inside = not by_line
    return count


@kernel
def paragraph_hash(data: np.ndarray, first: int, end: int, min_characters: int) -> np.uint64:
    """The hash of a paragraph, or FREE_SLOT if it is too short."""
    value, characters = np.uint64(end - first), 0
    for at in range(first, end):
        value = (value ^ np.uint64(data[at])) * HASH_PRIME
        characters += (data[at] & 0xC0) != 0x80  # UTF-8's continuation bytes begin no character
    value = mixed(value)
    if characters < min_characters:
        return FREE_SLOT
    return value if value != FREE_SLOT else np.uint64(1)


@kernel
def hashes_into(data: np.ndarray, offsets: np.ndarray, min_characters: int, out: np.ndarray, starts: np.ndarray) -> None:
    firsts = np.empty((longest(offsets) + 1) // 2, dtype=np.int64)
    ends = np.empty_like(firsts)
    total = 0
    for document in range(len(offsets) - 1):
        for paragraph in range(paragraphs_into(data, offsets[document], offsets[document + 1], firsts, ends)):
            value = paragraph_hash(data, firsts[paragraph], ends[paragraph], min_characters)
            if value != FREE_SLOT:
                out[total] = value
                total += 1
        starts[document + 1] = total


def paragraph_hashes(data: np.ndarray, offsets: np.ndarray, min_characters: int) -> ParagraphHashes:
    """The paragraphs of documents that have at least `min_characters` code points."""
    size = int(offsets[-1] - offsets[0])
    out = np.empty(size // max(1, min_characters) + 1, dtype=np.uint64)
    starts = np.zeros(len(offsets), dtype=np.int64)
    hashes_into(data, offsets, min_characters, out, starts)
    return ParagraphHashes(out[: starts[-1]], starts)


def write_paragraphs(documents: Path, out: Path, min_characters: int) -> None:
    """Write the paragraph hashes of a document file to `out`, .npy.

    One uint64 array: the number of documents, where each one's hashes begin (documents + 1), the hashes.
    """
    found = [paragraph_hashes(*text_buffers(batch.column("text")), min_characters) for batch in read_batches(documents)]
    counts = np.concatenate([np.empty(0, np.int64), *[np.diff(batch.starts) for batch in found]])
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    hashes = np.concatenate([np.empty(0, np.uint64), *[batch.hashes for batch in found]])
    write_array(out, np.concatenate([np.array([len(counts)], np.uint64), starts, hashes]))


def read_paragraphs(path: Path) -> ParagraphHashes:
    """What `write_paragraphs` wrote."""
    content = np.load(path, allow_pickle=False)
    documents = int(content[0])
    return ParagraphHashes(content[documents + 2 :], content[1 : documents + 2].astype(np.int64))


class ParagraphTable:
    """The paragraphs of all documents so far, in `memory_bytes` at most (a power of two of 8-byte slots, three quarters used).

    When it is full nothing is added any more: `unchecked` counts the paragraphs whose later copies may go unseen.
    """

    def __init__(self, memory_bytes: int) -> None:
        num_slots = 1 << max(1, (memory_bytes // 8).bit_length() - 1)
        self.slots = np.zeros(num_slots, dtype=np.uint64)
        self.capacity = int(num_slots * MAX_LOAD)
        self.stored = self.unchecked = 0

    def repeated(self, paragraphs: ParagraphHashes, kept: np.ndarray) -> np.ndarray:
        """Which paragraphs an earlier document has, bool; remember the others. Documents that are not `kept` have no part.

        To be called for one document file after the other, in their order.
        """
        found = np.zeros(len(paragraphs.hashes), dtype=np.bool_)
        room = self.capacity - self.stored
        stored, unchecked = repeated_into(paragraphs.hashes, paragraphs.starts, kept, self.slots, room, found)
        self.stored += stored
        self.unchecked += unchecked
        return found


@kernel
def slot_of(value: np.uint64, slots: np.ndarray) -> np.int64:
    """Where the hash is, or the free slot where it belongs."""
    mask = np.uint64(len(slots) - 1)
    place = value & mask
    while slots[place] != FREE_SLOT and slots[place] != value:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@kernel
def repeated_into(
    hashes: np.ndarray, starts: np.ndarray, kept: np.ndarray, slots: np.ndarray, room: int, out: np.ndarray
) -> tuple[int, int]:
    """Mark what was there before each document; returns how many hashes were added and how many could not be."""
    stored, unchecked = 0, 0
    for document in range(len(kept)):
        if not kept[document]:
            continue
        # All are looked up before one is added: what a document repeats of itself is no copy.
        for index in range(starts[document], starts[document + 1]):
            out[index] = slots[slot_of(hashes[index], slots)] != FREE_SLOT
        for index in range(starts[document], starts[document + 1]):
            slot = slot_of(hashes[index], slots)
            if slots[slot] != FREE_SLOT:
                continue
            if stored < room:
                slots[slot] = hashes[index]
                stored += 1
            else:
                unchecked += 1
    return stored, unchecked


def cut_paragraphs(texts: pa.LargeStringArray, min_characters: int, repeated: np.ndarray) -> pa.LargeStringArray:
    """The texts without the paragraphs that are marked; `repeated` has one entry for each hash of `paragraph_hashes`.

    What stood between a paragraph and the next one goes with it; what is left of a document ends without white space.
    """
    data, offsets = text_buffers(texts)
    out = np.empty(int(offsets[-1] - offsets[0]), dtype=np.uint8)
    ends = np.zeros(len(offsets), dtype=np.int64)
    cut_into(data, offsets, min_characters, repeated, out, ends)
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]]))


@kernel
def cut_into(
    data: np.ndarray, offsets: np.ndarray, min_characters: int, repeated: np.ndarray, out: np.ndarray, out_ends: np.ndarray
) -> None:
    firsts = np.empty((longest(offsets) + 1) // 2, dtype=np.int64)
    ends = np.empty_like(firsts)
    written, index = 0, 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        begin, cut = written, False
        count = paragraphs_into(data, start, stop, firsts, ends)
        for paragraph in range(max(count, 1)):  # a document without paragraphs is copied as if it were one
            first = firsts[paragraph] if paragraph else start
            following = firsts[paragraph + 1] if paragraph + 1 < count else stop
            long = count > 0 and paragraph_hash(data, firsts[paragraph], ends[paragraph], min_characters) != FREE_SLOT
            if long and repeated[index]:
                cut = True
            else:
                for at in range(first, following):
                    out[written + at - first] = data[at]
                written += following - first
            index += long
        while cut and written > begin and out[written - 1] <= SPACE:
            written -= 1
        out_ends[document + 1] = written
