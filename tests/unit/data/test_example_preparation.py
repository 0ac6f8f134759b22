"""Frozen examples: who is in the test set, what is dropped, and what is refused."""

import bisect
import csv
import json

import pytest

from tasks.data.documents.cleaning import clean, is_held_out, text_digest
from tasks.data.example_preparation import first_sentences
from tasks.data.sources.read import read_rows
from tasks.data.sources.streams import Meter
from tasks.data.tokens.examples import read_examples
from tasks.record.manifest import verify
from tests.kit.preparations import manifest_of, message_of, sentences


def labelled_rows(count: int) -> list[dict]:
    return [{"text": text, "label": f"label {n % 3}"} for n, text in enumerate(sentences(count))]


def ids(stage, manifest, split) -> list[str]:
    return [example["id"] for example in read_examples(stage.path, manifest, split)]


def test_classification_examples_are_split_sorted_and_counted(examples, jsonl):
    rows = labelled_rows(300)
    rows += [rows[0], {"text": rows[1]["text"], "label": "label 2"}, {"text": " ", "label": "label 0"}]
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(rows)), test_fraction=0.2))
    verify(stage.path, manifest)
    train, test = (read_examples(stage.path, manifest, split) for split in ("train", "test"))
    assert [e["id"] for e in train] == sorted(e["id"] for e in train)
    assert {e["text"] for e in train + test} == {row["text"] for row in rows[:300]}
    assert not {e["text"] for e in train} & {e["text"] for e in test}
    assert all(set(e) == {"id", "text", "label"} for e in train + test)
    metrics, details = manifest.metrics, manifest.details
    assert (metrics["read_examples"], metrics["kept_examples"]) == (303, 300)
    assert (metrics["train_examples"], metrics["test_examples"]) == (len(train), len(test))
    assert len(test) == pytest.approx(60, abs=25)
    assert details["dropped"] == {"conflicting_label": 1, "duplicate": 1, "empty": 1}
    assert details["labels"] == ["label 0", "label 1", "label 2"]
    counts = details["label_counts"]
    assert details["majority_label"] == max(sorted(counts["train"]), key=counts["train"].get)
    share = sum(e["label"] == details["majority_label"] for e in test) / len(test)
    assert metrics["majority_share"] == share
    card = (stage.path / "data_card.md").read_text()
    assert "303 examples read = 300 kept + 3 dropped + 0 quarantined." in card
    assert f"is right for {share:.2%} of the test set" in card


def test_the_order_of_the_rows_does_not_matter(examples, jsonl):
    forward = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100), "a.jsonl"))))
    backward = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100)[::-1], "b.jsonl"))))
    payload = [[(f.path, f.sha256) for f in manifest.files if f.path.endswith("jsonl")] for _, manifest in (forward, backward)]
    assert payload[0] == payload[1]


def test_max_examples_cuts_the_train_set_by_hash_and_leaves_the_test_set(examples, jsonl):
    path = str(jsonl(labelled_rows(300)))
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=path))
    small_stage, small = manifest_of(examples("classification", source="jsonl", path=path, max_examples=50))
    assert ids(small_stage, small, "test") == ids(stage, manifest, "test")
    assert ids(small_stage, small, "train") == ids(stage, manifest, "train")[:50]
    assert small.details["dropped"] == {"over_max_examples": manifest.metrics["train_examples"] - 50}
    assert small.metrics["read_examples"] == small.metrics["kept_examples"] + small.details["dropped"]["over_max_examples"]


def test_columns_can_be_named_and_labels_be_numbers(examples, jsonl, tmp_path):
    rows = [{"question": row["text"], "class": n % 2} for n, row in enumerate(labelled_rows(100))]
    named = {"text_column": "question", "label_column": "class"}
    _, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(rows)), **named))
    assert manifest.details["labels"] == ["0", "1"]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "class"], *(list(row.values()) for row in rows)])
    _, manifest = manifest_of(examples("classification", source="csv", path=str(tmp_path / "rows.csv"), **named))
    assert manifest.details["labels"] == ["0", "1"]


def test_permitted_labels_are_kept_also_where_one_does_not_occur(examples, jsonl):
    labels = ["label 2", "label 1", "label 0", "label 9"]
    _, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100))), labels=labels))
    assert manifest.details["labels"] == sorted(labels)


