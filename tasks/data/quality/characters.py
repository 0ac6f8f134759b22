"""Characters as the quality rules see them: one byte of class bits for each code point.

Kernels of this package read UTF-8 directly. They expect valid UTF-8, except that lone surrogates (three bytes each) are let
through as symbols.
"""

from functools import cache
from unicodedata import category

import numpy as np
import regex

from tasks.data.kernels.kernel import kernel

LETTER = 1
"""An alphabetic character (`str.isalpha`)."""
WORD = 2
"""Part of a word: letters, digits and other numbers, combining marks, joiners."""
SPACE = 4
TERMINAL = 8
"""Ends a sentence in some script: Unicode's property Sentence_Terminal and the Khmer signs that do the same."""
UPPER = 16

TABLE_SIZE = 0x30000
"""Code points from here on are ideographs, private or unassigned: letters, to the rules."""
SENTENCE_ENDS = regex.compile(r"[\p{Sentence_Terminal}\u17d6\u17d9\u17da]")
JOINERS = "\u200c\u200d"


@cache
def character_classes() -> np.ndarray:
    """The class bits of every code point below TABLE_SIZE: uint8, read-only."""
    table = np.zeros(TABLE_SIZE, dtype=np.uint8)
    for code in range(TABLE_SIZE):
        character = chr(code)
        if character.isspace():
            table[code] = SPACE
        elif character.isalpha():
            table[code] = LETTER | WORD | (UPPER if character.isupper() else 0)
        elif character.isalnum() or character in JOINERS or category(character)[0] in "MN":
            table[code] = WORD
    ends = SENTENCE_ENDS.findall("".join(chr(code) for code in range(TABLE_SIZE) if not 0xD800 <= code < 0xE000))
    table[[ord(end) for end in ends]] |= TERMINAL
    table.flags.writeable = False
    return table


@kernel(nogil=True)
def character_at(text: np.ndarray, at: int) -> tuple[np.int64, int]:
    """The code point that starts at byte `at`, and its width in bytes; of one that is cut off at the end, its first byte."""
    byte, end = np.int64(text[at]), len(text)
    if byte < 0x80 or at + 1 >= end:
        return byte, 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | (text[at + 1] & 0x3F), 2
    if byte < 0xF0 and at + 2 < end:
        return (byte & 0x0F) << 12 | (text[at + 1] & 0x3F) << 6 | (text[at + 2] & 0x3F), 3
    if at + 3 < end:
        return (byte & 7) << 18 | (text[at + 1] & 0x3F) << 12 | (text[at + 2] & 0x3F) << 6 | (text[at + 3] & 0x3F), 4
    return byte, 1


@kernel(nogil=True)
def class_of(code: int, classes: np.ndarray) -> np.int64 | int:
    return np.int64(classes[code]) if code < len(classes) else LETTER | WORD
