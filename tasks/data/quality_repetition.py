"""How much of a document repeats: lines, paragraphs and n-grams of words, by their 64-bit hashes.

Equal hashes are taken for equal text: among a million different n-grams the chance of one mistake is 3e-8.
"""

import numpy as np
from numba import njit

FACTOR = np.uint64(0xD6E8FEB86659FD93)
SHIFT = np.uint64(32)
FIRST_GRAM, FIRST_DUPLICATE_GRAM, LAST_GRAM = 2, 5, 10
ENTRY = np.dtype([("key", np.uint64), ("count", np.int32), ("first", np.int32)], align=True)
NUM_GRAM_COUNTS = LAST_GRAM - FIRST_GRAM + 1


@njit(cache=True, nogil=True)
def table_size(number: int) -> int:
    """A power of two, at least one and a half times `number`."""
    size = 4
    while 2 * size < 3 * number:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def slot_of(key: np.uint64, table: np.ndarray, mask: int) -> int:
    """Where `key` is in the table of ENTRY, or the free slot (count 0) where it belongs."""
    slot = np.int64((key ^ key >> SHIFT) & np.uint64(mask))
    while table[slot].count and table[slot].key != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def count_grams(
    n: int, words: np.ndarray, places: np.ndarray, grams: np.ndarray, number: int, table: np.ndarray, slots: np.ndarray
) -> int:
    """Counts the n-grams at the first `number` of `places`; returns the slot of the most frequent, the earliest of equals.

    `grams`: the (n-1)-gram of each place, replaced by its n-gram. `slots`: where the table has the n-gram of each place.
    """
    mask = table_size(number) - 1
    for slot in range(mask + 1):
        table[slot].count = 0
    best, most, earliest = -1, 0, 0
    for k in range(number):
        grams[k] = grams[k] * FACTOR + words[places[k] + n - 1]
        slot = slot_of(grams[k], table, mask)
        entry = table[slot]
        if entry.count == 0:
            entry.key, entry.first = grams[k], places[k]
        entry.count += 1
        slots[k] = slot
        if entry.count > most or (entry.count == most and entry.first < earliest):
            best, most, earliest = slot, entry.count, entry.first
    return best


@njit(cache=True, nogil=True)
def covered_by_repeats(n: int, places: np.ndarray, number: int, slots: np.ndarray, table: np.ndarray, ends: np.ndarray) -> int:
    """Characters in n-grams that were seen before, read from left to right, going on after the end of each such n-gram."""
    characters, free = 0, 0
    for k in range(number):
        place = places[k]
        if place < free:
            continue
        if table[slots[k]].first < 0:
            characters += ends[place + n] - ends[place]
            free = place + n
        table[slots[k]].first = -1
    return characters


@njit(cache=True, nogil=True)
def gram_repetition(words: np.ndarray, lengths: np.ndarray, number: int, out: np.ndarray) -> None:
    """Fills `out` (int64, NUM_GRAM_COUNTS): characters in the most frequent 2-, 3- and 4-gram, then in repeated 5- to 10-grams.

    An n-gram can occur twice only where its first n-1 words do, so each n looks only at the places that n-1 left. The most
    frequent n-gram counts with the spaces between its words, repeated ones without, as in datatrove.
    """
    out[:NUM_GRAM_COUNTS] = 0
    ends = np.zeros(number + 1, np.int64)
    for i in range(number):
        ends[i + 1] = ends[i] + lengths[i]
    places, grams, slots = np.arange(number), words[:number].copy(), np.empty(number, np.int32)
    table = np.empty(table_size(number), ENTRY)
    left = number
    for n in range(FIRST_GRAM, LAST_GRAM + 1):
        if left and places[left - 1] + n > number:
            left -= 1
        top_characters = ends[min(n, number)] + n - 1 if number >= n else 0
        if left:
            best = table[count_grams(n, words, places, grams, left, table, slots)]
            if best.count > 1:
                top_characters = best.count * (ends[best.first + n] - ends[best.first] + n - 1)
        if n < FIRST_DUPLICATE_GRAM:
            out[n - FIRST_GRAM] = top_characters
        else:
            out[n - FIRST_GRAM] = covered_by_repeats(n, places, left, slots, table, ends)
        kept = 0
        for k in range(left):
            if table[slots[k]].count > 1:
                places[kept], grams[kept] = places[k], grams[k]
                kept += 1
        left = kept
