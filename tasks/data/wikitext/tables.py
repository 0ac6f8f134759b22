"""Tables as text, where that is wanted: a line for each row, with `; ` between its cells."""

import numpy as np

from tasks.data.wikitext.bytes import (
    BLANK,
    EXCLAMATION,
    IS,
    MINUS,
    NEWLINE,
    PIPE,
    PLUS,
    SEMICOLON,
    SPACE,
    inner,
)  # fmt: skip
from tasks.data.wikitext.stack import cut_back


@inner
def table_text(out: np.ndarray, start: int, o: int) -> int:
    """Rewrites the table out[start:o], of which `{|` and `|}` are gone, as lines; the new end of the output.

    It never grows: a cell begins with a newline and `|`, or with `||`, in place of which `; ` is written.
    """
    i = start
    while i < o and out[i] != NEWLINE:
        i += 1
    if i == o:
        return cut_back(out, start)
    out[start] = NEWLINE
    w = row = start + 1
    i += 1
    while i < o:
        end = i
        while end < o and out[end] != NEWLINE:
            end += 1
        while i < end and IS[out[i]] & BLANK:
            i += 1
        c = out[i] if i < end else NEWLINE
        if c == PIPE and i + 1 < end and out[i + 1] in (MINUS, PLUS):
            if w > row:
                out[w] = NEWLINE
                w = row = w + 1
            if out[i + 1] == PLUS:
                w = copy_cells(out, i + 2, end, w, row, PIPE)
                if w > row:
                    out[w] = NEWLINE
                    w = row = w + 1
        elif c in (PIPE, EXCLAMATION):
            w = copy_cells(out, i + 1, end, w, row, c)
        elif i < end:
            if w > row:
                out[w] = SPACE
                w += 1
            for j in range(i, end):
                out[w] = out[j]
                w += 1
        i = end + 1
    out[w] = NEWLINE
    return w + 1


@inner
def copy_cells(out: np.ndarray, i: int, end: int, w: int, row: int, sign: int) -> int:
    """Appends the cells of the line out[i:end], without their attributes, to the row that begins at `row`."""
    while i < end:
        stop, begin = i, i
        while stop < end and not is_separator(out, stop, end, sign):
            if out[stop] == PIPE and begin == i:
                begin = stop + 1  # What precedes is attributes.
            stop += 1
        while begin < stop and IS[out[begin]] & BLANK:
            begin += 1
        while stop > begin and IS[out[stop - 1]] & BLANK:
            stop -= 1
        following = stop
        while following < end and not is_separator(out, following, end, sign):
            following += 1
        if begin < stop:
            if w > row:
                out[w], out[w + 1] = SEMICOLON, SPACE
                w += 2
            for j in range(begin, stop):
                out[w] = out[j]
                w += 1
        i = following + 2
    return w


@inner
def is_separator(out: np.ndarray, i: int, end: int, sign: int) -> bool:
    """`||`, and in a line of headers `!!`."""
    if i + 1 >= end or out[i + 1] != out[i]:
        return False
    return out[i] == PIPE or (out[i] == EXCLAMATION and sign == EXCLAMATION)
