"""What is kept and why the rest is dropped: each filter alone, their order, and all of them in the card."""

import pytest

from tasks.config.data import DataConfig
from tasks.data.documents.cleaning import text_digest
from tasks.data.filters import SAMPLED_LANGUAGES, DocumentFilter
from tasks.data.sources.read import RawDocument
from tasks.record.errors import DataError
from tests.kit.preparations import card_of, kept_texts, manifest_of, message_of, no_report, sentences, stories

GERMAN = [
    f"Der alte Mann geht am {n}. Tag des Monats mit seinem Hund durch den Wald und freut sich über das schöne Wetter."
    for n in range(12)
]


def taken(texts: list[str], **data) -> tuple[list[str], DocumentFilter]:
    documents = DocumentFilter(DataConfig.model_validate(data), no_report)
    kept = [document.text for document in documents.take([RawDocument(text, f"f line {n}") for n, text in enumerate(texts, 1)])]
    documents.counts.check()
    return kept, documents


def test_documents_are_cleaned_and_known_by_their_digest():
    documents = DocumentFilter(DataConfig(), no_report)
    (found,) = documents.take([RawDocument("e\u0301 \r\n", "f line 1")])
    assert (found.text, found.where, found.digest) == ("é", "f line 1", text_digest("é"))


def test_short_and_empty_ones_are_dropped_with_their_place():
    kept, documents = taken(["long enough", " \n", "no", "\x00"], min_characters=3)
    assert kept == ["long enough"]
    assert documents.counts.dropped == {"empty": 2, "too_short": 1}
    assert documents.counts.examples["too_short"] == [{"where": "f line 3", "beginning": "no"}]


def test_only_the_wanted_languages_are_kept():
    texts = [*stories(5), *GERMAN]
    kept, documents = taken(texts, quality={"languages": ["en"]})
    assert kept == texts[:5]
    assert documents.counts.dropped == {"language": 12}
    assert taken(texts, quality={"languages": ["de"]})[0] == texts[5:]
    assert len(taken(texts, quality={"languages": ["de", "en"]})[0]) == 17
    assert taken(texts, quality={"languages": ["en", "de"], "min_language_probability": 1.0})[1].counts.kept < 17


def test_where_nothing_depends_on_the_language_it_is_asked_of_a_sample():
    documents = DocumentFilter(DataConfig(), no_report)
    found = list(documents.take([RawDocument(text, "") for text in sentences(200)]))
    assert {d.language for d in found if d.digest[-1] % SAMPLED_LANGUAGES} == {""}
    assert "" not in {d.language for d in found if not d.digest[-1] % SAMPLED_LANGUAGES}


def test_a_rule_that_is_not_kept_is_the_reason():
    quality = {"filters": ["gopher_quality"], "thresholds": {"gopher_quality.min_words": 30}}
    kept, documents = taken([*stories(4), "The cat and the dog."], quality=quality)
    assert kept == stories(4)
    assert documents.counts.dropped == {"gopher_quality.min_words": 1}


def test_a_threshold_that_does_not_exist_is_refused():
    with pytest.raises(DataError, match=r"gopher_quality\.min_wards"):
        taken([], quality={"filters": ["gopher_quality"], "thresholds": {"gopher_quality.min_wards": 30}})


def test_boilerplate_goes_before_the_length_is_looked_at():
    page = "The cat sees the dog.\nThis site uses cookies.\nSign in\nIt says hello."
    kept, documents = taken([page, "All rights reserved."], quality={"remove_boilerplate": True})
    assert kept == ["The cat sees the dog.\nIt says hello."]
    assert documents.changes["boilerplate_lines"] == 3
    assert documents.counts.dropped == {"empty": 1}
    assert taken([page])[0] == [page]


def test_wrongly_decoded_text_is_repaired_where_that_is_asked_for():
    wrong = "The naïve café".encode().decode("latin-1")
    kept, documents = taken([wrong, "plain"], quality={"fix_unicode": True})
    assert kept == ["The naïve café", "plain"]
    assert documents.changes["repaired_documents"] == 1
    assert taken([wrong])[0] == ["The naÃ¯ve cafÃ©"]


