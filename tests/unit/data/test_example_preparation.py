"""Frozen examples: who is in the test set, what is dropped, and what is refused."""

import bisect
import csv
import json
from pathlib import Path

import pytest

from tasks.data.documents.cleaning import clean, is_held_out, text_digest
from tasks.data.sources.read import read_rows
from tasks.data.sources.rows import Column
from tasks.data.sources.streams import Meter
from tasks.data.tokens.examples import read_examples
from tasks.record.manifest import verify
from tests.kit import real_data
from tests.kit.preparations import manifest_of, message_of, sentences

SECTION = "finetune[topic].examples"


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
    assert {e["text"] for e in train + test} == {row["text"] for row in rows[:300]} - {rows[1]["text"]}
    assert not {e["text"] for e in train} & {e["text"] for e in test}
    assert all(set(e) == {"id", "text", "label"} for e in train + test)
    metrics, details = manifest.metrics, manifest.details
    assert (metrics["read_examples"], metrics["kept_examples"]) == (303, 299)
    assert (metrics["train_examples"], metrics["test_examples"]) == (len(train), len(test))
    assert len(test) == pytest.approx(60, abs=25)
    assert details["dropped"] == {"conflicting_label": 2, "duplicate": 1, "empty": 1}
    assert details["labels"] == ["label 0", "label 1", "label 2"]
    counts = details["label_counts"]
    assert details["majority_label"] == max(sorted(counts["train"]), key=counts["train"].get)
    share = sum(e["label"] == details["majority_label"] for e in test) / len(test)
    assert metrics["majority_share"] == share
    card = (stage.path / "data_card.md").read_text()
    assert "303 examples read = 299 kept + 4 dropped + 0 quarantined." in card
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


def test_labels_stand_in_the_order_in_which_they_were_given(examples, jsonl):
    labels = ["label 2", "label 0", "label 1"]
    _, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100))), labels=labels))
    assert manifest.details["labels"] == labels
    assert set(manifest.details["label_counts"]["train"]) == set(labels)


def test_a_label_that_cannot_be_learned_is_named(examples, jsonl):
    path, labels = str(jsonl(labelled_rows(100))), ["label 2", "label 1", "label 9", "label 0"]
    message = message_of(examples("classification", source="jsonl", path=path, labels=labels))
    assert message == (
        f"finetune[topic].examples.labels={labels}: no training example has 'label 9', which cannot be learned; give examples "
        "of it or take it out of the labels"
    )


def test_a_label_that_is_not_permitted_is_named(examples, jsonl):
    path = str(jsonl([*labelled_rows(50), {"text": "strange", "label": "other"}]))
    message = message_of(examples("classification", source="jsonl", path=path, labels=["label 0", "label 1", "label 2"]))
    assert "rows.jsonl line 51 has label 'other'" in message
    assert "examples.labels=['label 0', 'label 1', 'label 2']" in message


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": t, "label": "one"} for t in sentences(50)], "has 1 label in column 'label' (['one']); classification needs"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], "gives 0 test examples of 2 with finetune[topic]."),
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
    pages = {clean(row.values["text"]) for row in read_rows("sample", None, (Column("text"),), "data.path", Meter())}
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


def test_a_test_file_of_its_own_is_the_test_set(examples, jsonl):
    rows = labelled_rows(300)
    train, test = str(jsonl(rows[:200], "train.jsonl")), str(jsonl([*rows[180:], rows[200]], "test.jsonl"))
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=train, test_path=test))
    texts = {split: {e["text"] for e in read_examples(stage.path, manifest, split)} for split in ("train", "test")}
    assert texts == {"train": {row["text"] for row in rows[:180]}, "test": {row["text"] for row in rows[180:]}}
    assert manifest.details["dropped"] == {"duplicate": 1, "in_test_file": 20}
    assert manifest.details["read"] == {"path": 200, "test_path": 121}
    assert manifest.metrics["read_examples"] == 321 == manifest.metrics["kept_examples"] + 21
    card = (stage.path / "data_card.md").read_text()
    assert (
        "The test set is a file of its own: 200 examples were read to train on, 121 to test on. 20 of the former were" in card
    )
    assert f"Files of the test set: 1, {Path(test).stat().st_size:,} bytes, SHA-256 over their digests `" in card


