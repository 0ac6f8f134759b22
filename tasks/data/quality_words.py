"""Words and symbols of a document, for the rules that count them.

A word is a run of letters, digits and marks; any other visible character is a symbol, and a run of the same symbol is one. A
full stop or a comma inside a number, and a full stop inside or after letters that are abbreviated ("U.S.", "J.", "example.com"),
belong to the word; an apostrophe starts a new one ("it's" is "it" and "'s"). So the words are nearly those of spaCy's English
tokenizer, which datatrove's rules use. Symbols count as words in every ratio "per word", as they do there.
"""

import numpy as np
from numba import njit

from tasks.data.quality_characters import LETTER, SPACE, UPPER, WORD, character_at, class_of

PRIME = np.uint64(0x100000001B3)
SEED = np.uint64(0xCBF29CE484222325)
"""FNV-1a (Fowler, Noll and Vo), over code points; 64 bits are taken for the word itself."""
MIX = np.uint64(0x9E3779B97F4A7C15)
FULL_STOP, COMMA, COLON, APOSTROPHE, HASH, AMPERSAND, QUOTE, DOTS = (ord(c) for c in ".,:'#&’…")
NUM_WORD_COUNTS = 8


@njit(cache=True, nogil=True)
def joins(data: np.ndarray, at: int, end: int, code: int, before: int, segment: int, classes: np.ndarray) -> bool:
    """Whether the symbol `code` at byte `at` belongs to the word before it, whose last character has the class `before`."""
    if code == FULL_STOP and segment == 1 and before & LETTER:
        return True
    if at + 1 >= end or code not in (FULL_STOP, COMMA, COLON, AMPERSAND):
        return False
    after = class_of(character_at(data, at + 1, end)[0], classes)
    if not after & WORD:
        return False
    if code == FULL_STOP:
        return not (after & UPPER and before & LETTER and not before & UPPER)
    if code == AMPERSAND:
        return before & LETTER != 0 and after & LETTER != 0
    return not (before & LETTER or after & LETTER)


@njit(cache=True, nogil=True)
def scan_word(data: np.ndarray, at: int, end: int, classes: np.ndarray) -> tuple[int, np.uint64, int, int]:
    """The word that starts at byte `at`: where it ends, its hash, its characters, and 1 if a letter is among them."""
    value, characters, segment, alphabetic, before = SEED, 0, 0, 0, 0
    while at < end:
        code, width = character_at(data, at, end)
        kind = class_of(code, classes)
        if kind & WORD:
            segment += 1
            alphabetic |= kind & LETTER
        elif characters == 0 and (code == APOSTROPHE or code == QUOTE):
            segment = 2
        elif characters and joins(data, at, end, code, before, segment, classes):
            segment = 0
        else:
            break
        value = (value ^ np.uint64(code)) * PRIME
        characters += 1
        before = kind
        at += width
    return at, value * MIX, characters, alphabetic


@njit(cache=True, nogil=True)
def starts_word(
    data: np.ndarray, at: int, end: int, kind: int, code: int, width: int, after_word: bool, classes: np.ndarray
) -> bool:
    """A character of a word, or the apostrophe of "it's"."""
    if kind & WORD:
        return True
    if not after_word or (code != APOSTROPHE and code != QUOTE) or at + width >= end:
        return False
    return class_of(character_at(data, at + width, end)[0], classes) & LETTER != 0


@njit(cache=True, nogil=True)
def find_words(
    data: np.ndarray, start: int, end: int, classes: np.ndarray, stop: np.ndarray,
    hashes: np.ndarray, lengths: np.ndarray, counts: np.ndarray,
) -> int:  # fmt: skip
    """Fills `hashes` (uint64) and `lengths` (characters, int32) for each word and symbol; returns how many, -1 if they do not fit.

    `counts` (int64, NUM_WORD_COUNTS): words and symbols; words; their characters; words with a letter; how many of the words whose
    hashes are in `stop` occur; number signs; ellipses; characters of the document.
    """
    counts[:NUM_WORD_COUNTS] = 0
    number, at, seen, after_word = 0, start, 0, False
    while at < end:
        code, width = character_at(data, at, end)
        kind = class_of(code, classes)
        if kind & SPACE:
            after_word = False
            counts[7] += 1
            at += width
            continue
        if number == len(hashes):
            return -1
        if starts_word(data, at, end, kind, code, width, after_word, classes):
            at, hashes[number], lengths[number], alphabetic = scan_word(data, at, end, classes)
            counts[1] += 1
            counts[2] += lengths[number]
            counts[3] += alphabetic
            if lengths[number] <= 4:
                for k in range(len(stop)):
                    if hashes[number] == stop[k]:
                        seen |= 1 << k
            after_word = True
        else:
            run, symbol = 0, code
            while code == symbol:
                at += width
                run += 1
                if at >= end:
                    break
                code, width = character_at(data, at, end)
            hashes[number] = (SEED ^ np.uint64(symbol) ^ np.uint64(run) << np.uint64(32)) * PRIME * MIX
            lengths[number] = run
            counts[5] += run if symbol == HASH else 0
            counts[6] += run // 3 if symbol == FULL_STOP else (run if symbol == DOTS else 0)
            after_word = False
        counts[7] += lengths[number]
        number += 1
    counts[0] = number
    while seen:
        counts[4] += seen & 1
        seen >>= 1
    return number
