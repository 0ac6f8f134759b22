"""Prose out of wikitext, the markup of MediaWiki, at hundreds of megabytes per second: three passes over the UTF-8 bytes.

Removed: templates (but for those whose text is known, `languages/`, and a few unknown ones inside sentences), references,
comments, galleries and other extensions, blocks of code, links to files, categories and other languages, addresses, behaviour
switches, sections without text, and sections that only list links; by choice formulas and tables. Kept as plain text: links,
headings (a line between blank lines), list items (a line each), inline HTML. Character references are decoded; paragraphs are
separated by a blank line.

`resolve_markup` takes care of what nests or encloses, `decode_inline` of what stands for other characters, `write_lines` of
lines and sections. All are linear in time and memory for any input.
"""

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.wikitext.bytes import (
    AMPERSAND,
    CLOSE_BRACE,
    CLOSE_BRACKET,
    COLON,
    LESS,
    NEWLINE,
    OPEN_BRACE,
    OPEN_BRACKET,
    PIPE,
    QUOTE,
    SPACE,
    TAB,
    UNDERSCORE,
)  # fmt: skip
from tasks.data.wikitext.census import NO_CENSUS, Census
from tasks.data.wikitext.formulas import read_formulas
from tasks.data.wikitext.inline import decode_inline
from tasks.data.wikitext.lines import write_lines
from tasks.data.wikitext.markup import resolve_markup
from tasks.data.wikitext.words import Words, word_table


def bytes_looked_at(others: tuple[int, ...]) -> np.ndarray:
    """1 for control characters but tab, and for `others`; bool, (256,)."""
    special = np.zeros(256, np.bool_)
    special[:SPACE] = True
    special[TAB] = False
    special[list(others)] = True
    return special


MARKUP_BYTES = bytes_looked_at((NEWLINE, OPEN_BRACKET, CLOSE_BRACKET, OPEN_BRACE, CLOSE_BRACE, PIPE, COLON, LESS))
INLINE_BYTES = bytes_looked_at((NEWLINE, QUOTE, AMPERSAND, UNDERSCORE))


@kernel
def extract(data: np.ndarray, words: Words, markup: np.ndarray, inline: np.ndarray, census: Census, tables: bool) -> np.ndarray:
    """All three passes."""
    # What templates leave is less than twice as long as they are, and the next text is put together behind it (templates.py).
    first = np.empty(4 * data.size + 8, np.uint8)
    size = resolve_markup(data, first, words, markup, census, tables)
    second = np.empty(size + size // 2 + 8, np.uint8)
    size = decode_inline(first, size, second, words, inline)
    third = np.empty(size + size // 2 + 8, np.uint8)
    return third[: write_lines(second, size, third, words)]


def wikitext_to_text(
    wikitext: str,
    dropped_namespaces: frozenset[str] = frozenset(),
    language: str = "",
    census: Census = NO_CENSUS,
    *,
    formulas: bool = True,
    tables: bool = False,
) -> str:
    """The prose of a page; empty if there is none. Lone surrogates are left out.

    `dropped_namespaces` are lower-cased names, beyond those of the larger Wikipedias, of namespaces whose links show no text
    (`mediawiki.Site.media_names`); `language` is the wiki's code, for templates that only its editors use. What is dropped of
    templates is counted in `census`. `formulas` and `tables` say whether these become text, or are dropped.
    """
    if formulas and "<math" in wikitext:
        wikitext = read_formulas(wikitext)
    data = np.frombuffer(bytearray(wikitext.encode(errors="ignore")), np.uint8)
    return (
        extract(data, word_table(dropped_namespaces, language), MARKUP_BYTES, INLINE_BYTES, census, tables).tobytes().decode()
    )
