"""Lines of a document, for the rules that look at them: how they begin and end, whether C4 would keep them, which are alike.

A line is what stands between two newlines; blank lines separate paragraphs. Trailing spaces are not part of a line.
"""

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.characters import LETTER, SPACE, TERMINAL, WORD, character_at, class_of
from tasks.data.quality.phrases import phrase_table, phrases_in
from tasks.data.quality.words import MIX, PRIME, SEED, is_abbreviation

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
NUM_LINE_COUNTS = 15

NEWLINE, FULL_STOP, HYPHEN, BULLET, DOTS, OPEN, CLOSE, ZERO, NINE = (ord(c) for c in "\n.-•…[]09")
QUESTION, EXCLAMATION, QUOTE = (ord(c) for c in '?!"')
CITATIONS = tuple(np.frombuffer(text, dtype=np.uint8) for text in (b"[edit]", b"[citation needed]"))


@kernel(nogil=True)
def without_citations(data: np.ndarray, start: int, end: int) -> int:
    """Where data[start:end] ends without the "[12]", "[edit]" and "[citation needed]" at its end."""
    while end > start and data[end - 1] == CLOSE:
        at = end - 2
        while at >= start and ZERO <= data[at] <= NINE:
            at -= 1
        if at >= start and data[at] == OPEN:
            end = at
            continue
        found = False
        for citation in CITATIONS:
            length = len(citation)
            if not found and end - start >= length and np.array_equal(data[end - length : end], citation):
                end -= length
                found = True
        if not found:
            break
    return end


@kernel(nogil=True)
def ends_sentence(data: np.ndarray, start: int, end: int, classes: np.ndarray) -> bool:
    """Whether the end is one of C4's `. ? ! "`, or what ends sentences in another script, and no ellipsis."""
    if end <= start or (end - start >= 3 and data[end - 1] == FULL_STOP == data[end - 2] and data[end - 3] == FULL_STOP):
        return False
    if data[end - 1] == QUOTE:
        return True
    at = end - 1
    while at > start and data[at] & 0xC0 == 0x80:
        at -= 1
    return class_of(character_at(data, at, end)[0], classes) & TERMINAL != 0


@kernel(nogil=True)
def in_run(data: np.ndarray, at: int, start: int, end: int) -> bool:
    """Whether the byte at `at` stands beside another like it."""
    return (at > start and data[at - 1] == data[at]) or (at + 1 < end and data[at + 1] == data[at])


@kernel(nogil=True)
def num_sentences(data: np.ndarray, start: int, end: int, classes: np.ndarray, vocabulary: np.ndarray) -> int:
    """Parts of a line that end with terminal punctuation before a space, or with the line; "J.", "Mrs." and "..." end none."""
    number, inside, closing, characters, before, value, at = 0, False, 0, 0, 0, SEED, start
    while at < end:
        code, width = character_at(data, at, end)
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
                elif in_run(data, at, start, end) or initial or is_abbreviation(value, characters, vocabulary):
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
def c4_line(
    data: np.ndarray, start: int, end: int, words: int, longest: int, min_words: int, max_characters: int,
    classes: np.ndarray, following: np.ndarray, found: np.ndarray,
) -> int:  # fmt: skip
    """What C4 does with the line data[start:end], of so many words divided by spaces, the longest with so many characters."""
    if longest > max_characters:
        return LONG_WORD
    if not ends_sentence(data, start, without_citations(data, start, end), classes):
        return NO_TERMINAL
    if words < min_words:
        return FEW_WORDS
    bits = phrases_in(data, start, end, following, found)
    if bits == 0:
        return KEEP
    if bits & LOREM:
        return HAS_LOREM
    if bits & JAVASCRIPT:
        return HAS_JAVASCRIPT
    return HAS_CURLY if bits & CURLY else HAS_POLICY


