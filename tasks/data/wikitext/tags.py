"""HTML and extension tags, and comments, of the first pass: what is not shown as text is skipped with its content."""

import numpy as np

from tasks.data.wikitext.bytes import (
    ALPHA,
    CASE_BIT,
    CLOSE_BRACE,
    EQUALS,
    EXCLAMATION,
    GAP,
    GREATER,
    IS,
    LESS,
    LITERAL_PIPE,
    LITERAL_QUOTE,
    LOWER_D,
    LOWER_E,
    LOWER_H,
    LOWER_I,
    LOWER_L,
    LOWER_N,
    LOWER_T,
    MINUS,
    NEWLINE,
    NINE,
    OPEN_BRACE,
    PIPE,
    QUOTE,
    SEMICOLON,
    SLASH,
    SPACE,
    ZERO,
    inner,
)  # fmt: skip
from tasks.data.wikitext.stack import HTML_TABLE, close_through, cut_back, push
from tasks.data.wikitext.words import (
    TAG,
    TAG_BREAK,
    TAG_CODE,
    TAG_LITERAL,
    TAG_OPAQUE,
    TAG_PARAGRAPH,
    TAG_REFERENCE,
    TAG_TABLE,
    Words,
    meaning,
)  # fmt: skip

LONGEST_NAME = 24
LONGEST_TAG = 2000
MAX_TAGS = 128


@inner
def comment_end(data: np.ndarray, i: int, out: np.ndarray, o: int) -> int:
    """The end of the comment at i, as in MediaWiki the text's if it is not closed; a line that it fills goes with it."""
    i += 4
    while i + 2 < data.size and not (data[i] == MINUS and data[i + 1] == MINUS and data[i + 2] == GREATER):
        i += 1
    i = min(data.size, i + 3)
    fills_line = (o == 0 or out[o - 1] == NEWLINE) and i < data.size and data[i] == NEWLINE
    return i + fills_line


@inner
def is_comment(data: np.ndarray, i: int) -> bool:
    return i + 3 < data.size and data[i + 1] == EXCLAMATION and data[i + 2] == MINUS and data[i + 3] == MINUS


@inner
def read_tag(data: np.ndarray, i: int, words: Words) -> tuple[int, int, int]:
    """Meaning of the tag at i (0: none, the `<` is text), the end of its name, and the byte after its `>`.

    Without a `>` the tag ends with its name. A name ends with `>`, `/` or a space: `a<b.` has no tag.
    """
    begin = i + 1 + (i + 1 < data.size and data[i + 1] == SLASH)
    name_end = begin
    while name_end < min(data.size, begin + LONGEST_NAME) and (
        IS[data[name_end]] & ALPHA or (name_end > begin and ZERO <= data[name_end] <= NINE)
    ):
        name_end += 1
    if name_end == begin or not (name_end == data.size or data[name_end] <= SPACE or data[name_end] in (SLASH, GREATER)):
        return 0, i, i
    found = meaning(words, data, begin, name_end, TAG)
    if found == 0:
        return 0, i, i
    j = name_end
    while j < min(data.size, name_end + LONGEST_TAG) and data[j] != GREATER and data[j] != LESS:
        j += 1
    if j < data.size and data[j] == GREATER:
        return found, name_end, j + 1
    return found, name_end, name_end


@inner
def content_end(data: np.ndarray, name: int, name_end: int, i: int, stop_at_same: bool) -> int:
    """Where `</name` begins at or after i, -1 if nowhere; with `stop_at_same` also -1 if `<name` comes first.

    References do not nest, so one that begins within another says that the first was not closed.
    """
    size = name_end - name
    while i + size + 1 < data.size:
        if data[i] == LESS:
            closing = data[i + 1] == SLASH
            if (closing or stop_at_same) and same_word(data, name, i + 1 + closing, size):
                return i if closing else -1
        i += 1
    return -1


