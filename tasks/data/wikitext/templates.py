"""The text of the few templates whose arguments are text (`wikitext_words.TEMPLATES`); all others are dropped.

A text is put together behind the template and then moved to its place: it may be longer than what it is made of, but is less
than twice as long as the template with its braces, and none grows with what is nested in it (`wikitext.extract` makes room).
"""

import numpy as np

from tasks.data.wikitext.bytes import (
    BLANK,
    CLOSE_PARENTHESIS,
    COLON,
    COMMA,
    DOT,
    EQUALS,
    IS,
    MINUS,
    NINE,
    OPEN_PARENTHESIS,
    PIPE,
    PLUS,
    SLASH,
    SPACE,
    UPPER_I,
    ZERO,
    inner,
)  # fmt: skip
from tasks.data.wikitext.stack import ARGUMENTS, EXPONENT_ROW, MAX_ARGUMENTS, UNIT_ROW, cut_back
from tasks.data.wikitext.words import (
    ARGUMENT,
    BETWEEN,
    CENTURY,
    CIRCA,
    EXPONENT,
    FIRST,
    FIXED,
    FRACTION,
    JOINED,
    LAST,
    LINK_TEXT,
    NAMED,
    PARENTHESES,
    POWER,
    QUANTITY,
    ROMAN,
    TEMPLATE,
    UNIT,
    UNNAMED,
    VALUE,
    Words,
    meaning,
)  # fmt: skip

LONGEST_NAME = 48
ROMAN_NUMERALS = tuple(b"IVXLC")
TIMES_TEN, DASH, FIRST_ORDINAL, ORDINAL, SIECLE = (
    np.frombuffer(text.encode(), np.uint8) for text in ("×10^", " – ", "er", "e", " siècle")
)


@inner
def template_text(out: np.ndarray, start: int, o: int, stack: np.ndarray, words: Words) -> int:
    """Replace what is between the braces, out[start:o], by its text, put together behind it; the new end of the output."""
    end = start
    while end < o and end < start + LONGEST_NAME and out[end] != PIPE and (out[end] != COLON or end == start):
        end += 1
    begin, last = trimmed(out, start, end)
    style = meaning(words, out, begin, last, TEMPLATE)
    if style == 0 and last - begin > 5 and out[begin + 4] == MINUS:  # lang-xx
        style = meaning(words, out, begin, begin + 4, TEMPLATE)
    if style & 255 == FIXED:
        style >>= 8
        while style:
            out[start] = style & 255
            start, style = start + 1, style >> 8
        return start
    if style == 0:
        return cut_back(out, start)
    arguments = stack[ARGUMENTS:]
    arguments[0], arguments[1] = begin, last
    count = read_arguments(out, end, o, arguments, words)
    if count == 0:
        return cut_back(out, start)
    if style == POWER:
        end = power_of_ten(out, o, arguments[2], arguments[3])
    elif style in (ROMAN, CENTURY):
        end = centuries(out, o, arguments, count, style)
    else:
        end = chosen_arguments(out, o, arguments, count, style, words)
    return move(out, start, o, end) if end > o else cut_back(out, start)


@inner
def chosen_arguments(out: np.ndarray, o: int, arguments: np.ndarray, count: int, style: int, words: Words) -> int:
    """Appends the arguments that are text in this style; the new end of the output."""
    if style == CIRCA:
        out[arguments[0] + 1], arguments[1] = DOT, arguments[0] + 2
    if style == LINK_TEXT:
        count = 2 if count > 1 and arguments[5] > arguments[4] else 1
    elif style in (FIRST, VALUE, NAMED, CIRCA):
        count = 1
    elif style == QUANTITY:
        count = quantity_length(out, arguments, count, words)
    first = 0 if style in (NAMED, CIRCA) else count if style in (LAST, LINK_TEXT) else 1
    o = join(out, o, arguments, first, count, style)
    if style == VALUE:
        o = power_of_ten(out, o, arguments[2 * EXPONENT_ROW], arguments[2 * EXPONENT_ROW + 1])
        if arguments[2 * UNIT_ROW]:
            out[o] = SPACE
            o = move(out, o + 1, arguments[2 * UNIT_ROW], arguments[2 * UNIT_ROW + 1])
    return o


