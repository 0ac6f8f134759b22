"""Rows as candidates: what is a label, where columns lie, how CSV is divided, and what the first row already tells."""

import csv
import gzip

import pyarrow
import pyarrow.parquet
import pytest

from tasks.config.examples import ExamplesConfig
from tasks.data.example_rows import Asked, check_first_rows, first_sentences, read_candidates
from tasks.data.sources.streams import Meter
from tasks.record.errors import DataError

SECTION = "finetune[topic].examples"


def read(path, source="jsonl", kind="classification", **settings) -> list[tuple[str, str]]:
    """Text and label, or prompt and answer, of every row."""
    asked = Asked(ExamplesConfig(source=source, path=str(path), **settings), kind, SECTION)
    return [tuple(one.example.values())[1:] for one in read_candidates(asked, "path", Meter())]


def message(path, source="jsonl", kind="classification", **settings) -> str:
    """What is wrong, which the first row has told before."""
    with pytest.raises(DataError) as found:
        read(path, source, kind, **settings)
    with pytest.raises(DataError) as early:
        check_first_rows(ExamplesConfig(source=source, path=str(path), **settings), kind, SECTION)
    assert str(early.value) == str(found.value)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    ("labels", "value", "label"),
    [
        (None, 3, "3"),
        (None, -1, "-1"),
        (None, " yes ", "yes"),
        (None, True, "true"),
        (None, False, "false"),
        (["neg", "pos"], 0, "neg"),
        (["neg", "pos"], 1, "pos"),
        (["neg", "pos"], "1", "pos"),
        (["neg", "pos"], "neg", "neg"),
        (["1", "2"], 1, "1"),
        (["false", "true"], True, "true"),
    ],
)
def test_a_label_is_text_or_a_number_by_name_or_by_place(jsonl, labels, value, label):
    assert read(jsonl([{"text": "a", "label": value}]), labels=labels) == [("a", label)]


@pytest.mark.parametrize(
    ("labels", "value", "words"),
    [
        (
            None,
            3.0,
            "column 'label' is the number 3.0, and a label is text or a whole number; write 3.0 as 3, and give what is",
        ),
        (None, 4.5, "column 'label' is the number 4.5, and a label is text or a whole number"),
        (None, None, "column 'label' is NoneType None, which is no label; give text or a whole number, or remove the row"),
        (None, " ", "column 'label' is str ' ', which is no label"),
        (None, ["a"], "column 'label' is list ['a'], which is no label"),
        (
            ["neg", "pos"],
            2,
            f"has label 2, and {SECTION}.labels=['neg', 'pos'] are numbered from 0 to 1; correct the row or add",
        ),
        (["neg", "pos"], -1, "has label -1, and"),
        (["1", "2"], 0, f"has label '0', which is not in {SECTION}.labels=['1', '2']; correct the row or add the label"),
        (["neg", "pos"], True, "has label 'true', which is not in"),
    ],
)
def test_what_is_no_label_gets_a_sentence(jsonl, labels, value, words):
    path = jsonl([{"text": "a", "label": value}])
    found = message(path, labels=labels)
    assert found.startswith(f"{path} line 1 ")
    assert words in found


