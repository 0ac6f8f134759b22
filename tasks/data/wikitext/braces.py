"""Braces of the first pass: templates, parameters, tables and the language converter."""

import numpy as np

from tasks.data.wikitext.bytes import (
    CLOSE_BRACE,
    CLOSE_BRACKET,
    COLON,
    EQUALS,
    MINUS,
    NEWLINE,
    NOTHING,
    OPEN_BRACE,
    OPEN_BRACKET,
    PIPE,
    PLUS,
    SEMICOLON,
    SPACE,
    inner,
)  # fmt: skip
from tasks.data.wikitext.census import Census
from tasks.data.wikitext.sentences import is_inside
from tasks.data.wikitext.stack import (
    BRACES,
    COUNT,
    DEPTH,
    FIRST_PIPE,
    HTML_TABLE,
    LINK,
    NO_ENTRY,
    START,
    TABLE,
    VARIANT,
    at_line_start,
    close_through,
    cut_back,
    pop,
    push,
    run_length,
    top_kind,
)  # fmt: skip
from tasks.data.wikitext.tables import table_text
from tasks.data.wikitext.templates import template_text
from tasks.data.wikitext.words import Words

MAX_KEPT_DEPTH = 8
"""Deeper inside other templates no text is taken: it would be moved at every level, and is dropped in the end."""
FLAGS_WITHOUT_TEXT = tuple(b"HTD-")
"""Of the language converter: rules and titles are set, a variant is described or a rule is taken back."""


@inner
def open_braces(data: np.ndarray, i: int, out: np.ndarray, o: int, stack: np.ndarray) -> tuple[int, int]:
    """`{{` and `{{{` (parameters), `{|` at the start of a line, `-{` of the language converter; else a plain brace."""
    run = run_length(data, i, data.size)
    if run > 1:
        top = push(stack, BRACES, o)
        if top:
            stack[top + COUNT] = run
        return i + run, o
    if i + 1 < data.size and data[i + 1] == PIPE:
        if at_line_start(out, o):
            push(stack, TABLE, o)
        return i + 2, o
    if o > 0 and out[o - 1] == MINUS:
        push(stack, VARIANT, o - 1)
    out[o] = OPEN_BRACE
    return i + 1, o + 1


@inner
def close_braces(
    data: np.ndarray, i: int, out: np.ndarray, o: int, stack: np.ndarray, words: Words, census: Census
) -> tuple[int, int]:
    """MediaWiki's rule: of the braces that are open and those that close, three by three if both have them, else two by two."""
    closing = run_length(data, i, data.size)
    after = i + closing
    if closing == 1:
        if after < data.size and data[after] == MINUS and top_kind(stack) == VARIANT:
            start = stack[stack[DEPTH] + START]
            pop(stack)
            return after + 1, variant_text(out, start, o)
        out[o] = CLOSE_BRACE
        return after, o + 1
    while closing > 1 and stack[BRACES] > 0:
        # Links and tables that were left open within a template end with it.
        while top_kind(stack) != BRACES:
            pop(stack)
        top = stack[DEPTH]
        start, count = stack[top + START], stack[top + COUNT]
        used = 3 if closing >= 3 and count >= 3 else 2
        closing -= used
        if used == 2 and stack[BRACES] <= MAX_KEPT_DEPTH:
            outermost = stack[BRACES] == 1 and count - used < 2 and stack[TABLE] == 0 and stack[HTML_TABLE] == 0
            inside = outermost and is_inside(data, after - closing, out, start)
            o = template_text(out, start, o, stack, words, outermost, inside, census)
        else:
            o = cut_back(out, start)
        stack[top + COUNT] = count - used
        if count - used < 2:
            pop(stack)
    return after, o


@inner
def pipe_or_table_end(data: np.ndarray, i: int, out: np.ndarray, o: int, stack: np.ndarray, tables: bool) -> tuple[int, int]:
    """`|}` at the start of a line ends a table, unless its brace is one of two that end a template; else `|` is copied.

    Where nothing is open a `|` that begins a line of text is not.
    """
    if i + 1 < data.size and data[i + 1] == CLOSE_BRACE:
        run = run_length(data, i + 1, 3)
        ends_template = run == 2 and stack[BRACES] > 0
        if stack[TABLE] > 0 and not ends_template and at_line_start(out, o):
            start = close_through(stack, TABLE)
            # Deeper in others its text would be rewritten for each of them.
            return i + 2, (table_text(out, start, o) if tables and stack[TABLE] < MAX_KEPT_DEPTH else cut_back(out, start))
        if run == 1:
            return i + 2, o
    if top_kind(stack) == LINK and stack[stack[DEPTH] + FIRST_PIPE] < 0:
        stack[stack[DEPTH] + FIRST_PIPE] = o
    if stack[DEPTH] == NO_ENTRY and at_line_start(out, o) and is_text(data, i + 1):
        return i + 1, o
    out[o] = PIPE
    return i + 1, o + 1


@inner
def is_text(data: np.ndarray, i: int) -> bool:
    """Whether the line goes on from data[i] as text, and not as the row or the argument that is left of what was broken.

    These have another `|` beyond links, or the name of an argument and `=`.
    """
    brackets = words = 0
    if i < data.size and data[i] in (MINUS, PLUS, PIPE, CLOSE_BRACE):
        return False
    while i < data.size and data[i] != NEWLINE:
        c = data[i]
        brackets += (c == OPEN_BRACKET) - (c == CLOSE_BRACKET)
        words += c == SPACE
        if brackets <= 0 and (c == PIPE or (c == EQUALS and words < 4)):
            return False
        i += 1
    return words > 2


@inner
def variant_text(out: np.ndarray, start: int, o: int) -> int:
    """`-{zh-hans:A; zh-hant:B}-` leaves A, `-{text}-` its text, `-{H|...}-` and `-{T|...}-` (rules, titles) nothing."""
    begin, end = start + 2, o
    # Flags and names of variants are short: so much is looked at, however much is enclosed.
    for j in range(begin, min(end, begin + 4)):
        if out[j] == PIPE:
            if j > begin and out[j - 1] in FLAGS_WITHOUT_TEXT:
                return start
            begin = j + 1
            break
    for j in range(begin, min(end, begin + 12)):
        if out[j] == COLON:
            begin = j + 1
            for k in range(begin, min(end, begin + 1000)):
                if out[k] == SEMICOLON:
                    end = k
                    break
            break
    for j in range(start, begin):
        out[j] = NOTHING
    return end
