"""Which documents are good enough: the rules of rules.py, applied to one text or to a whole batch of UTF-8."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.lines import C4Limits, Lines, LineTables, count_lines, line_tables, num_newlines
from tasks.data.quality.repetition import FACTOR, FIRST_GRAM, NUM_GRAM_COUNTS, duplicates, gram_repetition
from tasks.data.quality.rules import MEASURES, PARAMETERS, UNSPACED_LANGUAGES, Threshold, chosen_thresholds, known_thresholds
from tasks.data.quality.words import Tokens, find_words

KEPT = 0
COUNTS = np.dtype(
    [
        *((name, np.int64) for name in (
            "tokens", "words", "word_characters", "alphabetic_tokens", "stop_words", "hashes", "ellipses", "characters",
            "pieces", "alphabetic_pieces",
            "newlines", "all_lines", "lines", "bullet_lines", "ellipsis_lines", "terminated_lines", "short_lines",
            "c4_sentences", "lorem_ipsum_lines", "curly_bracket_lines",
            "duplicate_lines", "duplicate_line_characters",
            "paragraphs", "duplicate_paragraphs", "duplicate_paragraph_characters", "line_characters",
        )),
        ("gram_characters", np.int64, NUM_GRAM_COUNTS),
    ],
    align=True,
)  # fmt: skip
"""What is counted in a document. `tokens` are words and symbols, `pieces` what stands between spaces; those with a letter are
`alphabetic`. `stop_words`: how many of them occur; `hashes`: number signs. `all_lines` has blank ones too, all else about lines
does not. `c4_sentences` are those of lines that C4 keeps; `lorem_ipsum_lines` and `curly_bracket_lines` condemn the page.
`gram_characters` has n-grams at n - FIRST_GRAM, see `gram_repetition`."""


class QualityRules:
    """The chosen rule sets, in order, with their thresholds.

    `reasons[code]` is the name of the threshold that a document with that code failed; code 0 is a document that is kept.
    """

    def __init__(self, filters: Sequence[str], thresholds: Mapping[str, Threshold] | None = None) -> None:
        """Raises DataError for a filter or a threshold that does not exist, is not a number, or belongs to no chosen filter."""
        self.filters = tuple(filters)
        self.thresholds = chosen_thresholds(self.filters, thresholds or {})
        names = [name for chosen in self.filters for name in MEASURES if name.startswith(f"{chosen}.")]
        self.limits = [(name, limit) for name in names if (limit := self.thresholds[name]) is not None]
        """The thresholds that are on, in their order: that of number i gives the code i + 1."""
        self.reasons: tuple[str | None, ...] = (None, *(name for name, _ in self.limits))
        every = known_thresholds() | self.thresholds
        *c4, self.short_line_characters = (int(every[name] or 0) for name in PARAMETERS)  # none of them can be off
        self.c4_limits = C4Limits(*c4)
        self.needs_grams = any("_gram_" in name for name, _ in self.limits)

    def judge(self, text: str, language: str = "en") -> str | None:
        """The threshold that a cleaned text fails first, such as "gopher_quality.min_words"; None if it is kept."""
        data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
        return self.reasons[self.judge_batch(data, np.array([0, len(data)]), language)[0]]

    def judge_batch(self, data: np.ndarray, offsets: np.ndarray, languages: str | Sequence[str] = "en") -> np.ndarray:
        """A code for each document data[offsets[i] : offsets[i + 1]], int16: KEPT, or the place of its reason in `reasons`.

        `data`: UTF-8, uint8; `offsets`: int64, one more than there are documents, as a pyarrow LargeStringArray has them.
        `languages`: codes as from `identify`, one for all or one for each; "und" or "" where it is not known.
        """
        return self.judge_counts(self.count(data, offsets), languages)

    def count(self, data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """What the rules look at: (documents,) of COUNTS."""
        data, offsets = data.view(), np.asarray(offsets, dtype=np.int64).view()
        data.flags.writeable = offsets.flags.writeable = False
        counts = np.zeros(len(offsets) - 1, dtype=COUNTS)
        count_documents(data, offsets, line_tables(), self.c4_limits, self.short_line_characters, self.needs_grams, counts)
        return counts

    def judge_counts(self, counts: np.ndarray, languages: str | Sequence[str]) -> np.ndarray:
        """The codes that follow from what `count` returned."""
        codes = np.zeros(len(counts), dtype=np.int16)
        language = np.asarray(languages, dtype=np.str_)
        english, spaced = language == "en", ~np.isin(language, tuple(UNSPACED_LANGUAGES))
        for code, (name, limit) in enumerate(self.limits, start=1):
            measure = MEASURES[name]
            counted = counts[measure.counted]
            values = (counted[:, measure.n - FIRST_GRAM] if measure.n else counted).astype(np.float64)
            if measure.per is not None:
                values /= np.maximum(counts[measure.per], 1)
            failed = values < limit if ".min_" in name else values > limit
            failed &= codes == KEPT
            failed &= spaced if measure.spaced else True
            failed &= english if measure.english else True
            codes[failed] = code
        return codes


@kernel(nogil=True)
def count_documents(
    data: np.ndarray, offsets: np.ndarray, tables: LineTables, limits: C4Limits, short: int, grams: bool, counts: np.ndarray
) -> None:
    """Fills `counts` (COUNTS, zeros) for each document. Memory: 17 bytes for each of the longest one."""
    for document in range(len(offsets) - 1):
        text, counted = data[offsets[document] : offsets[document + 1]], counts[document]
        # A token in every three bytes is more than prose has; where that is too little, there is one in each byte at most.
        room = len(text) // 3 + 16
        tokens = Tokens(np.empty(room, np.uint64), np.empty(room, np.int32))
        number = find_words(text, tables.classes, tables.vocabulary, tokens, counted)
        if number < 0:
            tokens = Tokens(np.empty(len(text), np.uint64), np.empty(len(text), np.int32))
            number = find_words(text, tables.classes, tables.vocabulary, tokens, counted)
        if grams:
            gram_repetition(tokens, number, counted.gram_characters)
        size = num_newlines(text) + 1
        lines = Lines(np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.uint8))
        count_lines(text, tables, limits, short, lines, counted)
        hashes, characters = lines.hashes, lines.characters
        counted.duplicate_lines, counted.duplicate_line_characters = duplicates(hashes, characters, counted.lines)
        counted.paragraphs = join_paragraphs(lines, counted.lines)
        counted.duplicate_paragraphs, counted.duplicate_paragraph_characters = duplicates(
            hashes, characters, counted.paragraphs
        )
        counted.line_characters = counted.characters - counted.newlines


@kernel(nogil=True)
def join_paragraphs(lines: Lines, number: int) -> int:
    """Replaces the first `number` lines by their paragraphs, in `hashes` and `characters`; returns how many there are."""
    paragraphs = 0
    for line in range(number):
        if lines.starts_paragraph[line]:
            lines.hashes[paragraphs], lines.characters[paragraphs] = lines.hashes[line], lines.characters[line]
            paragraphs += 1
        else:
            lines.hashes[paragraphs - 1] = lines.hashes[paragraphs - 1] * FACTOR + lines.hashes[line]
            lines.characters[paragraphs - 1] += lines.characters[line] + 1
    return paragraphs
