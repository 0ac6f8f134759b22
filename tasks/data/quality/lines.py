"""Lines of a document, for the rules that look at them: how they begin and end, whether C4 would keep them, which are alike.

A line is what stands between two newlines; blank lines separate paragraphs. Trailing spaces are not part of a line.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.characters import LETTER, SPACE, TERMINAL, WORD, character_at, character_classes, class_of
from tasks.data.quality.phrases import PhraseTable, phrase_table, phrases_in
from tasks.data.quality.words import MIX, PRIME, SEED, is_abbreviation, vocabulary_hashes

LOREM, CURLY, JAVASCRIPT, POLICY = 1, 2, 4, 8
C4_PHRASES = phrase_table(
    {
        "lorem ipsum": LOREM,
        "{": CURLY,
        "javascript": JAVASCRIPT,
        **dict.fromkeys(
            ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"), POLICY
        ),
    }
)
"""What C4 looks for in a line (Raffel et al. 2020, section 2.2; the policies are in its published code alone)."""

KEEP, NO_TERMINAL, FEW_WORDS, LONG_WORD, HAS_JAVASCRIPT, HAS_POLICY, HAS_LOREM, HAS_CURLY = range(8)
"""What C4 does with a line. The last two condemn the whole page."""

NEWLINE, FULL_STOP, HYPHEN, BULLET, DOTS, OPEN, CLOSE, ZERO, NINE = (ord(c) for c in "\n.-•…[]09")
QUESTION, EXCLAMATION, QUOTE = (ord(c) for c in '?!"')
CITATIONS = tuple(np.frombuffer(text, dtype=np.uint8) for text in (b"[edit]", b"[citation needed]"))


class LineTables(NamedTuple):
    """What lines are looked up in; all arrays are read-only, so that a kernel is compiled for one kind of array."""

    classes: np.ndarray
    """From `character_classes`."""
    vocabulary: np.ndarray
    """From `vocabulary_hashes`."""
    phrases: PhraseTable
    """C4_PHRASES."""


class C4Limits(NamedTuple):
    """Those settings of C4 that decide about a line."""

    min_words: int
    max_characters_per_word: int


class Line(NamedTuple):
    """A line, and its visible part: from the first to the last character that is no space."""

    end: int
    """The byte of its newline, or the end of the text."""
    visible_start: int
    visible_end: int
    characters: int
    """Up to the last visible one; 0 in a blank line."""
    words: int
    """Divided by spaces."""
    longest_word: int
    """In characters."""
    hash: np.uint64


class Lines(NamedTuple):
    """Those lines of a text that are not blank, in their order."""

    hashes: np.ndarray
    """uint64."""
    characters: np.ndarray
    """int32."""
    starts_paragraph: np.ndarray
    """uint8."""


@cache
def line_tables() -> LineTables:
    return LineTables(character_classes(), vocabulary_hashes(), C4_PHRASES)


@kernel(nogil=True)
def without_citations(line: np.ndarray) -> int:
    """Where `line` ends without the "[12]", "[edit]" and "[citation needed]" at its end."""
    end = len(line)
    while end > 0 and line[end - 1] == CLOSE:
        at = end - 2
        while at >= 0 and ZERO <= line[at] <= NINE:
            at -= 1
        if at >= 0 and line[at] == OPEN:
            end = at
            continue
        found = False
        for citation in CITATIONS:
            length = len(citation)
            if not found and end >= length and np.array_equal(line[end - length : end], citation):
                end -= length
                found = True
        if not found:
            break
    return end


@kernel(nogil=True)
def ends_in_dots(line: np.ndarray) -> bool:
    end = len(line)
    return end >= 3 and line[end - 1] == FULL_STOP and line[end - 2] == FULL_STOP and line[end - 3] == FULL_STOP


@kernel(nogil=True)
def last_code(line: np.ndarray) -> np.int64:
    """The code point that `line`, which is not empty, ends with."""
    at = len(line) - 1
    while at > 0 and line[at] & 0xC0 == 0x80:
        at -= 1
    return character_at(line, at)[0]


@kernel(nogil=True)
def ends_sentence(line: np.ndarray, classes: np.ndarray) -> bool:
    """Whether the end is one of C4's `. ? ! "`, or what ends sentences in another script, and no ellipsis."""
    if len(line) == 0 or ends_in_dots(line):
        return False
    return line[len(line) - 1] == QUOTE or class_of(last_code(line), classes) & TERMINAL != 0


@kernel(nogil=True)
def in_run(line: np.ndarray, at: int) -> bool:
    """Whether the byte at `at` stands beside another like it."""
    return (at > 0 and line[at - 1] == line[at]) or (at + 1 < len(line) and line[at + 1] == line[at])