def test_a_label_that_is_not_permitted_is_named(examples, jsonl):
    path = str(jsonl([*labelled_rows(50), {"text": "strange", "label": "other"}]))
    message = message_of(examples("classification", source="jsonl", path=path, labels=["label 0", "label 1", "label 2"]))
    assert "rows.jsonl line 51 has label 'other'" in message
    assert "examples.labels=['label 0', 'label 1', 'label 2']" in message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": t, "label": "one"} for t in sentences(50)], "has 1 label in column 'label' (['one']); classification needs"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "too few examples to split: 2 kept of 2 read"),
        ([{"text": "a", "topic": "x"}], "column 'label' is not in"),
        ([{"text": "a", "label": None}], "line 1 column 'label' is NoneType None, which is no label"),
        ([{"text": "a", "label": " "}], "which is no label"),
        ([{"text": ["a"], "label": "x"}], "line 1 column 'text' is list ['a'], which is no text"),
    ],
)
def test_rows_that_cannot_be_examples_are_refused(examples, jsonl, rows, words):
    assert words in message_of(examples("classification", source="jsonl", path=str(jsonl(rows))))


def test_the_same_prompt_is_never_on_both_sides(examples, jsonl):
    rows = [{"prompt": f"question {n % 40}", "answer": f"answer {n}"} for n in range(200)]
    rows += [rows[0], {"prompt": "question", "answer": "\n"}]
    stage, manifest = manifest_of(examples("instruction", source="jsonl", path=str(jsonl(rows)), test_fraction=0.3))
    train, test = (read_examples(stage.path, manifest, split) for split in ("train", "test"))
    assert len(train) + len(test) == 200
    assert not {e["prompt"] for e in train} & {e["prompt"] for e in test}
    assert all(set(e) == {"id", "prompt", "answer"} for e in train + test)
    assert manifest.details["dropped"] == {"duplicate": 1, "empty": 1}
    assert "majority_share" not in manifest.metrics


def test_the_same_fraction_keeps_the_same_pages_of_the_sample_out_of_everything(examples):
    pages = {clean(row.values["text"]) for row in read_rows("sample", None, ("text",), "data.path", Meter())}
    sides = {"heldout": {page for page in pages if is_held_out(text_digest(page), 0.1)}}
    sides["train"] = pages - sides["heldout"]
    stage, manifest = manifest_of(examples("classification", test_fraction=0.1))
    texts = {split: {e["text"] for e in read_examples(stage.path, manifest, split)} for split in ("train", "test")}
    assert texts["test"] < sides["heldout"]
    assert texts["train"] < sides["train"]
    assert len(manifest.details["labels"]) == 11
    assert manifest.details["dropped"] == {"no_topic": 1000}
    assert sum(len(found) for found in texts.values()) == 9033
    stage, manifest = manifest_of(examples("instruction", test_fraction=0.1))
    for split, side in (("train", "train"), ("test", "heldout")):
        beginnings = sorted(" ".join(text.split()) for text in sides[side])
        for answer in (e["answer"] for e in read_examples(stage.path, manifest, split)):
            at = bisect.bisect_left(beginnings, answer)
            assert beginnings[at].startswith(answer)


def test_answers_of_the_sample_are_whole_sentences(examples):
    stage, manifest = manifest_of(examples("instruction"))
    found = read_examples(stage.path, manifest, "train")
    assert len(found) > 7000
    assert all(e["prompt"].startswith("What is ") and e["prompt"].endswith("?") for e in found)
    assert max(len(e["answer"]) for e in found) <= 200
    whole = sum(e["answer"][-1] in ".!?\"')" for e in found)
    assert whole > 0.999 * len(found)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("One is here. Two is there. Three comes after.", "One is here. Two is there."),
        ("J. S. Bach was a composer of music. He was German and wrote.", "J. S. Bach was a composer of music."),
        ("He said \"yes.\" Then he went to the U.S. Army and stayed on.", "He said \"yes.\""),
        ("A short text", "A short text"),
        ("It is about 3.5 metres long and lives in the sea without any fear.", ""),
        ("Dr. Who\n\nis a series. It is long and British indeed.", "Dr. Who is a series."),
    ],
)  # fmt: skip
def test_sentences_are_found(text, answer):
    assert first_sentences(text, 40) == answer


def test_a_set_that_was_tampered_with_is_noticed(examples, jsonl):
    from tasks.record.errors import IntegrityError

    stage, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100)))))
    lines = (stage.path / "test.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[0])["id"]
    (stage.path / "test.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(IntegrityError, match="manifest says"):
        read_examples(stage.path, manifest, "test")