def test_a_prompt_of_the_test_file_is_not_trained_on_whatever_its_answer(examples, jsonl):
    rows = [{"prompt": f"question {n}", "answer": f"answer {n}"} for n in range(60)]
    test = [{"prompt": f"question {n}", "answer": "another answer"} for n in range(50, 90)]
    paths = {"path": str(jsonl(rows, "train.jsonl")), "test_path": str(jsonl(test, "test.jsonl"))}
    stage, manifest = manifest_of(examples("instruction", source="jsonl", **paths))
    assert {e["prompt"] for e in read_examples(stage.path, manifest, "train")} == {f"question {n}" for n in range(50)}
    assert manifest.details["dropped"] == {"in_test_file": 10}


def test_labels_that_only_the_test_file_has_are_named_with_their_numbers(examples, jsonl):
    test = [{"text": f"more {n}", "label": ("label 0", "new", "newer")[n % 3]} for n in range(31)]
    paths = {"path": str(jsonl(labelled_rows(90), "train.jsonl")), "test_path": str(jsonl(test, "test.jsonl"))}
    assert message_of(examples("classification", source="jsonl", **paths)) == (
        f"finetune[topic].examples.test_path={paths['test_path']!r} has labels that no training example has: 'new' (10 "
        "examples), 'newer' (10 examples); give training examples of them, or take them out of the test set"
    )


def test_the_same_test_file_elsewhere_is_the_same_request_and_another_is_not(examples, jsonl):
    rows = labelled_rows(200)
    path, one = str(jsonl(rows[:150], "train.jsonl")), str(jsonl(rows[150:], "one.jsonl"))
    same, other = str(jsonl(rows[150:], "same.jsonl")), str(jsonl(rows[151:], "other.jsonl"))
    stages = [examples("classification", source="jsonl", path=path, test_path=test)[1].path for test in (one, same, other)]
    assert stages[0] == stages[1] != stages[2]
    assert examples("classification", source="jsonl", path=path)[1].path not in stages


def test_too_few_test_examples_end_the_preparation_with_numbers_and_remedy(examples, jsonl):
    path = str(jsonl(labelled_rows(100)))
    found = message_of(examples("classification", source="jsonl", path=path, test_fraction=0.1, min_test_examples=30))
    number = found.partition(" gives ")[2].partition(" ")[0]
    assert 5 <= int(number) <= 20
    assert found == (
        f"{SECTION}.path={path!r} gives {number} test examples of 100 with {SECTION}.test_fraction=0.1, fewer than "
        f"{SECTION}.min_test_examples=30; set test_fraction to 0.38 or more, give more examples, or lower the minimum, if a "
        "measurement may be that uncertain"
    )
    few = str(jsonl(labelled_rows(120)[100:], "few.jsonl"))
    found = message_of(examples("classification", source="jsonl", path=path, test_path=few, min_test_examples=21))
    assert found.startswith(f"{SECTION}.test_path={few!r} has 20 test examples, fewer than {SECTION}.min_test_examples=21;")
    manifest_of(examples("classification", source="jsonl", path=path, test_path=few, min_test_examples=20))


def test_what_makes_a_measurement_doubtful_is_in_log_manifest_and_card(examples, jsonl, caplog):
    rows = [*labelled_rows(300), {"text": "alone", "label": "single"}]
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(rows)), test_fraction=0.3))
    number = manifest.metrics["test_examples"]
    assert manifest.details["warnings"] == [
        f"{number} test examples are few: an accuracy of them is uncertain by up to {98 / number**0.5:.0f} points to each side "
        "(95%); from 200 on nothing is said.",
        "1 of 4 labels have no test example, so that nothing is measured of them: 'single'.",
    ]
    assert manifest.details["untested_labels"] == ["single"]
    assert manifest.details["label_counts"]["train"]["single"] == 1
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == manifest.details["warnings"]
    card = (stage.path / "data_card.md").read_text()
    assert f"## To keep in mind\n\n- {number} test examples are few" in card
    assert "- 1 of 4 labels have no test example, so that nothing is measured of them" in card
    many = str(jsonl([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(900)], "many.jsonl"))
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=many, test_fraction=0.3))
    assert manifest.metrics["test_examples"] > 200
    assert manifest.details["warnings"] == []
    assert "## To keep in mind" not in (stage.path / "data_card.md").read_text()