@inner
def trimmed(out: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """out[begin:end] without the spaces and marks around it."""
    while begin < end and IS[out[begin]] & BLANK:
        begin += 1
    while end > begin and IS[out[end - 1]] & BLANK:
        end -= 1
    return begin, end


@inner
def read_arguments(out: np.ndarray, i: int, o: int, arguments: np.ndarray, words: Words) -> int:
    """Places of the unnamed arguments, begin and end of each, from row 1 on, and of unit and exponent (0: none); their number.

    out[i] is the `|` after the name (or the `:` of a parser function), out[o] follows the last argument.
    """
    count = 0
    arguments[2 * UNIT_ROW : 2 * EXPONENT_ROW + 2] = 0
    while i < o and count + 1 < MAX_ARGUMENTS:
        i += 1
        begin: np.int64 | int = i
        equals: np.int64 | int = np.int64(-1)
        while i < o and out[i] != PIPE:
            if out[i] == EQUALS and equals < 0:
                equals = i
            i += 1
        kind = UNNAMED
        if equals >= 0:
            first, last = trimmed(out, begin, equals)
            kind = meaning(words, out, first, last, ARGUMENT)
            begin = equals + 1
        if kind in (UNNAMED, UNIT, EXPONENT):
            count += kind == UNNAMED
            row = 2 * (count if kind == UNNAMED else UNIT_ROW if kind == UNIT else EXPONENT_ROW)
            arguments[row], arguments[row + 1] = trimmed(out, begin, i)
    return count


@inner
def quantity_length(out: np.ndarray, arguments: np.ndarray, count: int, words: Words) -> int:
    """How many arguments of {{convert|5|to|10|km|mi|...}} are the quantity: numbers with words between them, and a unit."""
    used = 1
    while used + 2 <= count and meaning(words, out, arguments[2 * used + 2], arguments[2 * used + 3], ARGUMENT) == BETWEEN:
        used += 2
    return min(count, used + 1)


@inner
def join(out: np.ndarray, start: int, arguments: np.ndarray, first: int, count: int, style: int) -> int:
    """Write arguments one after the other, with what stands between them in this style."""
    for n in range(first, count + 1):
        if n > first and style == PARENTHESES:
            out[start] = SPACE if n == 2 else COMMA
            out[start + 1] = OPEN_PARENTHESIS if n == 2 else SPACE
            start += 2
        elif n > first and style != JOINED:
            out[start] = SLASH if style == FRACTION and n == count else SPACE
            start += 1
        start = move(out, start, arguments[2 * n], arguments[2 * n + 1])
    if style == PARENTHESES and count > 1:
        out[start] = CLOSE_PARENTHESIS
        start += 1
    return start


@inner
def power_of_ten(out: np.ndarray, o: int, begin: int, end: int) -> int:
    """Appends "×10^24" if out[begin:end] is a whole number."""
    sign = begin + (begin < end and out[begin] in (MINUS, PLUS))
    if end - begin > 2 and out[begin] == 0xE2 and out[begin + 1] == 0x88 and out[begin + 2] == 0x92:  # U+2212
        sign = begin + 3
    for j in range(sign, end):
        if not ZERO <= out[j] <= NINE:
            return o
    if sign >= end:
        return o
    return move(out, append(out, o, TIMES_TEN), begin, end)


@inner
def centuries(out: np.ndarray, o: int, arguments: np.ndarray, count: int, style: int) -> int:
    """Appends "XIXe siècle" or "XVIIe – XVIIIe siècle" (ROMAN: "XVII – XVIII") for {{sp|XVII|e|XVIII|e}}, else nothing."""
    numerals, first = 0, o
    for n in range(1, min(count, 3) + 1):
        begin, end = arguments[2 * n], arguments[2 * n + 1]
        if numerals < 2 and is_roman(out, begin, end):
            if numerals:
                o = append(out, o, DASH)
            o = move(out, o, begin, end)
            if style == CENTURY:
                o = append(out, o, FIRST_ORDINAL if end - begin == 1 and out[begin] == UPPER_I else ORDINAL)
            numerals += 1
        elif n == 1:
            return first
    return append(out, o, SIECLE) if style == CENTURY else o


@inner
def is_roman(out: np.ndarray, begin: int, end: int) -> bool:
    for j in range(begin, end):
        if out[j] not in ROMAN_NUMERALS:
            return False
    return begin < end


@inner
def append(out: np.ndarray, o: int, text: np.ndarray) -> int:
    for j in range(text.size):
        out[o + j] = text[j]
    return o + text.size


@inner
def move(out: np.ndarray, start: int, begin: int, end: int) -> int:
    for j in range(begin, end):
        out[start + j - begin] = out[j]
    return start + end - begin
