"""Brackets of the first pass: links leave their text, links to files and categories nothing, addresses are dropped."""

import numpy as np

from tasks.data.wikitext.bytes import (
    ALPHA,
    BLANK,
    CASE_BIT,
    CLOSE_BRACE,
    CLOSE_BRACKET,
    CLOSE_PARENTHESIS,
    COLON,
    COMMA,
    DOT,
    HASH,
    IS,
    LINK_END,
    LINK_START,
    LOWER_A,
    LOWER_E,
    LOWER_M,
    LOWER_O,
    LOWER_S,
    LOWER_Z,
    MINUS,
    NEWLINE,
    NOTHING,
    OPEN_BRACE,
    OPEN_BRACKET,
    OPEN_PARENTHESIS,
    QUOTE,
    SEMICOLON,
    SLASH,
    SPACE,
    URL_END,
    inner,
)  # fmt: skip
from tasks.data.wikitext.stack import (
    COUNT,
    DEPTH,
    FIRST_PIPE,
    LINK,
    NO_ENTRY,
    START,
    URL,
    cut_back,
    pop,
    push,
    run_length,
    top_kind,
)  # fmt: skip
from tasks.data.wikitext.words import DROPPED_LINK, EXTENSION, INTERWIKI_LINK, NAMESPACE, Words, meaning

LONGEST_TARGET = 400
"""Bytes; MediaWiki's titles have at most 255, and a fragment may follow."""
SCHEME_STARTS, SCHEME_ENDS = tuple(b"fh"), tuple(b"ps")
"""Of ftp, http and https: length, first and last letter tell them from the words that stand before `://`."""


@inner
def open_bracket(data: np.ndarray, i: int, out: np.ndarray, o: int, stack: np.ndarray) -> tuple[int, int]:
    """`[[` opens a link, `[http://` an external one, whose address is skipped; else a plain bracket."""
    run = run_length(data, i, 2)
    scheme = scheme_length(data, i + run)
    if run == 1 and scheme == 0:
        out[o] = OPEN_BRACKET
        return i + 1, o + 1
    top = push(stack, URL if scheme else LINK, o)
    if top:
        stack[top + COUNT] = run
    out[o] = LINK_START
    if scheme:
        i = skip_url(data, i + run + scheme)
        return i + (i < data.size and data[i] == SPACE), o + 1
    return i + run, o + 1


@inner
def close_bracket(data: np.ndarray, i: int, out: np.ndarray, o: int, stack: np.ndarray, words: Words) -> tuple[int, int]:
    kind, run = top_kind(stack), run_length(data, i, 4)
    if kind == URL:
        count, start = stack[stack[DEPTH] + COUNT], stack[stack[DEPTH] + START]
        pop(stack)
        i += min(run, count)
        if o == start + 1:
            return i, cut_back(out, start)
        out[o] = LINK_END
        return i, o + 1
    if run == 1:
        out[o] = CLOSE_BRACKET
        return i + 1, o + 1
    if kind != LINK:
        return i + 2, o
    if run == 3:  # The first closes a plain bracket within the text, as in [[target|a [b]]].
        out[o] = CLOSE_BRACKET
        i, o = i + 1, o + 1
    start, pipe = stack[stack[DEPTH] + START], stack[stack[DEPTH] + FIRST_PIPE]
    pop(stack)
    return i + 2, link_text(out, start, pipe, o, words)


@inner
def link_text(out: np.ndarray, start: int, pipe: int, o: int, words: Words) -> int:
    """Leave the text of the link that began at `start`, between LINK_START and LINK_END, or nothing of it."""
    end = pipe if pipe >= 0 else o
    if end - start > LONGEST_TARGET:
        out[start] = NOTHING
        return o
    begin = start + 1
    while begin < end and IS[out[begin]] & BLANK:
        begin += 1
    shown = begin < end and out[begin] == COLON
    begin += shown
    colon = begin
    while colon < end and out[colon] != COLON:
        colon += 1
    if colon < end:
        kind = prefix_kind(out, begin, colon, words)
        if not shown and (kind == DROPPED_LINK or is_media_file(out, end, words)):
            return cut_back(out, start)
        if pipe < 0 and not shown and kind == 0 and is_language(out, begin, colon):
            return cut_back(out, start)
        if kind == INTERWIKI_LINK:
            begin = colon + 1
    if begin < end and out[begin] == HASH:
        begin += 1
    if pipe < 0 or pipe == o - 1:
        o = end
        if pipe >= 0:  # The pipe trick, [[Page (what)|]], where it was left in the text.
            begin, o = trick_text(out, begin, end)
        hidden = begin
    else:
        hidden = pipe + 1
    for j in range(start, hidden):
        out[j] = NOTHING
    out[hidden - 1] = LINK_START
    out[o] = LINK_END
    return o + 1


