"""The published rules of Gopher, C4 and FineWeb: their thresholds, where each stands, and what it is compared with.

Rae et al. 2021 is "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (arXiv 2112.11446), Raffel et
al. 2020 "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (JMLR 21/140), Penedo et al. 2024
"The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale" (arXiv 2406.17557). Where a paper leaves a detail
open, the rule is that of datatrove 0.10, which is by the authors of FineWeb. The thresholds were chosen on English web pages.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tasks.record.errors import DataError

Threshold = float | None


@dataclass(frozen=True)
class GopherQuality:
    """Rae et al. 2021, appendix A.1.1 "Quality filtering" (table A1 of the repetition rules stands beside it)."""

    min_words: Threshold = 50
    """Words in a document: at least 50 (A.1.1). Symbols do not count."""
    max_words: Threshold = 100_000
    """Words in a document: at most 100,000 (A.1.1)."""
    min_word_characters: Threshold = 3
    """Mean characters of a word: at least 3 (A.1.1). Symbols do not count."""
    max_word_characters: Threshold = 10
    """Mean characters of a word: at most 10 (A.1.1)."""
    max_hashes_per_word: Threshold = 0.1
    """Number signs for each token (word or symbol): at most 0.1 (A.1.1)."""
    max_ellipses_per_word: Threshold = 0.1
    """Ellipses ("..." or "…") for each token: at most 0.1 (A.1.1)."""
    max_bullet_lines: Threshold = 0.9
    """Share of lines, blank ones included, that start with "•" or "-": at most 90% (A.1.1)."""
    max_ellipsis_lines: Threshold = 0.3
    """Share of lines, blank ones included, that end with an ellipsis: at most 30% (A.1.1)."""
    min_alphabetic_words: Threshold = 0.8
    """Share of the pieces of text between spaces that have a letter: at least 80% (A.1.1)."""
    min_alphabetic_tokens: Threshold = None
    """The same rule as datatrove reads it, which counts each punctuation mark as a word without a letter. At 0.8 that drops
    lively dialogue and encyclopedia entries with many numbers, so it is off."""
    min_stop_words: Threshold = 2
    """Different words of "the be to of and that have with": at least 2 (A.1.1). English only."""


@dataclass(frozen=True)
class GopherRepetition:
    """Rae et al. 2021, appendix A.1.1 "Repetition removal", table A1."""

    max_duplicate_lines: Threshold = 0.30
    """Share of lines that are equal to an earlier one (table A1)."""
    max_duplicate_paragraphs: Threshold = 0.30
    """Share of paragraphs that are equal to an earlier one (table A1)."""
    max_duplicate_line_characters: Threshold = 0.20
    """Share of characters in such lines (table A1)."""
    max_duplicate_paragraph_characters: Threshold = 0.20
    """Share of characters in such paragraphs (table A1)."""
    max_top_2_gram_characters: Threshold = 0.20
    """Share of characters in the most frequent pair of words (table A1)."""
    max_top_3_gram_characters: Threshold = 0.18
    """The same for three words (table A1)."""
    max_top_4_gram_characters: Threshold = 0.16
    """The same for four words (table A1)."""
    max_duplicate_5_gram_characters: Threshold = 0.15
    """Share of characters in five words that occurred before in that order (table A1)."""
    max_duplicate_6_gram_characters: Threshold = 0.14
    """The same for six words (table A1)."""
    max_duplicate_7_gram_characters: Threshold = 0.13
    """The same for seven words (table A1)."""
    max_duplicate_8_gram_characters: Threshold = 0.12
    """The same for eight words (table A1)."""
    max_duplicate_9_gram_characters: Threshold = 0.11
    """The same for nine words (table A1)."""
    max_duplicate_10_gram_characters: Threshold = 0.10
    """The same for ten words (table A1)."""


@dataclass(frozen=True)
class C4:
    """Raffel et al. 2020, section 2.2, with the details of its published code (TensorFlow Datasets, `c4_utils`).

    A page is judged by the lines that C4 would keep: those that end with `. ? ! "` (or what ends a sentence in another script)
    but not with an ellipsis, and neither mention "javascript" nor a cookie, privacy or usage policy. The text is not changed
    here: `keep_c4_lines` (boilerplate.py) does that. Not here either: C4's list of bad words, which is not ours to ship; its
    language detection (languages.py) and its removal of repeated spans (de-duplication).
    """

    min_words_per_line: int = 5
    """A line with fewer words is not kept (section 2.2); datatrove's default, from an early version of the paper, is 3."""
    max_characters_per_word: int = 1000
    """A line with a longer word is not kept (the published code)."""
    min_sentences: Threshold = 3
    """Sentences in the lines that are kept (section 2.2); datatrove's default, from an early version of the paper, is 5."""
    max_lorem_ipsum_lines: Threshold = 0
    """Lines with "lorem ipsum", among those that would otherwise be kept (section 2.2)."""
    max_curly_bracket_lines: Threshold = 0
    """Lines with "{", among those that would otherwise be kept (section 2.2; the code looks at no others)."""


