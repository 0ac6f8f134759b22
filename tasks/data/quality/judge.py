"""Which documents are good enough: the rules of quality_rules.py, applied to one text or to a whole batch of UTF-8."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.quality.characters import character_classes
from tasks.data.quality.lines import C4_PHRASES, count_lines, num_newlines
from tasks.data.quality.repetition import NUM_GRAM_COUNTS, duplicates, gram_repetition
from tasks.data.quality.rules import (
    COUNTS,
    MEASURES,
    PARAMETERS,
    UNSPACED_LANGUAGES,
    Threshold,
    chosen_thresholds,
    known_thresholds,
)
from tasks.data.quality.words import find_words, vocabulary_hashes

LINE_COLUMN, DUPLICATE_COLUMN, GRAM_COLUMN = (
    COUNTS.index(name) for name in ("newlines", "duplicate_lines", "top_2_gram_characters")
)
KEPT = 0


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
        parameters = (every[name] for name in ("fineweb.short_line_characters", *PARAMETERS[:2]))
        self.parameters = tuple(int(value) for value in parameters if value is not None)  # none of them can be off
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
        """What the rules look at: (documents, len(COUNTS)), int64."""
        data, offsets = data.view(), np.asarray(offsets, dtype=np.int64).view()
        data.flags.writeable = offsets.flags.writeable = False
        counts = np.zeros((len(offsets) - 1, len(COUNTS)), dtype=np.int64)
        count_documents(
            data, offsets, character_classes(), vocabulary_hashes(), *C4_PHRASES, *self.parameters, self.needs_grams, counts
        )  # fmt: skip
        return counts

    def judge_counts(self, counts: np.ndarray, languages: str | Sequence[str]) -> np.ndarray:
        """The codes that follow from what `count` returned."""
        codes = np.zeros(len(counts), dtype=np.int16)
        language = np.asarray(languages, dtype=np.str_)
        english, spaced = language == "en", ~np.isin(language, tuple(UNSPACED_LANGUAGES))
        for code, (name, limit) in enumerate(self.limits, start=1):
            measure = MEASURES[name]
            values = counts[:, COUNTS.index(measure.counted)].astype(np.float64)
            if measure.per is not None:
                values /= np.maximum(counts[:, COUNTS.index(measure.per)], 1)
            failed = values < limit if ".min_" in name else values > limit
            failed &= codes == KEPT
            failed &= spaced if measure.spaced else True
            failed &= english if measure.english else True
            codes[failed] = code
        return codes


@kernel(nogil=True)
def count_documents(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, vocabulary: np.ndarray,
    following: np.ndarray, found: np.ndarray, short: int, min_words: int, max_characters: int, grams: bool, counts: np.ndarray,
) -> None:  # fmt: skip
    """Fills a row of `counts` (columns: COUNTS) for each document. Memory: 17 bytes for each of the longest one."""
    for document in range(len(offsets) - 1):
        start, end, row = offsets[document], offsets[document + 1], counts[document]
        words = np.empty((end - start) // 3 + 16, np.uint64)
        lengths = np.empty(len(words), np.int32)
        number = find_words(data, start, end, classes, vocabulary, words, lengths, row)
        if number < 0:
            words, lengths = np.empty(end - start, np.uint64), np.empty(end - start, np.int32)
            number = find_words(data, start, end, classes, vocabulary, words, lengths, row)
        if grams:
            gram_repetition(words, lengths, number, row[GRAM_COLUMN:])
        size = num_newlines(data, start, end) + 1
        hashes, line_lengths, firsts = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.uint8)
        count_lines(
            data, start, end, classes, vocabulary, following, found, short, min_words, max_characters,
            hashes, line_lengths, firsts, row[LINE_COLUMN:],
        )  # fmt: skip
        lines = row[LINE_COLUMN + 2]
        row[DUPLICATE_COLUMN], row[DUPLICATE_COLUMN + 1] = duplicates(hashes, line_lengths, lines)
        paragraphs = join_paragraphs(hashes, line_lengths, firsts, lines)
        row[DUPLICATE_COLUMN + 2] = paragraphs
        row[DUPLICATE_COLUMN + 3], row[DUPLICATE_COLUMN + 4] = duplicates(hashes, line_lengths, paragraphs)
        row[GRAM_COLUMN + NUM_GRAM_COUNTS] = row[7] - row[LINE_COLUMN]


@kernel(nogil=True)
def join_paragraphs(hashes: np.ndarray, lengths: np.ndarray, firsts: np.ndarray, lines: int) -> int:
    """Replaces the hashes and lengths of lines by those of their paragraphs; returns how many there are."""
    number = 0
    for line in range(lines):
        if firsts[line]:
            hashes[number], lengths[number] = hashes[line], lengths[line]
            number += 1
        else:
            hashes[number - 1] = hashes[number - 1] * np.uint64(0xD6E8FEB86659FD93) + hashes[line]
            lengths[number - 1] += lengths[line] + 1
    return number