def quiz(jsonl, texts: list[str], **settings) -> dict:
    path = str(jsonl([{"question": text, "answer": "yes"} for text in texts], "quiz.jsonl"))
    sets = [{"name": "quiz", "path": path, "text_columns": ["question", "answer"]}]
    return {"evaluations": sets, **settings}


def test_evaluation_text_is_dropped_and_items_are_counted(jsonl):
    texts = stories(6)
    items = [texts[2][20:180], "Too short to look for", stories(40)[39]]
    kept, documents = taken(texts, decontamination=quiz(jsonl, items))
    assert kept == [*texts[:2], *texts[3:]]
    assert documents.counts.dropped == {"contaminated.quiz": 1}
    assert documents.contamination == {"quiz": 1}
    assert documents.touched.tolist() == [True, False, False]
    assert documents.evaluations() == [{"name": "quiz", "items": 3, "searched": 2}]


def test_evaluation_text_can_end_the_preparation(jsonl):
    texts = stories(6)
    with pytest.raises(DataError) as found:
        taken(texts, decontamination=quiz(jsonl, [texts[2]], action="fail", ngram=10))
    assert str(found.value).startswith("f line 3 contains text of the evaluation set 'quiz' (")
    assert str(found.value).endswith(" n-grams of 10 words); remove it, or set data.decontamination.action='drop'")


def test_everything_that_is_dropped_is_in_the_card(prepared, jsonl):
    texts = stories(60)
    near = texts[5].replace("says", "said", 1)
    page = texts[6] + "\nThis site uses cookies."
    rows = [*texts, texts[0], near, *GERMAN, "The cat is on the mat and the dog is in the house with the owl.", " ", page]
    data = {
        "source": "jsonl", "path": str(jsonl([{"text": t} for t in rows])), "heldout_fraction": 0.2,
        "quality": {
            "languages": ["en"], "filters": ["gopher_quality"], "remove_boilerplate": True, "min_language_probability": 0.1,
        },
        "decontamination": quiz(jsonl, [texts[7]]),
    }  # fmt: skip
    result = stage, manifest = manifest_of(prepared(data))
    assert kept_texts(result) == set(texts) - {texts[7]}
    details, metrics = manifest.details, manifest.metrics
    dropped = {"contaminated.quiz": 1, "duplicate": 2, "empty": 1, "gopher_quality.min_words": 1, "language": 12}
    assert details["dropped"] == dropped | {"near_duplicate": 1}
    assert details["changes"] == {"boilerplate_lines": 1}
    assert details["contamination"] == {"quiz": {"items": 1, "items looked for": 1, "items found": 1, "documents dropped": 1}}
    assert details["languages"] == {"en": 59}
    assert [metrics[f"{what}_documents"] for what in ("read", "kept", "dropped", "quarantined")] == [77, 59, 18, 0]
    card = card_of(stage)
    assert "77 documents read = 59 kept + 18 dropped + 0 quarantined." in card
    for reason, number in details["dropped"].items():
        assert f"| `{reason}` | {number} |" in card, reason
    assert "- `language`, rows.jsonl line 63: “Der alte Mann" in card
    assert "| `quiz` | 1 | 1 | 1 | 1 |" in card
    assert "- `near_duplicate`, rows.jsonl line 62: like rows.jsonl line 6, Jaccard similarity 0.908" in card


def test_a_preparation_that_fails_on_evaluation_text_says_where(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in stories(9)]))}
    message = message_of(prepared(data | {"decontamination": quiz(jsonl, [stories(9)[4]], action="fail")}))
    assert message.startswith("rows.jsonl line 5 contains text of the evaluation set 'quiz' (")


def test_an_evaluation_set_that_could_never_be_found_is_refused(jsonl):
    path = str(jsonl([{"text": "too short to be found"}, {"text": "this too"}], "quiz.jsonl"))
    data = DataConfig(decontamination={"evaluations": [{"name": "quiz", "path": path}]})
    with pytest.raises(DataError) as found:
        DocumentFilter(data, lambda fraction, message: None)
    assert str(found.value) == (
        "data.decontamination.evaluations[quiz] has 2 items, and none of them has the 8 words that it takes to be found; "
        "name other text_columns, or remove the set"
    )