@kernel(nogil=True)
def scan_line(data: np.ndarray, start: int, end: int, classes: np.ndarray, out: np.ndarray) -> np.uint64:
    """The hash of the line that starts at `start`. Fills `out` (int64, 9).

    Where it ends (its newline or `end`); where its last visible character ends; characters up to there; the first and the last
    visible character, and the class of the last; where the first one is; words divided by spaces; characters of the longest.
    """
    out[:9] = start
    out[2:8] = 0
    out[8] = 0
    value, result, at, characters, word, first = SEED, SEED, start, 0, 0, True
    while at < end:
        code, width = character_at(data, at, end)
        if code == NEWLINE:
            break
        kind = class_of(code, classes)
        value = (value ^ np.uint64(code)) * PRIME
        characters += 1
        at += width
        if kind & SPACE:
            word = 0
            continue
        if first:
            first = False
            out[3], out[6] = code, at - width
        out[7] += word == 0
        word += 1
        out[8] = max(out[8], word)
        out[1], out[2], out[4], out[5], result = at, characters, code, kind, value
    out[0] = at
    return result * MIX


@kernel(nogil=True)
def num_newlines(data: np.ndarray, start: int, end: int) -> int:
    number = 0
    for at in range(start, end):
        number += data[at] == NEWLINE
    return number


@kernel(nogil=True)
def count_lines(
    data: np.ndarray, start: int, end: int, classes: np.ndarray, vocabulary: np.ndarray,
    following: np.ndarray, found: np.ndarray, short: int, min_words: int, max_characters: int,
    hashes: np.ndarray, lengths: np.ndarray, paragraphs: np.ndarray,
    counts: np.ndarray,
) -> None:  # fmt: skip
    """Fills, for each line that is not blank, its hash (uint64), characters (int32), whether it starts a paragraph (uint8).

    `counts` (int64): newlines; lines; lines that are not blank; of these those that start with a bullet, end with an ellipsis,
    end with terminal punctuation, have at most `short` characters; C4: sentences in the lines it keeps, lines that condemn the
    page for "lorem ipsum", for a curly bracket.
    """
    counts[:10] = 0
    line = np.empty(9, np.int64)
    at, blank = start, True
    while at < end:
        value = scan_line(data, at, end, classes, line)
        at = line[0] + 1
        counts[0] += line[0] < end
        counts[1] += 1
        if line[2] == 0:
            blank = True
            continue
        number = counts[2]
        hashes[number], lengths[number], paragraphs[number] = value, line[2], blank
        counts[2] += 1
        blank = False
        last = line[4]
        dots = line[1] - line[6] >= 3 and last == FULL_STOP == data[line[1] - 2] and data[line[1] - 3] == FULL_STOP
        counts[3] += line[3] == BULLET or line[3] == HYPHEN
        counts[4] += dots or last == DOTS
        counts[5] += line[5] & TERMINAL != 0
        counts[6] += line[2] <= short
        verdict = c4_line(
            data, line[6], line[1], line[7], line[8], min_words, max_characters, classes, following, found
        )  # fmt: skip
        if verdict == KEEP:
            counts[7] += num_sentences(data, line[6], line[1], classes, vocabulary)
        counts[8] += verdict == HAS_LOREM
        counts[9] += verdict == HAS_CURLY


@kernel(nogil=True)
def c4_verdicts(
    data: np.ndarray, classes: np.ndarray, following: np.ndarray, found: np.ndarray, min_words: int, max_characters: int
) -> np.ndarray:
    """What C4 does with each line of `data`, int64; for a blank line it is FEW_WORDS."""
    verdicts = np.full(num_newlines(data, 0, len(data)) + 1, FEW_WORDS)
    line = np.empty(9, np.int64)
    number, at = 0, 0
    while at < len(data):
        scan_line(data, at, len(data), classes, line)
        at = line[0] + 1
        if line[2]:
            verdicts[number] = c4_line(
                data, line[6], line[1], line[7], line[8], min_words, max_characters, classes, following, found
            )  # fmt: skip
        number += 1
    return verdicts
