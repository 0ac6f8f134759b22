"""Which documents the rules drop: as datatrove does, by threshold, by language, one at a time or in batches."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.ngrams import text_buffers
from tasks.data.quality.judge import QualityRules
from tasks.data.quality.rules import FILTERS, MEASURES
from tasks.record.errors import DataError
from tests.kit.quality_texts import STORY, TEXTS, VERDICTS

AS_DATATROVE = {"gopher_quality.min_alphabetic_tokens": 0.8, "gopher_quality.min_alphabetic_words": 0}
DATATROVE_REASONS = {
    "gopher_short_doc": "min_words",
    "gopher_below_avg_threshold": "min_word_characters",
    "gopher_above_avg_threshold": "max_word_characters",
    "gopher_too_many_hashes": "max_hashes_per_word",
    "gopher_too_many_ellipsis": "max_ellipses_per_word",
    "gopher_too_many_bullets": "max_bullet_lines",
    "gopher_too_many_end_ellipsis": "max_ellipsis_lines",
    "gopher_enough_stop_words": "min_stop_words",
    "gopher_below_alpha_threshold": "min_alphabetic_tokens",
    "dup_line_frac": "max_duplicate_lines",
    "dup_para_frac": "max_duplicate_paragraphs",
    "top_2_gram": "max_top_2_gram_characters",
    "top_3_gram": "max_top_3_gram_characters",
    "top_4_gram": "max_top_4_gram_characters",
    "duplicated_5_n_grams": "max_duplicate_5_gram_characters",
    "too_few_sentences": "min_sentences",
    "curly_bracket": "max_curly_bracket_lines",
    "lorem_ipsum": "max_lorem_ipsum_lines",
    "line_punct_ratio": "min_terminated_lines",
    "short_line_ratio": "max_short_lines",
    "char_dup_ratio": "max_duplicate_line_characters",
}
OTHERWISE = {("cited", "gopher_quality"): "gopher_quality.min_alphabetic_tokens"}
"""To spaCy "ours.[12" at the end of a line is one word, here it is four tokens."""


@pytest.mark.parametrize("chosen", FILTERS)
def test_verdicts_and_reasons_are_those_of_datatrove(chosen):
    rules = QualityRules((chosen,), AS_DATATROVE if chosen == "gopher_quality" else {})
    for name, text in TEXTS.items():
        theirs = VERDICTS[name][list(FILTERS).index(chosen)]
        expected = OTHERWISE.get((name, chosen), theirs and f"{chosen}.{DATATROVE_REASONS[theirs]}")
        assert rules.judge(text.strip()) == expected, name


def test_every_reason_of_datatrove_is_in_the_texts():
    assert {verdict for verdicts in VERDICTS.values() for verdict in verdicts if verdict} == set(DATATROVE_REASONS)


def test_a_batch_is_judged_as_its_documents_are_whatever_stands_beside_them():
    rules = QualityRules(tuple(FILTERS))
    texts = ["", "\n \n", *TEXTS.values(), "é中𝄞" * 50]
    codes = rules.judge_batch(*text_buffers(pa.array(texts, type=pa.large_string())), "en")
    assert codes.dtype == np.int16
    assert [rules.reasons[code] for code in codes] == [rules.judge(text) for text in texts]


def test_a_batch_may_be_empty_and_its_buffers_writable():
    rules = QualityRules(tuple(FILTERS))
    assert rules.judge_batch(np.zeros(0, np.uint8), np.zeros(1, np.int64), []).tolist() == []
    data, offsets = np.frombuffer(STORY.encode(), dtype=np.uint8).copy(), np.array([0, len(STORY)])
    assert rules.judge_batch(data, offsets, ["en"]).tolist() == [0]
    assert data.flags.writeable
    assert offsets.flags.writeable


def test_the_first_filter_that_fails_gives_the_reason():
    text = TEXTS["menu"]
    assert QualityRules(("fineweb", "c4")).judge(text) == "fineweb.min_terminated_lines"
    assert QualityRules(("c4", "fineweb")).judge(text) == "c4.min_sentences"
    assert QualityRules(()).judge("") is None


def test_thresholds_can_be_changed_and_switched_off():
    assert QualityRules(("gopher_quality",)).judge(TEXTS["short"]) == "gopher_quality.min_words"
    assert QualityRules(("gopher_quality",), {"gopher_quality.min_words": 10}).judge(TEXTS["short"]) is None
    assert QualityRules(("gopher_quality",), {"gopher_quality.min_words": None}).judge(TEXTS["short"]) is None
    assert QualityRules(("c4",), {"c4.min_words_per_line": 500}).judge(STORY) == "c4.min_sentences"
    assert QualityRules(("fineweb",), {"fineweb.short_line_characters": 500}).judge(STORY) == "fineweb.max_short_lines"


def test_a_limit_itself_is_allowed():
    limit = {"gopher_quality.min_words": 12, "gopher_quality.max_words": 12}
    text = "the cat and the dog of the house have to be there"
    assert QualityRules(("gopher_quality",), limit).judge(text) is None
    assert QualityRules(("gopher_quality",), limit).judge(f"{text} now") == "gopher_quality.max_words"
    assert QualityRules(("gopher_quality",), limit).judge(text[:-6]) == "gopher_quality.min_words"


def test_stop_words_are_asked_of_english_only_and_words_where_there_are_spaces():
    rules = QualityRules(("gopher_quality",))
    french = TEXTS["french"]
    assert rules.judge(french, "en") == "gopher_quality.min_stop_words"
    assert [rules.judge(french, language) for language in ("fr", "und", "")] == [None, None, None]
    chinese = "他们每天晚上都走到码头上去看过往的船只。" * 3
    assert rules.judge(chinese, "fr") == "gopher_quality.min_words"
    assert rules.judge(chinese, "zh") is None
    data, offsets = text_buffers(pa.array([french, french, chinese, chinese], type=pa.large_string()))
    assert (rules.judge_batch(data, offsets, ["en", "fr", "zh", "en"]) > 0).tolist() == [True, False, False, True]


def test_counts_have_the_columns_that_their_names_say():
    text = "One line, with a #tag.\nOne line, with a #tag.\n\nshort\n\nshort"
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    counts = QualityRules(tuple(FILTERS)).count(data, np.array([0, len(data)]))[0]
    assert counts["words"] == 12
    assert counts["tokens"] == 18
    assert (counts["hashes"], counts["pieces"], counts["characters"]) == (2, 12, len(text))
    assert (counts["newlines"], counts["all_lines"], counts["lines"]) == (5, 6, 4)
    assert (counts["duplicate_lines"], counts["duplicate_line_characters"]) == (2, 22 + 5)
    assert (counts["paragraphs"], counts["duplicate_paragraphs"], counts["duplicate_paragraph_characters"]) == (3, 1, 5)
    assert counts["line_characters"] == len(text) - 5


def test_tokens_of_one_character_each_are_all_counted():
    text = ". , " * 1000
    data = np.frombuffer(text.replace(" ", "").encode(), dtype=np.uint8)
    assert QualityRules(("gopher_quality",)).count(data, np.array([0, len(data)]))["tokens"].tolist() == [2000]


@pytest.mark.parametrize(
    "text", ["\ud800", "a \udfff b\n" * 100, "\x00\x01", "\u200d" * 100, "#" * 10_000, "\n" * 1000, "." * 999]
)
def test_odd_texts_are_judged_without_a_crash(text):
    reason = QualityRules(tuple(FILTERS)).judge(text)
    assert reason in MEASURES


@pytest.mark.parametrize(
    ("filters", "thresholds", "message"),
    [
        (("gopher",), {}, "quality filter 'gopher' is not known"),
        (("gopher_qualty",), {}, "did you mean 'gopher_quality'"),
        (("c4",), {"c4.min_sentence": 2}, "'c4.min_sentence', which is not known, did you mean 'c4.min_sentences'"),
        (("c4",), {"fineweb.max_short_lines": 1}, r"fineweb.max_short_lines=1 has no effect.* not among \['c4'\]"),
        (("c4",), {"c4.min_sentences": -1}, "c4.min_sentences=-1 is not a number of at least 0"),
        (("c4",), {"c4.min_sentences": float("nan")}, "min_sentences=nan is not a number"),
        (("c4",), {"c4.min_sentences": "3"}, "min_sentences='3' is not a number"),
        (("c4",), {"c4.min_words_per_line": None}, "min_words_per_line=None is not a number of at least 0; give a number"),
    ],
)
def test_settings_that_cannot_be_meant(filters, thresholds, message):
    with pytest.raises(DataError, match=message):
        QualityRules(filters, thresholds)
