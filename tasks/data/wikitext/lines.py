"""Last of three passes over wikitext: lines become paragraphs, and headings stay where there is something under them."""

import numpy as np

from tasks.data.wikitext.bytes import (
    BLANK,
    COLON,
    EQUALS,
    EXCLAMATION,
    GAP,
    IS,
    LIST_SIGN,
    MINUS,
    NEWLINE,
    PIPE,
    SEMICOLON,
    inner,
)
from tasks.data.wikitext.tidy import put_line
from tasks.data.wikitext.words import SECTION, Words, meaning

TITLE, BODY, END, LEVEL, CONTENT, LETTERS, LINKED, TEXT_LINES, TERM_LETTERS, TERM_LINKED = range(10)
"""Columns of a section: places in the output where title, body and what follows begin, heading level (0: before the first),
what it is (below), and counts: bytes of letters, of these within links, and lines that are no list items; the first two of the
last term too."""
EMPTY, LINKS, TEXT = range(3)
NO_TEXT, PLAIN, ITEM, HEADING, LEFTOVER = range(5)
LINK_SHARE = 0.6
"""A section of nothing but list items is a list of links if so much of its letters are in links."""


@inner
def write_lines(data: np.ndarray, n: int, out: np.ndarray, words: Words) -> int:
    """Copies data[:n] to `out` (half as large again) as paragraphs separated by blank lines; the number of bytes written."""
    sections = np.zeros((count_headings(data, n) + 1, 10), np.int64)
    number = i = o = np.int64(0)
    term = np.int64(-1)  # Where the line is that nothing has followed since, and which is a heading if something does.
    separate = lost = False
    while i < n:
        end = i
        while end < n and data[end] != NEWLINE:
            end += 1
        kind, begin, stop, level = line_kind(data, i, end)
        is_term = kind == ITEM and is_title(data, i, end)
        section = sections[number]
        if term >= 0 and (kind == HEADING or is_term):
            o = forget_term(section, term, o, lost)
            term = np.int64(-1)
        lost = lost or (kind == NO_TEXT and has_gap(data, i, end))
        i = end + 1
        if kind == HEADING:
            o = end_section(section, out, o, words)
            number += 1
            o = begin_section(sections[number], data, begin, stop, level, out, o)
        elif kind in (PLAIN, ITEM):
            start = o
            if o > section[BODY]:
                for _ in range(1 + separate):
                    out[o] = NEWLINE
                    o += 1
            o, letters, linked = put_line(data, begin, stop, out, o)
            if letters == 0:
                o = start
                continue
            section[LETTERS] += letters
            section[LINKED] += linked
            section[TEXT_LINES] += kind == PLAIN
            separate = False
            term = start if is_term else np.int64(-1)
            if is_term:
                lost, section[TERM_LETTERS], section[TERM_LINKED] = False, letters, linked
        separate |= kind == NO_TEXT
    if term >= 0:
        o = forget_term(sections[number], term, o, lost)
    end_section(sections[number], out, o, words)
    return keep_sections(sections, number, out)


@inner
def is_title(data: np.ndarray, i: int, end: int) -> bool:
    """Whether a list item is a term without its explanation: `; term`, which many use as a heading."""
    while i < end and IS[data[i]] & BLANK:
        i += 1
    if i == end or data[i] != SEMICOLON:
        return False
    while i < end and data[i] != COLON:
        i += 1
    return i == end


@inner
def has_gap(data: np.ndarray, i: int, end: int) -> bool:
    while i < end and data[i] != GAP:
        i += 1
    return i < end


@inner
def forget_term(section: np.ndarray, term: int, o: int, lost: bool) -> int:
    """Take the term that begins at `term` back if what followed it was dropped; the end of the output."""
    if not lost:
        return o
    section[LETTERS] -= section[TERM_LETTERS]
    section[LINKED] -= section[TERM_LINKED]
    return term