@dataclass(frozen=True)
class FineWeb:
    """Penedo et al. 2024, section 3.6 "Developing additional heuristic filters"."""

    short_line_characters: int = 30
    """A line with at most so many characters is short (section 3.6)."""
    min_terminated_lines: Threshold = 0.12
    """Share of lines that end with terminal punctuation of any script (section 3.6)."""
    max_short_lines: Threshold = 0.67
    """Share of short lines (section 3.6)."""
    max_duplicate_line_characters: Threshold = 0.1
    """Share of characters in repeated lines: 0.1 in section 3.6, 0.01 in datatrove's code."""
    max_newlines_per_word: Threshold = 0.3
    """Newlines for each token (word or symbol): not in the paper, 0.3 in datatrove's code."""


FILTERS = {"gopher_quality": GopherQuality, "gopher_repetition": GopherRepetition, "c4": C4, "fineweb": FineWeb}
PARAMETERS = ("c4.min_words_per_line", "c4.max_characters_per_word", "fineweb.short_line_characters")
"""What changes how a document is measured, and so cannot be `None`; all else is compared with a measure."""


class Measure(NamedTuple):
    """What a threshold is compared with: a count (a field of judge.COUNTS), or a count divided by another."""

    counted: str
    per: str | None = None
    spaced: bool = False
    """Only for languages that put spaces between words."""
    english: bool = False
    n: int = 0
    """The length of the n-grams, in words, where those are counted."""


def per_word(count: str, per: str | None = "tokens", english: bool = False) -> Measure:
    return Measure(count, per, spaced=True, english=english)


def in_grams(n: int) -> Measure:
    return Measure("gram_characters", "characters", spaced=True, n=n)


MEASURES = {
    "gopher_quality.min_words": per_word("words", None),
    "gopher_quality.max_words": per_word("words", None),
    "gopher_quality.min_word_characters": per_word("word_characters", "words"),
    "gopher_quality.max_word_characters": per_word("word_characters", "words"),
    "gopher_quality.max_hashes_per_word": per_word("hashes"),
    "gopher_quality.max_ellipses_per_word": per_word("ellipses"),
    "gopher_quality.max_bullet_lines": Measure("bullet_lines", "all_lines"),
    "gopher_quality.max_ellipsis_lines": Measure("ellipsis_lines", "all_lines"),
    "gopher_quality.min_alphabetic_words": per_word("alphabetic_pieces", "pieces"),
    "gopher_quality.min_alphabetic_tokens": per_word("alphabetic_tokens"),
    "gopher_quality.min_stop_words": per_word("stop_words", None, english=True),
    "gopher_repetition.max_duplicate_paragraphs": Measure("duplicate_paragraphs", "paragraphs"),
    "gopher_repetition.max_duplicate_paragraph_characters": Measure("duplicate_paragraph_characters", "characters"),
    "gopher_repetition.max_duplicate_lines": Measure("duplicate_lines", "lines"),
    "gopher_repetition.max_duplicate_line_characters": Measure("duplicate_line_characters", "characters"),
    **{f"gopher_repetition.max_top_{n}_gram_characters": in_grams(n) for n in (2, 3, 4)},
    **{f"gopher_repetition.max_duplicate_{n}_gram_characters": in_grams(n) for n in range(5, 11)},
    "c4.max_lorem_ipsum_lines": Measure("lorem_ipsum_lines"),
    "c4.max_curly_bracket_lines": Measure("curly_bracket_lines"),
    "c4.min_sentences": Measure("c4_sentences"),
    "fineweb.min_terminated_lines": Measure("terminated_lines", "lines"),
    "fineweb.max_short_lines": Measure("short_lines", "lines"),
    "fineweb.max_duplicate_line_characters": Measure("duplicate_line_characters", "line_characters"),
    "fineweb.max_newlines_per_word": per_word("newlines"),
}
"""For each threshold that can fail a document what it is compared with, in the order in which a filter's rules are tried."""

UNSPACED_LANGUAGES = frozenset({"zh", "wuu", "yue", "ja", "th", "lo", "km", "my", "bo", "dz"})
"""Written without spaces between words: rules that count words are not applied to them."""


def known_thresholds() -> dict[str, Threshold]:
    """Every threshold by its name, with its default."""
    return {f"{name}.{field}": value for name, group in FILTERS.items() for field, value in asdict(group()).items()}


def chosen_thresholds(filters: tuple[str, ...], changes: Mapping[str, Threshold]) -> dict[str, Threshold]:
    """The thresholds of the chosen filters, changed as asked; raises DataError for what cannot be meant."""
    for name in filters:
        if name not in FILTERS:
            raise DataError(f"quality filter {name!r} is not known{nearest(name, FILTERS)}; known: {', '.join(FILTERS)}")
    known = known_thresholds()
    for name, value in changes.items():
        if name not in known:
            chosen = [one for one in known if one.split(".")[0] in filters] or list(known)
            raise DataError(
                f"data.quality.thresholds has {name!r}, which is not known{nearest(name, chosen)}; "
                f"there are {', '.join(chosen)}"
            )
        if name.split(".")[0] not in filters:
            raise DataError(
                f"data.quality.thresholds: {name}={value} has no effect, as its filter is not among {list(filters)}; add it"
            )
        off = value is None and name not in PARAMETERS
        if not off and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf")):
            remedy = (
                "a number of at least 0"
                if name in PARAMETERS
                else "a number of at least 0; one that is never met switches the rule off"
            )
            raise DataError(f"data.quality.thresholds: {name}={value!r} is not a number of at least 0; give {remedy}")
    return {name: value for name, value in (known | dict(changes)).items() if name.split(".")[0] in filters}


def nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {close[0]!r}?" if close else ""
