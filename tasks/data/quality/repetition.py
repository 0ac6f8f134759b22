"""How much of a document repeats: lines, paragraphs and n-grams of words, by their 64-bit hashes.

Equal hashes are taken for equal text: among a million different n-grams the chance of one mistake is 3e-8.
"""

from typing import NamedTuple

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.words import Tokens

FACTOR = np.uint64(0xD6E8FEB86659FD93)
SHIFT = np.uint64(32)
FIRST_GRAM, FIRST_DUPLICATE_GRAM, LAST_GRAM = 2, 5, 10
ONCE, REPEATED, SEEN = range(3)
ENTRY = np.dtype([("key", np.uint64), ("count", np.int32), ("first", np.int32)], align=True)
NUM_GRAM_COUNTS = LAST_GRAM - FIRST_GRAM + 1


class Places(NamedTuple):
    """Where n-grams start that may occur more than once, in the order of the text; only the first so many are in use."""

    starts: np.ndarray
    """int64: the number of the n-gram's first word."""
    grams: np.ndarray
    """uint64: the hash of the n-gram."""
    leaders: np.ndarray
    """int32: the first place with the same n-gram."""
    marks: np.ndarray
    """uint8: for a leader, ONCE if it is alone, else REPEATED, and SEEN once it was passed."""


@kernel(nogil=True)
def table_size(number: int) -> int:
    """A power of two, at least one and a half times `number`."""
    size = 4
    while 2 * size < 3 * number:
        size *= 2
    return size


@kernel(nogil=True)
def slot_of(key: np.uint64, table: np.ndarray, mask: int) -> np.int64:
    """Where `key` is in the table of ENTRY, or the free slot (count 0) where it belongs."""
    # Keys are products, of which the lower bits depend on the lower bits of the factors alone.
    slot = np.int64((key ^ key >> SHIFT) & np.uint64(mask))
    while table[slot].count and table[slot].key != key:
        slot = (slot + 1) & mask
    return slot


@kernel(nogil=True)
def duplicates(hashes: np.ndarray, characters: np.ndarray, number: int) -> tuple[int, int]:
    """How many of the first `number` pieces are equal to an earlier one, and the characters of those."""
    if number < 2:
        return 0, 0
    size = table_size(number)
    table = np.zeros(size, ENTRY)
    repeated, repeated_characters = 0, 0
    for i in range(number):
        slot = slot_of(hashes[i], table, size - 1)
        if table[slot].count:
            repeated += 1
            repeated_characters += characters[i]
        else:
            table[slot].key, table[slot].count = hashes[i], 1
    return repeated, repeated_characters


@kernel(nogil=True)
def count_grams(n: int, words: np.ndarray, places: Places, number: int, table: np.ndarray) -> tuple[int, int]:
    """Counts the n-grams at the first `number` of `places`: how often the most frequent occurs, and which of equals leads.

    Each place comes with its (n-1)-gram, which is replaced by its n-gram. Leaders and marks are set: what comes later looks at
    these, and not at the far larger table again.
    """
    starts, grams, leaders, marks = places.starts, places.grams, places.leaders, places.marks
    mask = table_size(number) - 1
    for slot in range(mask + 1):
        table[slot].count = 0
    most, earliest = 0, 0
    for k in range(number):
        gram = grams[k] * FACTOR + words[starts[k] + n - 1]
        entry = table[slot_of(gram, table, mask)]
        grams[k], marks[k] = gram, ONCE
        if entry.count == 0:
            entry.key, entry.first = gram, k
        elif entry.count == 1:
            marks[entry.first] = REPEATED
        entry.count += 1
        leaders[k] = entry.first
        if entry.count > most or (entry.count == most and entry.first < earliest):
            most, earliest = entry.count, entry.first
    return most, earliest


@kernel(nogil=True)
def covered_by_repeats(n: int, places: Places, number: int, ends: np.ndarray) -> int:
    """Characters in n-grams that were seen before, read from left to right, going on after the end of each such n-gram."""
    starts, leaders, marks = places.starts, places.leaders, places.marks
    characters, free = 0, 0
    for k in range(number):
        start, leader = starts[k], leaders[k]
        if start < free or marks[leader] == ONCE:
            continue
        if marks[leader] == SEEN:
            characters += ends[start + n] - ends[start]
            free = start + n
        marks[leader] = SEEN
    return characters


@kernel(nogil=True)
def gram_repetition(tokens: Tokens, number: int, out: np.ndarray) -> None:
    """Fills `out` (int64, NUM_GRAM_COUNTS): characters in the most frequent 2-, 3- and 4-gram, then in repeated 5- to 10-grams.

    An n-gram can occur twice only where its first n-1 words do, so each n looks only at the places that n-1 left. The most
    frequent n-gram counts with the spaces between its words, repeated ones without, as in datatrove.
    """
    out[:NUM_GRAM_COUNTS] = 0
    ends = np.zeros(number + 1, np.int64)
    for i in range(number):
        ends[i + 1] = ends[i] + tokens.characters[i]
    starts, grams = np.arange(number), tokens.hashes[:number].copy()
    leaders, marks = np.empty(number, np.int32), np.empty(number, np.uint8)
    places = Places(starts, grams, leaders, marks)
    table = np.empty(table_size(number), ENTRY)
    left = number
    for n in range(FIRST_GRAM, LAST_GRAM + 1):
        if left and starts[left - 1] + n > number:
            left -= 1
        most, leader = count_grams(n, tokens.hashes, places, left, table)
        if n >= FIRST_DUPLICATE_GRAM:
            out[n - FIRST_GRAM] = covered_by_repeats(n, places, left, ends)
        elif most > 1:
            start = starts[leader]
            out[n - FIRST_GRAM] = most * (ends[start + n] - ends[start] + n - 1)
        elif number >= n:
            out[n - FIRST_GRAM] = ends[n] + n - 1
        kept = 0
        for k in range(left):
            if marks[leaders[k]] != ONCE:
                starts[kept], grams[kept] = starts[k], grams[k]
                kept += 1
        left = kept
