"""How much of a document repeats: lines, paragraphs and n-grams of words, by their 64-bit hashes.

Equal hashes are taken for equal text: among a million different n-grams the chance of one mistake is 3e-8.
"""

import numpy as np
from numba import njit

FACTOR = np.uint64(0xD6E8FEB86659FD93)
SHIFT = np.uint64(32)
FIRST_GRAM, FIRST_DUPLICATE_GRAM, LAST_GRAM = 2, 5, 10
NUM_GRAM_COUNTS = LAST_GRAM - FIRST_GRAM + 1


@njit(cache=True, nogil=True)
def table_size(number: int) -> int:
    """A power of two, at least one and a half times `number`."""
    size = 4
    while 2 * size < 3 * number:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def slot_of(key: np.uint64, keys: np.ndarray, counts: np.ndarray, mask: int) -> int:
    """Where `key` is in the table, or the free slot (count 0) where it belongs."""
    slot = np.int64((key ^ key >> SHIFT) & np.uint64(mask))
    while counts[slot] and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
def duplicates(hashes: np.ndarray, characters: np.ndarray, number: int) -> tuple[int, int]:
    """How many of the first `number` pieces are equal to an earlier one, and the characters of those."""
    size = table_size(number)
    keys, counts = np.empty(size, np.uint64), np.zeros(size, np.int32)
    repeated, repeated_characters = 0, 0
    for i in range(number):
        slot = slot_of(hashes[i], keys, counts, size - 1)
        if counts[slot]:
            repeated += 1
            repeated_characters += characters[i]
        keys[slot] = hashes[i]
        counts[slot] += 1
    return repeated, repeated_characters


@njit(cache=True, nogil=True)
def count_grams(
    n: int, words: np.ndarray, places: np.ndarray, grams: np.ndarray, number: int,
    keys: np.ndarray, counts: np.ndarray, firsts: np.ndarray, slots: np.ndarray,
) -> int:  # fmt: skip
    """Counts the n-grams that start at the first `number` of `places`; returns the slot of the most frequent, the earliest of equals.

    `grams`: the (n-1)-gram of each place, replaced by its n-gram. `slots`: where the table has the n-gram of each place.
    """
    mask = table_size(number) - 1
    counts[: mask + 1] = 0
    best = -1
    for k in range(number):
        grams[k] = grams[k] * FACTOR + words[places[k] + n - 1]
        slot = slot_of(grams[k], keys, counts, mask)
        if counts[slot] == 0:
            keys[slot], firsts[slot] = grams[k], places[k]
        counts[slot] += 1
        slots[k] = slot
        if best < 0 or counts[slot] > counts[best] or (counts[slot] == counts[best] and firsts[slot] < firsts[best]):
            best = slot
    return best


@njit(cache=True, nogil=True)
def covered_by_repeats(n: int, places: np.ndarray, number: int, slots: np.ndarray, firsts: np.ndarray, ends: np.ndarray) -> int:
    """Characters in n-grams that were seen before, read from left to right, going on after the end of each such n-gram."""
    characters, free = 0, 0
    for k in range(number):
        place = places[k]
        if place < free:
            continue
        if firsts[slots[k]] < 0:
            characters += ends[place + n] - ends[place]
            free = place + n
        firsts[slots[k]] = -1
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
    size = table_size(number)
    keys, counts, firsts = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.int64)
    left = number
    for n in range(FIRST_GRAM, LAST_GRAM + 1):
        if left and places[left - 1] + n > number:
            left -= 1
        top_characters = ends[min(n, number)] + n - 1 if number >= n else 0
        if left:
            best = count_grams(n, words, places, grams, left, keys, counts, firsts, slots)
            if counts[best] > 1:
                top_characters = counts[best] * (ends[firsts[best] + n] - ends[firsts[best]] + n - 1)
        if n < FIRST_DUPLICATE_GRAM:
            out[n - FIRST_GRAM] = top_characters
        else:
            out[n - FIRST_GRAM] = covered_by_repeats(n, places, left, slots, firsts, ends)
        kept = 0
        for k in range(left):
            if counts[slots[k]] > 1:
                places[kept], grams[kept] = places[k], grams[k]
                kept += 1
        left = kept