def test_values_inside_of_others_are_reached_by_a_path(jsonl, tmp_path):
    rows = [
        {"review": {"body": "good", "stars": {"n": 5}}, "turns": [{"text": "hi"}, {"text": "ho"}], "a.b": "whole"},
        {"review": {"body": "bad", "stars": {"n": 1}}, "turns": [{"text": "hm"}, {"text": "oh"}], "a.b": "name"},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for source, path in (("jsonl", jsonl(rows)), ("parquet", tmp_path / "rows.parquet")):
        columns = {"text_column": "review.body", "label_column": "review.stars.n"}
        assert read(path, source, **columns) == [("good", "5"), ("bad", "1")]
        turns = {"prompt_column": "turns.0.text", "answer_column": "turns.1.text"}
        assert read(path, source, "instruction", **turns) == [("hi", "ho"), ("hm", "oh")]
        assert read(path, source, text_column="a.b", label_column="turns.0.text") == [("whole", "hi"), ("name", "hm")]
        found = message(path, source, text_column="review.title", label_column="a.b")
        assert found.startswith(f"column 'review.title' is not in {path}")
        assert "'review' has 'body', 'stars', and there is no 'title' in it" in found
        assert f"; set {SECTION}.text_column to a path that every row has" in found
        assert "which has no parts, and there is no 'x'" in message(
            path, source, text_column="a.b", label_column="review.body.x"
        )
        assert f"; set {SECTION}.label_column to one of them" in message(path, source, text_column="a.b", label_column="stars")


def write_csv(path, delimiter, *rows):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


ROWS = (["one; two, three", "x"], ["four\nfive", "y"])


@pytest.mark.parametrize(("name", "delimiter", "settings"), [
    ("a.csv", ",", {}), ("a.csv", ";", {"delimiter": ";"}), ("a.csv", "|", {"delimiter": "|"}),
    ("a.txt", "\t", {"delimiter": "\t"}), ("a.tsv", "\t", {}), ("a.TSV", ",", {"delimiter": ","}),
])  # fmt: skip
def test_fields_are_divided_as_the_setting_or_the_name_says(tmp_path, name, delimiter, settings):
    path = write_csv(tmp_path / name, delimiter, ["text", "label"], *ROWS)
    assert read(path, "csv", **settings) == [tuple(row) for row in ROWS]


def test_a_folder_has_files_of_both_names(tmp_path):
    write_csv(tmp_path / "a.csv", ",", ["text", "label"], ROWS[0])
    write_csv(tmp_path / "b.tsv", "\t", ["label", "text"], ROWS[1][::-1])
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress(b"text\tlabel\nsix\tz\n"))
    assert read(tmp_path, "csv") == [*(tuple(row) for row in ROWS), ("six", "z")]


def test_without_a_header_columns_have_numbers_or_the_names_that_were_given(tmp_path):
    path = write_csv(tmp_path / "a.csv", ",", *ROWS)
    wanted = [tuple(row) for row in ROWS]
    assert read(path, "csv", header=False, text_column="1", label_column="2") == wanted
    assert read(path, "csv", header=False, columns=["text", "label"]) == wanted
    found = message(path, "csv", header=False)
    assert found == f"column 'text' is not in {path}, which has '1', '2'; set {SECTION}.text_column to one of them"
    found = message(path, "csv", header=False, columns=["id", "text", "label"])
    assert found == (
        f"{path} has 2 fields in its first row, and {SECTION}.columns=['id', 'text', 'label'] names 3; name each of them"
    )
    path.write_text("one,x\ntwo\n")
    with pytest.raises(DataError, match=r"a\.csv line 2 \(byte 6\) has 1 fields and the first row has 2; quote fields"):
        read(path, "csv", header=False, columns=["text", "label"])


@pytest.mark.parametrize(("delimiter", "shown"), [(";", '";"'), ("|", '"|"')])
def test_a_wrong_delimiter_is_told_with_the_likely_one(tmp_path, delimiter, shown):
    path = write_csv(tmp_path / "b.csv", delimiter, ["text", "label"], ["a", "b"])
    found = message(path, "csv")
    assert found.startswith(f"column 'text' is not in {path}, whose first row is one field, '")
    assert found.endswith(f'when divided by ",", but has {shown} in it; set {SECTION}.delimiter={shown}')
    assert "first row is one field" in message(path, "csv", header=False, text_column="1", label_column="2")


def test_tabs_are_told_by_the_content_whatever_the_file_is_called(tmp_path):
    path = write_csv(tmp_path / "b.csv", "\t", ["text", "label"], ["a", "b"])
    assert read(path, "csv") == [("a", "b")]


def test_the_first_row_of_the_test_file_is_looked_at_too_and_only_that(jsonl):
    good = jsonl([{"text": "a", "label": "x"}, {"wrong": 1}], "good.jsonl")
    bad = jsonl([{"text": "a", "topic": "x"}], "bad.jsonl")
    settings = ExamplesConfig(source="jsonl", path=str(good), test_path=str(good))
    check_first_rows(settings, "classification", SECTION)
    with pytest.raises(
        DataError, match=rf"column 'label' is not in {bad} line 1, which has 'text', 'topic'; set finetune\[topic"
    ):
        check_first_rows(settings.model_copy(update={"test_path": str(bad)}), "classification", SECTION)
    check_first_rows(ExamplesConfig(), "classification", SECTION)


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
