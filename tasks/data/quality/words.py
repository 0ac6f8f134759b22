"""Words and symbols of a document, for the rules that count them.

A word is a run of letters, digits and marks; any other visible character is a symbol, as is a run of full stops or of hyphens.
What joins the digits of a number or a range, and a full stop inside or after an abbreviation ("U.S.", "J.", "Mrs.",
"example.com"), belongs to the word; an apostrophe starts a new one ("it's" is "it" and "'s"). So the words are nearly those of
spaCy's English tokenizer, which datatrove's rules use. Words and symbols together are called tokens.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.characters import LETTER, SPACE, UPPER, WORD, character_at, character_classes, class_of

PRIME = np.uint64(0x100000001B3)
SEED = np.uint64(0xCBF29CE484222325)
"""FNV-1a (Fowler, Noll and Vo), over code points; 64 bits are taken for the word itself."""
MIX = np.uint64(0x9E3779B97F4A7C15)
FULL_STOP, COMMA, COLON, APOSTROPHE, HASH, AMPERSAND, HYPHEN, QUOTE, DOTS, DASH, UNDERSCORE = (ord(c) for c in ".,:'#&-’…–_")
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Rae et al. 2021, appendix A.1.1."""
LONGEST_STOP_WORD = 4
"""Characters; longer words are not compared with them."""
ABBREVIATIONS = ("Mr", "Mrs", "Ms", "Dr", "St", "Prof", "Jr", "Sr", "Gen", "Rev", "Co", "Inc", "Ltd", "vs")
"""The most frequent ones that have no full stop inside and are longer than a letter."""


class Word(NamedTuple):
    end: int
    """The byte behind it."""
    hash: np.uint64
    characters: int
    alphabetic: int
    """1 if a letter is among them, else 0."""


class Tokens(NamedTuple):
    """Words and symbols in the order of the text."""

    hashes: np.ndarray
    """uint64."""
    characters: np.ndarray
    """int32."""


@kernel(nogil=True)
def joins(text: np.ndarray, at: int, code: int, before: int, segment: int, classes: np.ndarray) -> bool:
    """Whether the symbol `code` at byte `at` belongs to the word before it, whose last character has the class `before`."""
    if code == FULL_STOP and segment == 1 and before & LETTER:
        return True
    if code not in (FULL_STOP, COMMA, COLON, AMPERSAND, DASH, UNDERSCORE):
        return False
    width = 3 if code == DASH else 1
    if at + width >= len(text):
        return False
    after = class_of(character_at(text, at + width)[0], classes)
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
def word_at(text: np.ndarray, at: int, classes: np.ndarray, vocabulary: np.ndarray) -> Word:
    """The word that starts at byte `at`."""
    value, characters, segment, alphabetic, before = SEED, 0, 0, 0, 0
    while at < len(text):
        code, width = character_at(text, at)
        kind = class_of(code, classes)
        if kind & WORD:
            segment += 1
            alphabetic |= kind & LETTER
        elif characters == 0 and code in (APOSTROPHE, QUOTE):
            segment = 2
        elif characters and (
            joins(text, at, code, before, segment, classes)
            or (code == FULL_STOP and is_abbreviation(value, characters, vocabulary))
        ):
            segment = 0
        else:
            break
        value = (value ^ np.uint64(code)) * PRIME
        characters += 1
        before = kind
        at += width
    return Word(at, value * MIX, characters, alphabetic)


@kernel(nogil=True)
def starts_word(text: np.ndarray, at: int, code: int, width: int, classes: np.ndarray) -> bool:
    """Whether the symbol `code` at byte `at`, behind a word, is the apostrophe of "it's"."""
    if (code != APOSTROPHE and code != QUOTE) or at + width >= len(text):
        return False
    return class_of(character_at(text, at + width)[0], classes) & LETTER != 0


@kernel(nogil=True)
def num_stop_words(seen: int) -> int:
    """How many bits of `seen` are set."""
    number = 0
    while seen:
        number += seen & 1
        seen >>= 1
    return number


@kernel(nogil=True)
def find_words(text: np.ndarray, classes: np.ndarray, vocabulary: np.ndarray, tokens: Tokens, counts: np.record) -> int:
    """Fills `tokens` and returns how many there are, or -1 if they do not fit; then nothing was counted.

    `vocabulary`: from `vocabulary_hashes`. `counts`: of judge.COUNTS; its fields from `tokens` to `alphabetic_pieces` are set.
    """
    hashes, lengths = tokens.hashes, tokens.characters
    number, words, word_characters, alphabetic_tokens, number_signs, ellipses, characters = 0, 0, 0, 0, 0, 0, 0
    pieces, alphabetic_pieces, piece_has_letter = 0, 0, False
    at, stop_words_seen, after_word, in_piece = 0, 0, False, False
    while at < len(text):
        code, width = character_at(text, at)
        kind = class_of(code, classes)
        if kind & SPACE:
            after_word = in_piece = False
            characters += 1
            at += width
            continue
        if number == len(hashes):
            return -1
        if not in_piece:
            pieces += 1
            in_piece, piece_has_letter = True, False
        if kind & WORD or (after_word and starts_word(text, at, code, width, classes)):
            word = word_at(text, at, classes, vocabulary)
            hashes[number], lengths[number] = word.hash, word.characters
            at = word.end
            words += 1
            word_characters += word.characters
            alphabetic_tokens += word.alphabetic
            if word.alphabetic and not piece_has_letter:
                alphabetic_pieces += 1
                piece_has_letter = True
            if word.characters <= LONGEST_STOP_WORD:
                for k in range(len(STOP_WORDS)):
                    if word.hash == vocabulary[k]:
                        stop_words_seen |= 1 << k
            after_word = True
        else:
            run, symbol = 0, code
            while code == symbol:
                at += width
                run += 1
                if at >= len(text) or (symbol != FULL_STOP and symbol != HYPHEN):
                    break
                code, width = character_at(text, at)
            hashes[number] = (SEED ^ np.uint64(symbol) ^ np.uint64(run) << np.uint64(32)) * PRIME * MIX
            lengths[number] = run
            number_signs += run if symbol == HASH else 0
            ellipses += run // 3 if symbol == FULL_STOP else (run if symbol == DOTS else 0)
            after_word = False
        characters += lengths[number]
        number += 1
    counts.tokens, counts.alphabetic_tokens = number, alphabetic_tokens
    counts.words, counts.word_characters = words, word_characters
    counts.stop_words, counts.hashes, counts.ellipses = num_stop_words(stop_words_seen), number_signs, ellipses
    counts.characters, counts.pieces, counts.alphabetic_pieces = characters, pieces, alphabetic_pieces
    return number


@cache
def vocabulary_hashes() -> np.ndarray:
    """The hashes of STOP_WORDS and then of ABBREVIATIONS, as `word_at` computes them: uint64, read-only."""
    classes, none = character_classes(), np.zeros(0, np.uint64)
    none.flags.writeable = False
    texts = [np.frombuffer(word.encode(), dtype=np.uint8) for word in (*STOP_WORDS, *ABBREVIATIONS)]
    hashes = np.array([word_at(text, 0, classes, none).hash for text in texts], dtype=np.uint64)
    hashes.flags.writeable = False
    return hashes