@inner
def count_headings(data: np.ndarray, n: int) -> int:
    """At most so many headings there are: lines that begin with `=`, maybe after spaces and marks."""
    count, begins = 0, True
    for i in range(n):
        c = data[i]
        count += begins and c == EQUALS
        begins = c == NEWLINE or (begins and IS[c] & BLANK != 0)
    return count


@inner
def line_kind(data: np.ndarray, begin: int, stop: int) -> tuple[int, int, int, int]:
    """What a line is, where its text begins and stops, and the level of a heading."""
    while begin < stop and IS[data[begin]] & BLANK:
        begin += 1
    while stop > begin and IS[data[stop - 1]] & BLANK:
        stop -= 1
    if begin == stop:
        return NO_TEXT, begin, stop, 0
    c = data[begin]
    if c == EQUALS and data[stop - 1] == EQUALS:
        level = 0
        while level < 6 and begin + 1 < stop - 1 and data[begin] == EQUALS and data[stop - 1] == EQUALS:
            begin, stop, level = begin + 1, stop - 1, level + 1
        return (HEADING if level else PLAIN), begin, stop, level
    if c == PIPE:
        return LEFTOVER, begin, stop, 0
    if c == EXCLAMATION:  # A cell of a table that was not closed, unless there is no `|` or `!!`.
        for j in range(begin, stop - 1):
            if data[j] == PIPE or (j > begin and data[j] == EXCLAMATION and data[j + 1] == EXCLAMATION):
                return LEFTOVER, begin, stop, 0
    if c == MINUS:
        line = begin
        while line < stop and data[line] == MINUS:
            line += 1
        return PLAIN, (line if line - begin >= 4 else begin), stop, 0
    first = begin
    while begin < stop and (IS[data[begin]] & (LIST_SIGN if begin == first else LIST_SIGN | BLANK)):
        begin += 1
    return (ITEM if begin > first else PLAIN), begin, stop, 0


@inner
def begin_section(section: np.ndarray, data: np.ndarray, begin: int, stop: int, level: int, out: np.ndarray, o: int) -> int:
    section[TITLE], section[LEVEL] = o, level
    end, letters, _ = put_line(data, begin, stop, out, o)
    if letters:
        out[end], out[end + 1] = NEWLINE, NEWLINE
        o = end + 2
    section[BODY] = o
    return o


@inner
def end_section(section: np.ndarray, out: np.ndarray, o: int, words: Words) -> int:
    """Settle what the section is, and write the blank line after it."""
    section[END] = o
    section[CONTENT] = TEXT if section[LETTERS] else EMPTY
    if section[LETTERS] and section[LEVEL] and section[TEXT_LINES] == 0:
        if meaning(words, out, section[TITLE], section[BODY] - 2, SECTION):
            section[CONTENT] = EMPTY
        elif section[LINKED] >= LINK_SHARE * section[LETTERS]:
            section[CONTENT] = LINKS
    if o == 0:
        return o
    out[o], out[o + 1] = NEWLINE, NEWLINE
    return o + 2


@inner
def keep_sections(sections: np.ndarray, number: int, out: np.ndarray) -> int:
    """Close the ranks: sections with text of their own or in subsections; not the lists of links that end the page.

    From the last section to the first: one whose next kept section is deeper than itself has a subsection.
    """
    at_end, next_level = True, 0
    for s in range(number, -1, -1):
        section = sections[s]
        has_text = section[CONTENT] == TEXT or (section[CONTENT] == LINKS and not at_end)
        if not has_text:
            section[END] = section[BODY] if next_level > section[LEVEL] > 0 else section[TITLE]
        if section[END] > section[TITLE]:
            at_end, next_level = False, section[LEVEL]
    o = 0
    for s in range(number + 1):
        for j in range(sections[s, TITLE], sections[s, END]):
            out[o] = out[j]
            o += 1
        if sections[s, END] > sections[s, BODY]:
            out[o], out[o + 1] = NEWLINE, NEWLINE
            o += 2
    return max(0, o - 2)
