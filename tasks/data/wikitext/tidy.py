"""Writing one line of text: single spaces, and nothing left over where something was dropped, such as "( , )" or " ,"."""

import numpy as np

from tasks.data.wikitext.bytes import (
    CLOSE_BRACE,
    CLOSE_BRACKET,
    CLOSE_PARENTHESIS,
    COLON,
    COMMA,
    DOT,
    GAP,
    IS,
    LETTER,
    LINK_END,
    LINK_START,
    MARK_LEAD,
    MINUS,
    OPEN_BRACE,
    OPEN_BRACKET,
    OPEN_PARENTHESIS,
    PIPE,
    SEMICOLON,
    SLASH,
    SPACE,
    TAB,
    inner,
)  # fmt: skip


@inner
def put_line(data: np.ndarray, i: int, stop: int, out: np.ndarray, o: int) -> tuple[int, int, int]:
    """Appends the line data[i:stop]; the new end of the output, the number of bytes of letters, and of these within links."""
    start, letters, linked = o, 0, 0
    gap, in_link = True, False
    while i < stop:
        c = data[i]
        width = 1
        is_letter = IS[c] & LETTER != 0
        if IS[c] & MARK_LEAD:
            width = mark_width(data, i, stop)
            is_letter = width == 0
            width = max(1, width)
        if is_letter:
            out[o] = c
            o += 1
            letters, linked = letters + 1, linked + in_link
            gap = False
        elif c in (SPACE, TAB) or (c == 0xC2 and data[i + 1] == 0xA0):  # U+00A0
            if o > start and out[o - 1] != SPACE and not (gap and ends_open(out, o)):
                out[o] = SPACE
                o += 1
        elif c < SPACE or c == 0xC2:  # A mark, or a soft hyphen.
            gap |= c == GAP
            in_link = c == LINK_START or (in_link and c != LINK_END)
        elif gap:
            o = put_after_gap(data, i, width, stop, out, o, start)
        elif not is_second_brace(c, out, o, start):
            for j in range(i, i + width):
                out[o] = data[j]
                o += 1
        i += width
    while o > start and out[o - 1] == SPACE:
        o -= 1
    return o, letters, linked


@inner
def mark_width(data: np.ndarray, i: int, stop: int) -> int:
    """Bytes of a character at i that is not ASCII and no letter: U+00A0, U+00AD, U+2000 to U+206F, CJK punctuation; else 0."""
    c = data[i]
    if c == 0xC2 and i + 1 < stop:
        return 2 if data[i + 1] == 0xA0 or data[i + 1] == 0xAD else 0
    if i + 2 >= stop:
        return 0
    following = data[i + 1]
    if c == 0xE2:
        return 3 if following <= 0x81 else 0
    if c == 0xE3:
        return 3 if following == 0x80 and data[i + 2] <= 0x82 else 0
    is_fullwidth = c == 0xEF and following == 0xBC and (data[i + 2] <= 0x8F or 0x9A <= data[i + 2] <= 0x9B)
    return 3 if is_fullwidth else 0


@inner
def is_second_brace(c: int, out: np.ndarray, o: int, start: int) -> bool:
    """Whether it would complete `{{`, `}}`, `{|` or `|}`."""
    if o == start:
        return False
    before = out[o - 1]
    if c == OPEN_BRACE:
        return before == OPEN_BRACE
    return (c == CLOSE_BRACE and (before in (CLOSE_BRACE, PIPE))) or (c == PIPE and before == OPEN_BRACE)


@inner
def ends_open(out: np.ndarray, o: int) -> bool:
    """Whether the output ends with `(`, `[` or the wide parenthesis U+FF08."""
    if out[o - 1] == OPEN_PARENTHESIS or out[o - 1] == OPEN_BRACKET:
        return True
    return o > 2 and out[o - 1] == 0x88 and out[o - 2] == 0xBC and out[o - 3] == 0xEF


@inner
def put_after_gap(data: np.ndarray, i: int, width: int, stop: int, out: np.ndarray, o: int, start: int) -> int:
    """Append a character that is no letter where something was dropped before it: no separators that separate nothing."""
    c = data[i]
    end = o
    while end > start and out[end - 1] == SPACE:
        end -= 1
    if c in (CLOSE_PARENTHESIS, CLOSE_BRACKET) or (c == 0xEF and data[i + 2] == 0x89):  # U+FF09, the wide parenthesis
        opened = empty_since(out, end, start)
        if opened >= start:
            while opened > start and out[opened - 1] == SPACE:
                opened -= 1
            return opened
        while end > start and out[end - 1] in (SPACE, COMMA, SEMICOLON):
            end -= 1
        o = end
    elif c in (COMMA, SEMICOLON, COLON) or c == 0xE3:  # CJK punctuation
        if end == start or ends_open(out, end) or out[end - 1] in (COMMA, SEMICOLON):
            return o
        if c == COMMA:
            o = end
    elif c == DOT and not (i + 1 < stop and (IS[data[i + 1]] & LETTER or data[i + 1] == DOT)):
        o = end
    elif is_second_brace(c, out, o, start):
        return o
    for j in range(i, i + width):
        out[o] = data[j]
        o += 1
    return o


@inner
def empty_since(out: np.ndarray, end: int, start: int) -> int:
    """Where the bracket is that nothing but separators follow up to `end`; -1 if there is none."""
    while end > start:
        c = out[end - 1]
        if ends_open(out, end):
            return end - 1 if c < 128 else end - 3
        if c in (SPACE, COMMA, SEMICOLON, COLON, MINUS, SLASH):
            end -= 1
        elif end - 2 > start and out[end - 2] == 0x80 and out[end - 3] == 0xE2 and (c == 0x93 or c == 0x94):
            end -= 3  # en dash and em dash
        else:
            return -1
    return -1
