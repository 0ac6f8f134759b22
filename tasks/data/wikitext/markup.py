"""First of three passes over wikitext: everything that nests or encloses is resolved here, in one pass over the UTF-8 bytes.

What is read is copied to the output. Where a construct opens, its place in the output is put on a stack; where it closes, the
output is cut back to that place (templates, tables, files), or what hides the text is overwritten with NOTHING (links). So each
byte is written once, whatever the nesting, and an unclosed construct costs nothing but its brackets: its text stays.
"""

import numpy as np

from tasks.data.wikitext.braces import close_braces, open_braces, pipe_or_table_end
from tasks.data.wikitext.bytes import CLOSE_BRACE, CLOSE_BRACKET, COLON, LESS, NEWLINE, OPEN_BRACE, OPEN_BRACKET, PIPE, inner
from tasks.data.wikitext.census import Census
from tasks.data.wikitext.links import close_bracket, drop_bare_url, drop_unclosed_files, open_bracket
from tasks.data.wikitext.stack import DEPTH, NO_ENTRY, STACK_SIZE, end_line
from tasks.data.wikitext.tags import MAX_TAGS, comment_end, is_comment, skip_tag
from tasks.data.wikitext.words import Words


@inner
def resolve_markup(
    data: np.ndarray, out: np.ndarray, words: Words, special: np.ndarray, census: Census, tables: bool
) -> np.int64:
    """Copies wikitext to `out`, four times as large, without what nests or encloses; the number of bytes written.

    `special` has 1 for the bytes that are looked at (256); `tables` says whether tables become text.
    """
    stack = np.zeros(STACK_SIZE, np.int64)
    stack[DEPTH] = NO_ENTRY
    absent = np.zeros(MAX_TAGS, np.bool_)
    i = o = np.int64(0)
    while i < data.size:
        c = data[i]
        if not special[c]:
            out[o] = c
            i, o = i + 1, o + 1
        elif c == NEWLINE:
            end_line(stack, data, i)
            out[o] = c
            i, o = i + 1, o + 1
        elif c == OPEN_BRACKET:
            i, o = open_bracket(data, i, out, o, stack)
        elif c == CLOSE_BRACKET:
            i, o = close_bracket(data, i, out, o, stack, words)
        elif c == OPEN_BRACE:
            i, o = open_braces(data, i, out, o, stack)
        elif c == CLOSE_BRACE:
            i, o = close_braces(data, i, out, o, stack, words, census)
        elif c == PIPE:
            i, o = pipe_or_table_end(data, i, out, o, stack, tables)
        elif c == COLON:
            i, o = drop_bare_url(data, i, out, o)
        elif c == LESS:
            if is_comment(data, i):
                i = comment_end(data, i, out, o)
            else:
                i, o = skip_tag(data, i, out, o, stack, words, absent, tables)
        else:  # A control character.
            i += 1
    drop_unclosed_files(out, o, stack, words)
    return o
