"""The text of the few templates whose arguments are text (`wikitext_words.TEMPLATES`); all others are dropped."""

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
    OPEN_PARENTHESIS,
    PIPE,
    SLASH,
    SPACE,
    inner,
)  # fmt: skip
from tasks.data.wikitext.stack import ARGUMENTS, MAX_ARGUMENTS, cut_back
from tasks.data.wikitext.words import (
    ARGUMENT,
    BETWEEN,
    CIRCA,
    FIRST,
    FIXED,
    FRACTION,
    JOINED,
    LAST,
    NAMED,
    PARENTHESES,
    QUANTITY,
    TEMPLATE,
    UNIT,
    UNNAMED,
    VALUE,
    meaning,
)  # fmt: skip

LONGEST_NAME = 48


@inner
def template_text(out: np.ndarray, start: int, o: int, stack: np.ndarray, words: np.ndarray) -> int:
    """Replace what is between the braces, out[start:o], by its text, which is never longer; the new end of the output."""
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
    if style == CIRCA:
        out[begin + 1], arguments[1] = DOT, begin + 2
    first = 0 if style in (NAMED, CIRCA) else count if style == LAST else 1
    if style in (FIRST, VALUE, NAMED, CIRCA):
        count = 1
    elif style == QUANTITY:
        count = quantity_length(out, arguments, count, words)
    start = join(out, start, arguments, first, count, style)
    unit = 2 * MAX_ARGUMENTS
    if style == VALUE and arguments[unit]:
        out[start] = SPACE
        start = move(out, start + 1, arguments[unit], arguments[unit + 1])
    return start


@inner
def trimmed(out: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """out[begin:end] without the spaces and marks around it."""
    while begin < end and IS[out[begin]] & BLANK:
        begin += 1
    while end > begin and IS[out[end - 1]] & BLANK:
        end -= 1
    return begin, end


@inner
def read_arguments(out: np.ndarray, i: int, o: int, arguments: np.ndarray, words: np.ndarray) -> int:
    """Places of the unnamed arguments, begin and end of each, from row 1 on, and of the unit in the last row; their number.

    out[i] is the `|` after the name (or the `:` of a parser function), out[o] follows the last argument.
    """
    count = 0
    arguments[2 * MAX_ARGUMENTS] = 0
    while i < o and count + 1 < MAX_ARGUMENTS:
        i += 1
        begin = i
        equals = np.int64(-1)
        while i < o and out[i] != PIPE:
            if out[i] == EQUALS and equals < 0:
                equals = i
            i += 1
        kind = UNNAMED
        if equals >= 0:
            first, last = trimmed(out, begin, equals)
            kind = meaning(words, out, first, last, ARGUMENT)
            begin = equals + 1
        if kind in (UNNAMED, UNIT):
            count += kind == UNNAMED
            row = 2 * (count if kind == UNNAMED else MAX_ARGUMENTS)
            arguments[row], arguments[row + 1] = trimmed(out, begin, i)
    return count


@inner
def quantity_length(out: np.ndarray, arguments: np.ndarray, count: int, words: np.ndarray) -> int:
    """How many arguments of {{convert|5|to|10|km|mi|...}} are the quantity: numbers with words between them, and a unit."""
    used = 1
    while used + 2 <= count and meaning(words, out, arguments[2 * used + 2], arguments[2 * used + 3], ARGUMENT) == BETWEEN:
        used += 2
    return min(count, used + 1)


@inner
def join(out: np.ndarray, start: int, arguments: np.ndarray, first: int, count: int, style: int) -> int:
    """Write arguments one after the other; the separators take no more room than the name and the `|` that they replace."""
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
def move(out: np.ndarray, start: int, begin: int, end: int) -> int:
    for j in range(begin, end):
        out[start + j - begin] = out[j]
    return start + end - begin