@inner
def same_word(data: np.ndarray, a: int, b: int, size: int) -> bool:
    """Whether data[a:a+size] and data[b:b+size] are the same but for case, and the second ends there."""
    if b + size > data.size or (b + size < data.size and IS[data[b + size]] & ALPHA):
        return False
    j = 0
    while j < size and (data[a + j] | CASE_BIT) == (data[b + j] | CASE_BIT):
        j += 1
    return j == size


@inner
def skip_tag(
    data: np.ndarray,
    i: int,
    out: np.ndarray,
    o: int,
    stack: np.ndarray,
    words: Words,
    absent: np.ndarray,
    tables: bool,
) -> tuple[int, int]:
    """Go past the tag at i, and past its content if that is no text; `absent` remembers the tags that are not closed any more.

    Without it a text full of opening tags would be searched to its end for each of them.
    """
    found, name_end, tag_end = read_tag(data, i, words)
    kind, number = found & 255, found >> 8
    if found == 0:
        out[o] = LESS
        return i + 1, o + 1
    closing = data[i + 1] == SLASH
    if kind == TAG_TABLE:
        if not closing:
            push(stack, HTML_TABLE, o)
        elif stack[HTML_TABLE] > 0:
            start = close_through(stack, HTML_TABLE)
            o = o if tables else cut_back(out, start)
        return tag_end, o
    if kind == TAG_BREAK and tables and stack[HTML_TABLE] > 0 and is_cell(data, name_end):
        if not closing and (o == 0 or out[o - 1] != NEWLINE):
            out[o], out[o + 1] = SEMICOLON, SPACE
            o += 2
        return tag_end, o
    if kind in (TAG_BREAK, TAG_PARAGRAPH):
        out[o], out[o + 1] = NEWLINE, NEWLINE
        return tag_end, o + (1 if kind == TAG_BREAK else 2)
    is_reference, is_literal = kind == TAG_REFERENCE, kind == TAG_LITERAL
    encloses = kind in (TAG_OPAQUE, TAG_REFERENCE, TAG_LITERAL, TAG_CODE)
    if not encloses or closing or data[tag_end - 1] != GREATER or absent[number]:
        return tag_end, o
    if data[tag_end - 2] == SLASH:
        out[o] = GAP
        return tag_end, o + 1
    end = content_end(data, i + 1, name_end, tag_end, is_reference)
    if end < 0:
        absent[number] = not is_reference
        return tag_end, o
    if is_literal or (kind == TAG_CODE and has_inline(data, name_end, tag_end)):
        return read_tag(data, end, words)[2], copy_literal(data, tag_end, end, out, o)
    out[o] = GAP
    return read_tag(data, end, words)[2], o + 1


@inner
def is_cell(data: np.ndarray, name_end: int) -> bool:
    """Whether the name of the tag is td or th; caption and center end otherwise."""
    return data[name_end - 1] | CASE_BIT in (LOWER_D, LOWER_H) and data[name_end - 2] | CASE_BIT == LOWER_T


@inner
def has_inline(data: np.ndarray, i: int, end: int) -> bool:
    """Whether a tag has the attribute `inline`: such code is part of a sentence."""
    for j in range(i, end - 6):
        if data[j] > SPACE or data[j + 1] != LOWER_I:
            continue
        if data[j + 2] == LOWER_N and data[j + 3] == LOWER_L and data[j + 6] == LOWER_E:
            return data[j + 7] <= SPACE or data[j + 7] in (EQUALS, GREATER, SLASH)
    return False


@inner
def copy_literal(data: np.ndarray, i: int, end: int, out: np.ndarray, o: int) -> int:
    """What is within <nowiki>: markup is text there; of two braces one is left."""
    for j in range(i, end):
        c = data[j]
        if c == PIPE:
            c = np.uint8(LITERAL_PIPE)
        elif c == QUOTE:
            c = np.uint8(LITERAL_QUOTE)
        elif o > 0 and out[o - 1] == c and c in (OPEN_BRACE, CLOSE_BRACE):
            continue
        out[o] = c
        o += 1
    return o
