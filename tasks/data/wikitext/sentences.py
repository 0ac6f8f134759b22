"""Whether a template stands inside a sentence, as a word does, and whether what it was given can be words."""

import numpy as np

from tasks.data.wikitext.bytes import (
    ALPHA,
    BLANK,
    CLOSE_BRACE,
    COLON,
    DOT,
    IS,
    LETTER,
    LIST_SIGN,
    NEWLINE,
    NINE,
    OPEN_BRACE,
    OPEN_BRACKET,
    OPEN_PARENTHESIS,
    PIPE,
    QUOTE,
    SLASH,
    SPACE,
    TAB,
    UPPER_A,
    UPPER_Z,
    ZERO,
    inner,
)  # fmt: skip

DOUBLE_QUOTE = ord('"')
BEFORE_WORDS = (SPACE, TAB, OPEN_PARENTHESIS, QUOTE, DOUBLE_QUOTE)
LONGEST_WORDS = 120
"""Bytes; longer arguments are notes."""
LOOK_BACK = 200


@inner
def is_inside(data: np.ndarray, after: int, out: np.ndarray, start: int) -> bool:
    """Whether a template that begins at out[start] and ends before data[after] has text before and after it in its line.

    A reference or a note stands at a word or a point, without a space before it: no part of the sentence.
    """
    j, end = start - 1, max(-1, start - LOOK_BACK)
    while j > end and out[j] < SPACE and out[j] not in (NEWLINE, TAB):
        j -= 1
    if j <= end or not (out[j] in BEFORE_WORDS or opens(out, j)):
        return False
    while j > end and out[j] != NEWLINE and not IS[out[j]] & LETTER:
        j -= 1
    if j <= end or out[j] == NEWLINE:
        return False
    while after < data.size and data[after] in (SPACE, TAB, QUOTE):
        after += 1
    return after < data.size and data[after] not in (NEWLINE, PIPE, OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET)


@inner
def opens(out: np.ndarray, j: int) -> bool:
    """Whether out[j] ends a quotation mark or bracket that opens: « “ „ ‘ （ 「 『 《."""
    if j > 0 and out[j - 1] == 0xC2:
        return out[j] == 0xAB
    if j < 2:
        return False
    if out[j - 2] == 0xE2 and out[j - 1] == 0x80:
        return out[j] in (0x98, 0x9C, 0x9E)
    if out[j - 2] == 0xE3 and out[j - 1] == 0x80:
        return out[j] in (0x8A, 0x8C, 0x8E)
    return out[j - 2] == 0xEF and out[j - 1] == 0xBC and out[j] == 0x88


@inner
def could_be_words(out: np.ndarray, begin: int, end: int) -> bool:
    """Whether out[begin:end] has a letter and no digit first, and looks like no file, address, list or code (ESP)."""
    if end - begin > LONGEST_WORDS or begin == end or ZERO <= out[begin] <= NINE:
        return False
    letters, capitals = False, end - begin <= 3
    for j in range(begin, end):
        c = out[j]
        letters = letters or IS[c] & ALPHA != 0 or c >= 0x80
        capitals = capitals and UPPER_A <= c <= UPPER_Z
        if c in (NEWLINE, SLASH) or (c == COLON and j + 1 < end and out[j + 1] > SPACE):
            return False
        if c == DOT and end - j <= 5 and j + 1 < end and out[j + 1] > SPACE:  # De-Berlin.ogg
            return False
        if j == begin and IS[c] & (BLANK | LIST_SIGN):
            return False
    return letters and not capitals
