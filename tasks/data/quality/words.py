"""Words and symbols of a document, for the rules that count them.

A word is a run of letters, digits and marks; any other visible character is a symbol, as is a run of full stops or of hyphens.
What joins the digits of a number or a range, and a full stop inside or after an abbreviation ("U.S.", "J.", "Mrs.",
"example.com"), belongs to the word; an apostrophe starts a new one ("it's" is "it" and "'s"). So the words are nearly those of
spaCy's English tokenizer, which datatrove's rules use. Words and symbols together are called tokens.
"""

from functools import cache

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.characters import LETTER, SPACE, UPPER, WORD, character_at, character_classes, class_of

PRIME = np.uint64(0x100000001B3)
SEED = np.uint64(0xCBF29CE484222325)
"""FNV-1a (Fowler, Noll and Vo), over code points; 64 bits are taken for the word itself."""
MIX = np.uint64(0x9E3779B97F4A7C15)
FULL_STOP, COMMA, COLON, APOSTROPHE, HASH, AMPERSAND, HYPHEN, QUOTE, DOTS, DASH, UNDERSCORE = (ord(c) for c in ".,:'#&-’…–_")
NUM_WORD_COUNTS = 10
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Rae et al. 2021, appendix A.1.1."""
ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "St", "Prof", "Jr", "Sr", "Gen", "Rev", "Co", "Inc", "Ltd", "vs")
"""The most frequent ones that have no full stop inside and are longer than a letter."""


@kernel(nogil=True)
def joins(data: np.ndarray, at: int, end: int, code: int, before: int, segment: int, classes: np.ndarray) -> bool:
    """Whether the symbol `code` at byte `at` belongs to the word before it, whose last character has the class `before`."""
    if code == FULL_STOP and segment == 1 and before & LETTER:
        return True
    if code not in (FULL_STOP, COMMA, COLON, AMPERSAND, DASH, UNDERSCORE):
        return False
    width = 3 if code == DASH else 1
    if at + width >= end:
        return False
    after = class_of(character_at(data, at + width, end)[0], classes)
    if not after & WORD:
        return False
    if code == UNDERSCORE:
        return True
    if code == FULL_STOP:
        return not (after & UPPER and before & LETTER and not before & UPPER)
    if code == AMPERSAND:
        return before & LETTER != 0 and after & LETTER != 0
    return not (before & LETTER or after & LETTER)


@kernel(nogil=True)
def is_abbreviation(value: np.uint64, characters: int, vocabulary: np.ndarray) -> bool:
    if 2 <= characters <= 4:
        for k in range(len(STOP_WORDS), len(vocabulary)):
            if vocabulary[k] == value * MIX:
                return True
    return False


@kernel(nogil=True)
def scan_word(
    data: np.ndarray, at: int, end: int, classes: np.ndarray, vocabulary: np.ndarray
) -> tuple[int, np.uint64, int, int]:
    """The word that starts at byte `at`: where it ends, its hash, its characters, and 1 if a letter is among them."""
    value, characters, segment, alphabetic, before = SEED, 0, 0, 0, 0
    while at < end:
        code, width = character_at(data, at, end)
        kind = class_of(code, classes)
        if kind & WORD:
            segment += 1
            alphabetic |= kind & LETTER
        elif characters == 0 and code in (APOSTROPHE, QUOTE):
            segment = 2
        elif characters and (
            joins(data, at, end, code, before, segment, classes)
            or (code == FULL_STOP and is_abbreviation(value, characters, vocabulary))
        ):
            segment = 0
        else:
            break
        value = (value ^ np.uint64(code)) * PRIME
        characters += 1
        before = kind
        at += width
    return at, value * MIX, characters, alphabetic


@kernel(nogil=True)
def starts_word(
    data: np.ndarray, at: int, end: int, kind: int, code: int, width: int, after_word: bool, classes: np.ndarray
) -> bool:
    """A character of a word, or the apostrophe of "it's"."""
    if kind & WORD:
        return True
    if not after_word or (code != APOSTROPHE and code != QUOTE) or at + width >= end:
        return False
    return class_of(character_at(data, at + width, end)[0], classes) & LETTER != 0


@kernel(nogil=True)
def find_words(
    data: np.ndarray, start: int, end: int, classes: np.ndarray, vocabulary: np.ndarray,
    hashes: np.ndarray, lengths: np.ndarray, counts: np.ndarray,
) -> int:  # fmt: skip
    """Fills `hashes` (uint64) and `lengths` (characters, int32) for each token; returns how many, -1 if they do not fit.

    `vocabulary`: from `vocabulary_hashes`. `counts` (int64, NUM_WORD_COUNTS): tokens; words; characters of words; tokens with a
    letter; how many of the stop words occur; number signs; ellipses; characters of the document; pieces between spaces; pieces
    with a letter.
    """
    counts[:NUM_WORD_COUNTS] = 0
    number, at, seen, after_word, piece = 0, start, 0, False, 0
    while at < end:
        code, width = character_at(data, at, end)
        kind = class_of(code, classes)
        if kind & SPACE:
            after_word, piece = False, 0
            counts[7] += 1
            at += width
            continue
        if number == len(hashes):
            return -1
        counts[8] += piece == 0
        piece |= 1
        if starts_word(data, at, end, kind, code, width, after_word, classes):
            at, hashes[number], lengths[number], alphabetic = scan_word(data, at, end, classes, vocabulary)
            counts[1] += 1
            counts[2] += lengths[number]
            counts[3] += alphabetic
            counts[9] += piece == 1 and alphabetic == 1
            piece |= alphabetic << 1
            if lengths[number] <= 4:
                for k in range(min(len(STOP_WORDS), len(vocabulary))):
                    if hashes[number] == vocabulary[k]:
                        seen |= 1 << k
            after_word = True
        else:
            run, symbol = 0, code
            while code == symbol:
                at += width
                run += 1
                if at >= end or (symbol != FULL_STOP and symbol != HYPHEN):
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


@cache
def vocabulary_hashes() -> np.ndarray:
    """The hashes of STOP_WORDS and then of ABBREVIATIONS, as `find_words` computes them: uint64, read-only."""
    words = (*STOP_WORDS, *ABBREVIATIONS)
    data = np.frombuffer(" ".join(words).encode(), dtype=np.uint8)
    hashes, lengths, counts = (
        np.zeros(len(words), np.uint64),
        np.zeros(len(words), np.int32),
        np.zeros(NUM_WORD_COUNTS, np.int64),
    )
    none = np.zeros(0, np.uint64)
    none.flags.writeable = False
    find_words(data, 0, len(data), character_classes(), none, hashes, lengths, counts)
    hashes.flags.writeable = False
    return hashes
