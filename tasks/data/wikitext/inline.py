"""Second of three passes over wikitext: what stands for other characters within a line, and nothing grows.

Quotes (bold and italic) and behaviour switches such as __NOTOC__ are taken out, character references become characters,
and what <nowiki> had hidden becomes plain text. Lines and the marks of links and gaps stay.
"""

import numpy as np

from tasks.data.wikitext.bytes import (
    ALPHA,
    AMPERSAND,
    CASE_BIT,
    HASH,
    IS,
    LITERAL_PIPE,
    LITERAL_QUOTE,
    LOWER_A,
    LOWER_M,
    LOWER_P,
    LOWER_X,
    NEWLINE,
    NINE,
    NOTHING,
    PIPE,
    QUOTE,
    SEMICOLON,
    SPACE,
    UNDERSCORE,
    UPPER_A,
    UPPER_Z,
    ZERO,
    inner,
)  # fmt: skip
from tasks.data.wikitext.words import ENTITY, Words, meaning

LONGEST_ENTITY = 32
LONGEST_SWITCH = 80


@inner
def decode_inline(data: np.ndarray, n: int, out: np.ndarray, words: Words, special: np.ndarray) -> np.int64:
    """Copies data[:n] to `out`, decoded; the number of bytes written. `special` is true for the bytes to look at (256)."""
    i = o = np.int64(0)
    apostrophe = -2
    while i < n:
        c = data[i]
        if not special[c]:
            out[o] = c
            i, o = i + 1, o + 1
        elif c == NEWLINE:
            out[o] = c
            i, o, apostrophe = i + 1, o + 1, -2
        elif c == QUOTE:
            run = quote_run(data, i, n)
            if run > 1 and apostrophe == -2:
                apostrophe = stray_apostrophe(data, i, n)
            # MediaWiki's rule (Parser::doQuotes): of four one is text, and of more than five all but five.
            kept = 1 if run in (1, 4) or i == apostrophe else max(0, run - 5)
            for _ in range(kept):
                out[o] = QUOTE
                o += 1
            i += run
        elif c == AMPERSAND:
            i, o = decode_entity(data, i, n, out, o, words)
        elif c == UNDERSCORE:
            end = switch_end(data, i, n)
            if end < 0:
                out[o] = c
                end, o = i + 1, o + 1
            i = end
        else:
            i += 1
            if c != NOTHING:
                out[o] = QUOTE if c == LITERAL_QUOTE else PIPE if c == LITERAL_PIPE else c
                o += 1
    return o


@inner
def quote_run(data: np.ndarray, i: int, n: int) -> int:
    end = i + 1
    while end < n and data[end] == QUOTE:
        end += 1
    return end - i


@inner
def stray_apostrophe(data: np.ndarray, i: int, n: int) -> int:
    """Where in the line from i on `'''` is an apostrophe and the begin of italics (l'''opera''), or -1.

    MediaWiki's rule (Parser::doQuotes): if bold and italics are both odd in number, the first `'''` after a one-letter word,
    else the first after another word.
    """
    bold = italic = 0
    after_letter = after_word = -1
    while i < n and data[i] != NEWLINE:
        if data[i] != QUOTE:
            i += 1
            continue
        run = quote_run(data, i, n)
        bold += run >= 3
        italic += run == 2 or run >= 5
        if run == 3 and i > 0 and data[i - 1] > SPACE:
            if after_word < 0:
                after_word = i
            if after_letter < 0 and (i == 1 or data[i - 2] <= SPACE):
                after_letter = i
        i += run
    if bold % 2 == 0 or italic % 2 == 0:
        return -1
    return after_letter if after_letter >= 0 else after_word


@inner
def decode_entity(data: np.ndarray, i: int, n: int, out: np.ndarray, o: int, words: Words) -> tuple[int, int]:
    """The character that `&name;`, `&#number;` or `&#xhex;` at i stands for; what `&amp;` leaves is decoded once more."""
    while (
        i + 4 < n and data[i + 1] == LOWER_A and data[i + 2] == LOWER_M and data[i + 3] == LOWER_P and data[i + 4] == SEMICOLON
    ):
        if i + 5 >= n or not (IS[data[i + 5]] & ALPHA or data[i + 5] == HASH):
            break
        i += 4  # The `;` stands for the `&` that it ends.
    end = i + 1
    while end < min(n, i + LONGEST_ENTITY) and data[end] != SEMICOLON and data[end] > SPACE:
        end += 1
    if end >= n or data[end] != SEMICOLON or end == i + 1:
        out[o] = AMPERSAND
        return i + 1, o + 1
    if data[i + 1] == HASH:
        code = number_at(data, i + 2, end)
        if code <= SPACE or 0xD800 <= code < 0xE000 or code > 0x10FFFF or 0x7F <= code < 0xA0:
            out[o] = NEWLINE if code == NEWLINE else SPACE
            return end + 1, o + 1
        return end + 1, encode(code, out, o)
    text = meaning(words, data, i + 1, end, ENTITY)
    if text == 0:
        out[o] = AMPERSAND
        return i + 1, o + 1
    while text:
        out[o] = text & 255
        o, text = o + 1, text >> 8
    return end + 1, o


@inner
def number_at(data: np.ndarray, i: int, end: int) -> np.int64 | int:
    """Value of the decimal or (after x) hexadecimal digits; 0 if there are others."""
    base = 10
    if i < end and data[i] | CASE_BIT == LOWER_X:
        base, i = 16, i + 1
    value: np.int64 | int = 0
    for j in range(i, min(end, i + 12)):
        c = np.int64(data[j])
        digit = c - ZERO if c <= NINE else (c | CASE_BIT) - LOWER_A + 10
        if not 0 <= digit < base:
            return 0
        value = value * base + digit
    return value


@inner
def encode(code: int, out: np.ndarray, o: int) -> int:
    """Write a code point as UTF-8."""
    if code < 0x80:
        out[o] = code
        return o + 1
    if code < 0x800:
        out[o] = 0xC0 | code >> 6
    elif code < 0x10000:
        out[o] = 0xE0 | code >> 12
    else:
        out[o] = 0xF0 | code >> 18
    if code >= 0x10000:
        o += 1
        out[o] = 0x80 | (code >> 12 & 0x3F)
    if code >= 0x800:
        o += 1
        out[o] = 0x80 | (code >> 6 & 0x3F)
    out[o + 1] = 0x80 | (code & 0x3F)
    return o + 2


@inner
def switch_end(data: np.ndarray, i: int, n: int) -> int:
    """The end of a behaviour switch at i: `__`, capitals (or letters that are not ASCII) and `_`, `__`; -1 if there is none."""
    if i + 5 >= n or data[i + 1] != UNDERSCORE:
        return -1
    for j in range(i + 2, min(n - 1, i + LONGEST_SWITCH)):
        c = data[j]
        if c == UNDERSCORE and data[j + 1] == UNDERSCORE and j > i + 4:
            return j + 2
        if not (UPPER_A <= c <= UPPER_Z or c >= 0x80 or c == UNDERSCORE):
            return -1
    return -1