@kernel(nogil=True)
def num_sentences(line: np.ndarray, tables: LineTables) -> int:
    """Parts of a line that end with terminal punctuation before a space, or with the line; "J.", "Mrs." and "..." end none."""
    classes, vocabulary = tables.classes, tables.vocabulary
    number, inside, closing, characters, before, value, at = 0, False, 0, 0, 0, SEED, 0
    while at < len(line):
        code, width = character_at(line, at)
        kind = class_of(code, classes)
        if kind & WORD:
            number += not inside or closing == 2
            inside, closing, characters = True, 0, characters + 1
            value = (value ^ np.uint64(code)) * PRIME
        else:
            if kind & TERMINAL:
                initial = characters == 1 and before & LETTER
                if code != FULL_STOP:
                    closing = 2 if code >= 0x80 else max(closing, 1)
                elif in_run(line, at) or initial or is_abbreviation(value, characters, vocabulary):
                    closing = 0
                else:
                    closing = max(closing, 1)
            elif kind & SPACE and closing == 1:
                closing = 2
            characters, value = 0, SEED
        before = kind
        at += width
    return number


@kernel(nogil=True)
def c4_line(visible: np.ndarray, line: Line, tables: LineTables, limits: C4Limits) -> int:
    """What C4 does with a line, whose visible part is `visible`."""
    if line.longest_word > limits.max_characters_per_word:
        return LONG_WORD
    if not ends_sentence(visible[: without_citations(visible)], tables.classes):
        return NO_TERMINAL
    if line.words < limits.min_words:
        return FEW_WORDS
    bits = phrases_in(visible, tables.phrases)
    if bits == 0:
        return KEEP
    if bits & LOREM:
        return HAS_LOREM
    if bits & JAVASCRIPT:
        return HAS_JAVASCRIPT
    return HAS_CURLY if bits & CURLY else HAS_POLICY


@kernel(nogil=True)
def line_at(text: np.ndarray, start: int, classes: np.ndarray) -> Line:
    """The line that starts at byte `start`."""
    value, at, characters, words, word, longest = SEED, start, 0, 0, 0, 0
    visible_start, visible_end, visible_characters, visible_value = start, start, 0, SEED
    while at < len(text):
        code, width = character_at(text, at)
        if code == NEWLINE:
            break
        kind = class_of(code, classes)
        if kind & SPACE:
            if word:  # So far the line may end here: what follows counts only if something visible does.
                visible_end, visible_characters, visible_value = at, characters, value
                longest, word = max(longest, word), 0
        else:
            if words == 0:
                visible_start = at
            words += word == 0
            word += 1
        value = (value ^ np.uint64(code)) * PRIME
        characters += 1
        at += width
    if word:
        visible_end, visible_characters, visible_value = at, characters, value
        longest = max(longest, word)
    return Line(at, visible_start, visible_end, visible_characters, words, longest, visible_value * MIX)


@kernel(nogil=True)
def num_newlines(text: np.ndarray) -> int:
    number = 0
    for at in range(len(text)):
        number += text[at] == NEWLINE
    return number


@kernel(nogil=True)
def count_lines(text: np.ndarray, tables: LineTables, limits: C4Limits, short: int, lines: Lines, counts: np.record) -> None:
    """Fills `lines`, and adds to the fields of `counts` (judge.COUNTS) from `newlines` to `curly_bracket_lines`.

    A line of at most `short` characters is short.
    """
    classes, hashes, characters, starts_paragraph = tables.classes, lines.hashes, lines.characters, lines.starts_paragraph
    at, blank = 0, True
    while at < len(text):
        line = line_at(text, at, classes)
        at = line.end + 1
        counts.newlines += line.end < len(text)
        counts.all_lines += 1
        if line.characters == 0:
            blank = True
            continue
        number = counts.lines
        hashes[number], characters[number], starts_paragraph[number] = line.hash, line.characters, blank
        counts.lines += 1
        blank = False
        visible = text[line.visible_start : line.visible_end]
        first, last = character_at(visible, 0)[0], last_code(visible)
        counts.bullet_lines += first in (BULLET, HYPHEN)
        counts.ellipsis_lines += ends_in_dots(visible) or last == DOTS
        counts.terminated_lines += class_of(last, classes) & TERMINAL != 0
        counts.short_lines += line.characters <= short
        verdict = c4_line(visible, line, tables, limits)
        if verdict == KEEP:
            counts.c4_sentences += num_sentences(visible, tables)
        counts.lorem_ipsum_lines += verdict == HAS_LOREM
        counts.curly_bracket_lines += verdict == HAS_CURLY


@kernel(nogil=True)
def c4_verdicts(text: np.ndarray, tables: LineTables, limits: C4Limits) -> np.ndarray:
    """What C4 does with each line of `text`, int64; for a blank line it is FEW_WORDS."""
    verdicts = np.full(num_newlines(text) + 1, FEW_WORDS)
    number, at = 0, 0
    while at < len(text):
        line = line_at(text, at, tables.classes)
        at = line.end + 1
        if line.characters:
            verdicts[number] = c4_line(text[line.visible_start : line.visible_end], line, tables, limits)
        number += 1
    return verdicts
