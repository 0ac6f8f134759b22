"""What is open in the first pass over wikitext, and where in its output it began."""

import numpy as np

from tasks.data.wikitext.bytes import BLANK, GAP, IS, LIST_SIGN, NEWLINE, NUM_SLOTS, PIPE, inner

DEPTH = 0
BRACES, TABLE, HTML_TABLE, LINK, URL, VARIANT = map(np.int64, range(1, 7))
"""What can be open. `stack[DEPTH]` is where in the stack the topmost entry is, `stack[TABLE]` how many tables are open.
No Python integers: numba would compile functions for each of them."""
KIND, START, COUNT, FIRST_PIPE = range(4)
"""An entry: place in the output, number of braces (or brackets of a URL), place of the first `|` of a link or -1."""
ENTRY = 4
NO_ENTRY = 8
"""What `stack[DEPTH]` is where nothing is open."""
MAX_DEPTH = 1000
"""Deeper openings are not remembered, only their brackets dropped; MediaWiki itself stops at 100."""
ARGUMENTS = NO_ENTRY + ENTRY * (MAX_DEPTH + 1)
"""From here on there is room for begin and end of a template's name and arguments, at their slots."""
STACK_SIZE = ARGUMENTS + 2 * NUM_SLOTS


@inner
def push(stack: np.ndarray, kind: int, start: int) -> int:
    """The place of the new entry, with COUNT 0; 0 if there is no room for it."""
    top = stack[DEPTH] + ENTRY
    if top >= ARGUMENTS:
        return 0
    stack[DEPTH] = top
    stack[kind] += 1
    stack[top] = kind
    stack[top + START] = start
    stack[top + COUNT] = 0
    stack[top + FIRST_PIPE] = -1
    return top


@inner
def pop(stack: np.ndarray) -> None:
    stack[stack[stack[DEPTH]]] -= 1
    stack[DEPTH] -= ENTRY


@inner
def top_kind(stack: np.ndarray) -> int:
    return stack[stack[DEPTH]]


@inner
def cut_back(out: np.ndarray, start: int) -> int:
    """Forget everything after `start`, but for a mark that something was there."""
    out[start] = GAP
    return start + 1


@inner
def close_through(stack: np.ndarray, kind: int) -> int:
    """Close the innermost construct of a kind that is open, and whatever was left open within; where it began."""
    while top_kind(stack) != kind:
        pop(stack)
    start = stack[stack[DEPTH] + START]
    pop(stack)
    return start


@inner
def end_line(stack: np.ndarray, data: np.ndarray, i: int) -> None:
    """External links and targets of links do not go on after data[i], unless the next line begins with the text of the link."""
    goes_on = i + 1 < data.size and data[i + 1] == PIPE
    while stack[DEPTH] > 0:
        kind = top_kind(stack)
        if kind == URL or (kind == LINK and stack[stack[DEPTH] + FIRST_PIPE] < 0 and not goes_on):
            pop(stack)
        else:
            return


@inner
def at_line_start(out: np.ndarray, o: int) -> bool:
    """Whether only spaces, indentation and marks lie between the output's end and the begin of its line."""
    # No further back: a line of nothing but marks must not be read again for each of its braces.
    for j in range(o - 1, max(-1, o - 64), -1):
        c = out[j]
        if c == NEWLINE:
            return True
        if not IS[c] & (BLANK | LIST_SIGN):
            return False
    return o < 64


@inner
def run_length(data: np.ndarray, i: int, longest: int) -> int:
    """How often the byte at i is repeated, at most `longest`: what is not passed over must not be counted again and again."""
    end = i + 1
    while end < min(data.size, i + longest) and data[end] == data[i]:
        end += 1
    return end - i
