"""How much of a document repeats: lines, paragraphs and n-grams of words, by their 64-bit hashes.

Equal hashes are taken for equal text: among a million different n-grams the chance of one mistake is 3e-8.
"""

import numpy as np

from tasks.data.kernels.kernel import kernel

FACTOR = np.uint64(0xD6E8FEB86659FD93)
SHIFT = np.uint64(32)
FIRST_GRAM, FIRST_DUPLICATE_GRAM, LAST_GRAM = 2, 5, 10
ONCE, REPEATED, SEEN = range(3)
ENTRY = np.dtype([("key", np.uint64), ("count", np.int32), ("first", np.int32)], align=True)
NUM_GRAM_COUNTS = LAST_GRAM - FIRST_GRAM + 1


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
def count_grams(
    n: int, words: np.ndarray, places: np.ndarray, grams: np.ndarray, number: int, table: np.ndarray,
    leaders: np.ndarray, marks: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Counts the n-grams at the first `number` of `places`: how often the most frequent occurs, and which of equals leads.

    `grams`: the (n-1)-gram of each place, replaced by its n-gram. `leaders`: the first place (its number) with the same n-gram.
    `marks`: REPEATED for leaders of more than one. What comes later looks at these, and not at the far larger table again.
    """
    mask = table_size(number) - 1
    for slot in range(mask + 1):
        table[slot].count = 0
    most, earliest = 0, 0
    for k in range(number):
        grams[k] = grams[k] * FACTOR + words[places[k] + n - 1]
        entry = table[slot_of(grams[k], table, mask)]
        marks[k] = ONCE
        if entry.count == 0:
            entry.key, entry.first = grams[k], k
        elif entry.count == 1:
            marks[entry.first] = REPEATED
        entry.count += 1
        leaders[k] = entry.first
        if entry.count > most or (entry.count == most and entry.first < earliest):
            most, earliest = entry.count, entry.first
    return most, earliest


@kernel(nogil=True)
def covered_by_repeats(
    n: int, places: np.ndarray, number: int, leaders: np.ndarray, marks: np.ndarray, ends: np.ndarray
) -> int:
    """Characters in n-grams that were seen before, read from left to right, going on after the end of each such n-gram."""
    characters, free = 0, 0
    for k in range(number):
        place, leader = places[k], leaders[k]
        if place < free or marks[leader] == ONCE:
            continue
        if marks[leader] == SEEN:
            characters += ends[place + n] - ends[place]
            free = place + n
        marks[leader] = SEEN
    return characters


@kernel(nogil=True)
def gram_repetition(words: np.ndarray, lengths: np.ndarray, number: int, out: np.ndarray) -> None:
    """Fills `out` (int64, NUM_GRAM_COUNTS): characters in the most frequent 2-, 3- and 4-gram, then in repeated 5- to 10-grams.

    An n-gram can occur twice only where its first n-1 words do, so each n looks only at the places that n-1 left. The most
    frequent n-gram counts with the spaces between its words, repeated ones without, as in datatrove.
    """
    out[:NUM_GRAM_COUNTS] = 0
    ends = np.zeros(number + 1, np.int64)
    for i in range(number):
        ends[i + 1] = ends[i] + lengths[i]
    places, grams = np.arange(number), words[:number].copy()
    leaders, marks = np.empty(number, np.int32), np.empty(number, np.uint8)
    table = np.empty(table_size(number), ENTRY)
    left = number
    for n in range(FIRST_GRAM, LAST_GRAM + 1):
        if left and places[left - 1] + n > number:
            left -= 1
        most, leader = count_grams(n, words, places, grams, left, table, leaders, marks)
        if n >= FIRST_DUPLICATE_GRAM:
            out[n - FIRST_GRAM] = covered_by_repeats(n, places, left, leaders, marks, ends)
        elif most > 1:
            place = places[leader]
            out[n - FIRST_GRAM] = most * (ends[place + n] - ends[place] + n - 1)
        elif number >= n:
            out[n - FIRST_GRAM] = ends[n] + n - 1
        kept = 0
        for k in range(left):
            if marks[leaders[k]] != ONCE:
                places[kept], grams[kept] = places[k], grams[k]
                kept += 1
        left = kept