@inner
def trick_text(out: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """Namespace and trailing parentheses of a title left out."""
    for j in range(begin, end):
        if out[j] == COLON:
            begin = j + 1
            break
    for j in range(end - 1, begin, -1):
        if out[j] == OPEN_PARENTHESIS and out[j - 1] == SPACE:
            return begin, j - 1
    return begin, end


@inner
def prefix_kind(out: np.ndarray, begin: int, colon: int, words: Words) -> int:
    while begin < colon and out[begin] == SPACE:
        begin += 1
    while colon > begin and out[colon - 1] == SPACE:
        colon -= 1
    return meaning(words, out, begin, colon, NAMESPACE)


@inner
def is_media_file(out: np.ndarray, end: int, words: Words) -> bool:
    dot = end - 1
    while dot > end - 6 and dot > 0 and out[dot] != DOT:
        dot -= 1
    return out[dot] == DOT and meaning(words, out, dot + 1, end, EXTENSION) != 0


@inner
def is_language(out: np.ndarray, begin: int, colon: int) -> bool:
    """Whether it looks like a Wikipedia's language code: `de`, `als`, `zh-min-nan`, `simple`; such a link is no text."""
    first = begin
    while first < colon and LOWER_A <= out[first] <= LOWER_Z:
        first += 1
    if first == colon:
        is_simple = colon - begin == len("simple") and out[begin] == LOWER_S and out[begin + 5] == LOWER_E
        return 2 <= colon - begin <= 3 or is_simple
    if not (2 <= first - begin <= 4 and out[first] == MINUS and colon - begin <= 12):
        return False
    while first < colon and (LOWER_A <= out[first] <= LOWER_Z or out[first] == MINUS):
        first += 1
    return first == colon


@inner
def drop_unclosed_files(out: np.ndarray, o: int, stack: np.ndarray, words: Words) -> None:
    """Of links to files that were never closed the line that they begin in is overwritten."""
    while stack[DEPTH] > NO_ENTRY:
        start, pipe = stack[stack[DEPTH] + START], stack[stack[DEPTH] + FIRST_PIPE]
        if top_kind(stack) == LINK and pipe >= 0 and pipe - start < LONGEST_TARGET:
            colon = start + 1
            while colon < pipe and out[colon] != COLON:
                colon += 1
            if colon < pipe and prefix_kind(out, start + 1, colon, words) == DROPPED_LINK:
                while start < o and out[start] != NEWLINE and out[start] != NOTHING:
                    out[start] = NOTHING
                    start += 1
        pop(stack)


@inner
def scheme_length(data: np.ndarray, i: int) -> int:
    """Bytes of `http://`, `https://`, `ftp://`, `mailto:` or `//` at i, else 0."""
    j = i
    while j < data.size and j < i + 8 and IS[data[j]] & ALPHA:
        j += 1
    if j + 1 < data.size and data[j] == SLASH and data[j + 1] == SLASH and j == i:
        return 2
    if j + 2 < data.size and data[j] == COLON:
        if data[j + 1] == SLASH and data[j + 2] == SLASH and j - i >= 3:
            return j + 3 - i
        if j - i == len("mailto") and data[i] | CASE_BIT == LOWER_M and data[i + 5] | CASE_BIT == LOWER_O:
            return len("mailto:")
    return 0


@inner
def skip_url(data: np.ndarray, i: int) -> int:
    """The end of a URL that goes on at i: space, newline, bracket, `<`, `"`, `|`, `''` or a template's braces."""
    while i < data.size:
        c = data[i]
        if IS[c] & URL_END:
            break
        following = data[i + 1] if i + 1 < data.size else 0
        if following == c and c in (QUOTE, CLOSE_BRACE, OPEN_BRACE):
            break
        i += 1
    return i


@inner
def drop_bare_url(data: np.ndarray, i: int, out: np.ndarray, o: int) -> tuple[int, int]:
    """At the `:` of `http://`, `https://` or `ftp://`: an address is no prose; punctuation after it belongs to the sentence."""
    begin = o
    while begin > max(0, o - 6) and IS[out[begin - 1]] & ALPHA:
        begin -= 1
    size = o - begin
    is_scheme = 3 <= size <= 5 and out[o - 1] | CASE_BIT in SCHEME_ENDS and out[begin] | CASE_BIT in SCHEME_STARTS
    if not is_scheme or i + 2 >= data.size or data[i + 1] != SLASH or data[i + 2] != SLASH:
        out[o] = COLON
        return i + 1, o + 1
    end = skip_url(data, i + 3)
    while end > i + 3 and (data[end - 1] in (COMMA, DOT, SEMICOLON, COLON, CLOSE_PARENTHESIS, QUOTE)):
        end -= 1
    return end, cut_back(out, begin)
