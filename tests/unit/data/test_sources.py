"""Reading every kind of source, and what each says of an input that is wrong."""

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tasks.data.sources import LONGEST_TEXT, Meter, read_rows, read_text, string_at
from tasks.errors import DataError


def rows(source: str, path: Path, *columns: str) -> list[tuple]:
    columns = columns or ("text",)
    return [tuple(string_at(row, c) for c in columns) for row in read_rows(source, str(path), columns, "data.path", Meter())]


def texts(path: Path) -> list[str]:
    return [text.strip() for text in read_text(str(path), "data.path", Meter())]


def test_three_blank_lines_separate_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\n\nI\n\n\nfirst\npart\n\nstill\n \n\t\n\nsecond\r\n\r\n\r\n\r\n\r\n\r\nthird")
    assert texts(tmp_path / "a.txt") == ["I\n\n\nfirst\npart\n\nstill", "second", "third"]


def test_each_file_of_a_folder_is_a_document_in_the_order_of_names(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.md", ".hidden.txt", "d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(tmp_path) == ["a.txt", "b.txt", "sub/c.md"]


def test_a_long_text_is_cut_between_paragraphs_and_nothing_is_lost(tmp_path):
    paragraphs = [f"paragraph {n} " + "word " * 200 for n in range(100)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    found = list(read_text(str(tmp_path / "a.txt"), "data.path", Meter()))
    assert len(found) > 2
    assert "".join(found) == "\n\n".join(paragraphs)
    assert all(len(text) < LONGEST_TEXT + 2000 and text.startswith("paragraph") for text in found)
    (tmp_path / "b.txt").write_text("line\n" * (LONGEST_TEXT // 2))
    assert max(len(text) for text in read_text(str(tmp_path / "b.txt"), "data.path", Meter())) <= 2 * LONGEST_TEXT + 5


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,n\nhello,1\n")
    assert rows("csv", tmp_path / "a.csv") == [("hello",)]


def test_csv_fields_may_hold_commas_and_line_ends(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], ["one,\ntwo", "x"], ['"quoted"', "y"]])
    assert rows("csv", tmp_path / "a.csv", "text", "label") == [("one,\ntwo", "x"), ('"quoted"', "y")]


def test_parquet_is_read_over_batches_and_string_types(tmp_path):
    wanted = [f"row {n}" for n in range(2500)]
    kinds = [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())]
    for number, kind in enumerate(kinds):
        table = pyarrow.table({"text": pyarrow.array(wanted).cast(kind), "n": range(2500)})
        pyarrow.parquet.write_table(table, tmp_path / f"{number}.parquet", row_group_size=1000)
    meter = Meter()
    found = [row.values["text"] for row in read_rows("parquet", str(tmp_path), ("text",), "data.path", meter)]
    assert found == wanted * 3
    assert meter.fraction == 1.0


def test_blank_lines_of_jsonl_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": "b"}')
    assert rows("jsonl", tmp_path / "a.jsonl") == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"good\nbad \xe9 byte\n", ["a.txt is not valid UTF-8 at byte 9", "0xe9", "line 2", "iconv"]),
        ("a.txt", b"ends in the middle \xe2\x82", ["at byte 19"]),
        ("b.txt", b"\x1f\x8b\x08rest", ["compressed with gzip", "unpack"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ["a.jsonl line 2", "not valid JSON"]),
        ("a.jsonl", b'[1, 2]\n', ["line 1", "JSON list", "one JSON object"]),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', ["column 'text'", "line 1", "'body', 'n'"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}\n', ["line 2", "column 'text' is int 5", "no text"]),
        ("a.jsonl", b'{"text": null}\n', ["NoneType None"]),
        ("a.jsonl", b"[" * 100_000, ["line 1", "not valid JSON"]),
        ("a.csv", b"body,n\na,1\n", ["column 'text' is not in", "a.csv", "'body', 'n'"]),
        ("a.csv", b"text,n\na,1\nb\n", ["line 3 has 1 fields", "header has 2"]),
        ("a.csv", b'text,n\n"a"b,1\n', ["line 2", "not valid CSV"]),
        ("a.parquet", b"PAR1 but not really", ["no Parquet file"]),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_place(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        texts(path) if path.suffix == ".txt" else rows(path.suffix[1:], path)
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_parquet_is_named_with_its_row(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["a"]}), path)
    with pytest.raises(DataError, match=r"column 'text' is not in .*a\.parquet, which has 'body'"):
        rows("parquet", path)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None]}), path)
    with pytest.raises(DataError, match=r"a\.parquet row 2 column 'text' is NoneType"):
        rows("parquet", path)
    pyarrow.parquet.write_table(pyarrow.table({"text": [3, 4]}), path)
    with pytest.raises(DataError, match=r"row 1 column 'text' is int 3"):
        rows("parquet", path)
    bad = pyarrow.array([b"good", b"\xff"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), path)
    with pytest.raises(DataError, match=r"a\.parquet holds text that is not valid UTF-8"):
        rows("parquet", path)


def test_a_line_that_does_not_fit_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.data.sources.MAX_LINE_BYTES", 100)
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x" * 200}))
    with pytest.raises(DataError, match=r"line 1 is longer than 100 bytes"):
        rows("jsonl", tmp_path / "a.jsonl")


def test_the_meter_ends_at_one(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n\n\ntwo\n")
    (tmp_path / "b.txt").write_text("three\n")
    meter = Meter()
    fractions = [meter.fraction for _ in read_text(str(tmp_path), "data.path", meter)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