def test_max_examples_never_takes_the_last_example_of_a_label(examples, jsonl):
    path = str(
        jsonl([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(900)] + [{"text": "rare one", "label": "rare"}])
    )
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=path))
    rare, order = text_digest("rare one").hex(), ids(stage, manifest, "train")
    before = order.index(rare)
    assert before >= 10, "max_examples can be so small"
    stage, manifest = manifest_of(examples("classification", source="jsonl", path=path, max_examples=before))
    assert ids(stage, manifest, "train") == [*order[: before - 1], rare]
    assert manifest.details["dropped"]["over_max_examples"] == len(order) - before


def test_fewer_examples_than_labels_are_refused(examples, jsonl):
    path = str(jsonl([{"text": f"text {n}", "label": f"label {n % 11}"} for n in range(900)]))
    message = message_of(examples("classification", source="jsonl", path=path, max_examples=10))
    assert message == "finetune[topic].examples.max_examples=10 is fewer than the 11 labels; give each at least one example"


def test_where_nothing_is_left_the_reasons_are_counted(examples, jsonl):
    path = str(jsonl([{"text": f"t {n // 2}", "label": str(n % 2)} for n in range(40)] + [{"text": "", "label": "0"}]))
    assert message_of(examples("classification", source="jsonl", path=path)) == (
        f"finetune[topic].examples.path={path!r} has no example: none of the 41 rows was kept (dropped: 40 conflicting_label, "
        "1 empty); mend the rows"
    )
    test = str(jsonl([{"text": "t", "label": "a"}], "test.jsonl"))
    message = message_of(examples("classification", source="jsonl", path=path, test_path=test))
    assert (
        "leaves nothing to train on beside 1 examples to test on (dropped: 40 conflicting_label, 1 empty); give more" in message
    )


def banking(name: str) -> dict[str, set[str]]:
    """The labels of each text of a file, as the csv module reads it."""
    found: dict[str, set[str]] = {}
    with real_data.folder("finetune", f"banking77_{name}.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["text"].strip(), set()).add(row["category"])
    return found


def test_a_published_set_with_its_own_test_file_is_what_the_csv_module_reads(examples):
    train, test = banking("train"), banking("test")
    paths = {name: str(real_data.folder("finetune", f"banking77_{name}.csv")) for name in ("train", "test")}
    settings = {"path": paths["train"], "test_path": paths["test"], "label_column": "category", "min_test_examples": 30}
    stage, manifest = manifest_of(examples("classification", source="csv", **settings))
    found = {name: {e["text"]: {e["label"]} for e in read_examples(stage.path, manifest, name)} for name in ("train", "test")}
    assert found["test"] == {text: labels for text, labels in test.items() if len(labels) == 1}
    assert found["train"] == {text: labels for text, labels in train.items() if len(labels) == 1 and text not in found["test"]}
    assert (len(manifest.details["labels"]), len(found["train"]), len(found["test"])) == (77, 9993, 3079)
    assert manifest.metrics["read_examples"] == 10_003 + 3_080


def test_every_label_of_a_published_set_is_tested_where_a_share_is_split_off(examples):
    path = str(real_data.folder("finetune", "banking77_train.csv"))
    settings = {"path": path, "label_column": "category", "test_fraction": 0.02}
    _, manifest = manifest_of(examples("classification", source="csv", **settings))
    assert len(manifest.details["label_counts"]["test"]) == 77
    assert manifest.details["untested_labels"] == []


def test_a_published_set_without_a_header_is_read(examples):
    path = real_data.folder("finetune", "ag_news", "ag_news_odd.csv")
    settings = {"header": False, "columns": ["topic", "title", "body"], "text_column": "title", "label_column": "topic"}
    _, manifest = manifest_of(examples("classification", source="csv", path=str(path), labels=["4", "3", "2", "1"], **settings))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert manifest.metrics["read_examples"] == len(rows) == 3800
    assert set(manifest.details["labels"]) == {row[0] for row in rows}


def test_a_set_that_was_tampered_with_is_noticed(examples, jsonl):
    from tasks.record.errors import IntegrityError

    stage, manifest = manifest_of(examples("classification", source="jsonl", path=str(jsonl(labelled_rows(100)))))
    lines = (stage.path / "test.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(lines[0])["id"]
    (stage.path / "test.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(IntegrityError, match="manifest says"):
        read_examples(stage.path, manifest, "test")
