"""Rows of CSV: quoted line ends, and each kind of bad row with its place."""

import csv

import pytest

from tasks.config.data import TextSource
from tasks.data.sources.csv_rows import CsvFormat, read_csv
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.rows import Column, Reading
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import input_units
from tasks.record.errors import DataError
from tests.kit.reading import read_all


def test_fields_may_hold_commas_and_line_ends(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "n"], ["one,\ntwo", "x"], ['"quoted"', "y"]])
    found = read_all("csv", tmp_path / "a.csv")
    assert found.texts == ["one,\ntwo", '"quoted"']
    assert [document.where for document in found.documents] == ["a.csv line 2", "a.csv line 4"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext,n\nhello,1\n")
    assert read_all("csv", tmp_path / "a.csv").texts == ["hello"]


BAD = (
    b"text,n\n"
    b"good,1\n"
    b"short\n"  # byte 14
    b"\n"
    b'"caf\xe9\nau lait",2\n'  # byte 21
    b'"a"b,3\n'  # byte 38
    b"also good,4\n"
    b"a,b,c\n"  # byte 57
    b'"never closed,5\nlast\n'  # byte 63
)


def test_bad_rows_are_refused_once_and_the_others_kept(tmp_path):
    (tmp_path / "a.csv").write_bytes(BAD)
    found = read_all("csv", tmp_path / "a.csv", tmp_path / "quarantine.jsonl")
    assert found.texts == ["good", "also good"]
    assert found.places == [
        ("wrong_fields", "line 3", 14),
        ("invalid_utf8", "line 5", 21),
        ("invalid_csv", "line 7", 38),
        ("wrong_fields", "line 9", 57),
        ("invalid_csv", "line 10", 63),
    ]
    assert found.refused[1]["start"] == '"caf\\xe9\nau lait",2\n'
    assert found.refused[1]["problem"] == "is not valid UTF-8 at byte 25 (0xe9)"
    assert found.refused[4]["bytes"] == 21


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"body,n\na,1\n", ["column 'text' is not in", "a.csv, which has 'body', 'n'"]),
        (b'"text\n', ["a.csv line 1 is not a valid first row of CSV ("]),
        (b"text,n\na,1\nb\n", ["a.csv line 3 (byte 11) has 1 fields and the header has 2; quote fields"]),
        (b'text,n\n"a"b,1\n', ["a.csv line 2 (byte 7) is not valid CSV (", "; mend the row"]),
        (b"text,n\n\xff,1\n", ["a.csv line 2 (byte 7) is not valid UTF-8 at byte 7 (0xff); convert it"]),
    ],
)
def test_bad_input_ends_the_reading_with_its_place(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_all("csv", tmp_path / "a.csv")
    for word in words:
        assert word in str(raised.value)


def test_a_wrong_delimiter_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("id;text\n1;one\n")
    with pytest.raises(DataError) as raised:
        read_all("csv", tmp_path / "a.csv")
    assert str(raised.value) == (
        f"column 'text' is not in {tmp_path}/a.csv, whose first row is one field, 'id;text', when divided by \",\", but has "
        '";" in it; set data.delimiter=";"'
    )
    (tmp_path / "b.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match=r"column 'text' is not in .*b\.csv, which has 'id'; set text_column to one of them"):
        read_all("csv", tmp_path / "b.csv")


def test_a_delimiter_is_set_and_a_headless_file_has_names(tmp_path):
    (tmp_path / "a.csv").write_text("id;text\n1;one; two\n2;three\n")
    found = read_all("csv", tmp_path / "a.csv", tmp_path / "quarantine.jsonl", delimiter=";")
    assert (found.texts, found.places) == (["three"], [("wrong_fields", "line 2", 8)])
    (tmp_path / "b.csv").write_text("1|one\n2|two\n")
    settings = {"delimiter": "|", "header": False, "columns": ("id", "text")}
    assert read_all("csv", tmp_path / "b.csv", **settings).texts == ["one", "two"]
    assert read_all("csv", tmp_path / "b.csv", delimiter="|", header=False, text_column="2").texts == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("\n\nid\ttext\n1\tone, two\n", ["one, two"]),
        ("id\ttext\n1\tone\n2\ttwo, three, four\n", ["one", "two, three, four"]),
        ("id,text\n1,one\ttwo\n2,three\n", ["one\ttwo", "three"]),
        ("text\none, two\nthree\nfour, five, six\n", ["one, two", "three", "four, five, six"]),
        ('text\n"one, two"\nthree\n', ["one, two", "three"]),
        ('id\ttext\n1\t"two\nlines, and more"\n2\tlast\n', ["two\nlines, and more", "last"]),
    ],
)
def test_tabs_are_told_by_the_first_rows_and_not_by_the_name(tmp_path, content, texts):
    for name in ("a.tsv", "a.csv", "a.txt"):
        (tmp_path / name).write_text(content)
        assert read_all("csv", tmp_path / name).texts == texts
    assert read_all("csv", tmp_path).texts == texts * 2, "a folder's files of both endings are read"


def test_a_long_file_is_judged_by_its_whole_rows(tmp_path):
    rows = [f"{n}\t{'word, ' * 50}" for n in range(1000)]
    (tmp_path / "a").write_text("\n".join(["id\ttext", *rows]))
    assert len(read_all("csv", tmp_path / "a").texts) == 1000


def test_a_span_without_a_header_has_the_names_of_the_whole_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("".join(f"row {n},{n}\n" for n in range(300)))
    for form in (CsvFormat(header=False), CsvFormat(header=False, columns=("text", "n"))):
        columns = (Column(form.columns[0] if form.columns else "1"),)
        found = []
        for unit in input_units(TextSource(source="csv", path=str(path)), 1000):
            reading = Reading(unit, Limits(), Quarantine(None, "fail"), Meter())
            found += [row.values[columns[0].path] for row in read_csv(reading, columns, form)]
        assert found == [f"row {n}" for n in range(300)]


def test_a_long_line_or_field_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,n\n" + "x" * 300 + ",1\ngood,2\n" + '"' + "line\n" * 100 + '",3\nlast,4\n')
    found = read_all("csv", tmp_path / "a.csv", tmp_path / "quarantine.jsonl", limits=Limits(max_line_bytes=200))
    assert found.texts[0] == "good"
    assert found.places[0] == ("line_too_long", "line 2", 7)
    assert found.places[1][:2] == ("invalid_csv", "line 4")


def test_a_span_knows_the_header_and_its_places(tmp_path):
    rows = [f"row {n},{n}\n" for n in range(300)]
    rows[250] = "bad\n"
    (tmp_path / "a.csv").write_text("text,n\n" + "".join(rows))
    whole = read_all("csv", tmp_path / "a.csv", tmp_path / "one.jsonl")
    parts = read_all("csv", tmp_path / "a.csv", tmp_path / "two.jsonl", unit_bytes=1000)
    assert parts.texts == whole.texts
    assert len(whole.texts) == 299
    offset = 7 + len("".join(rows[:250]))
    assert whole.places == [("wrong_fields", "line 252", offset)]
    assert parts.places == [("wrong_fields", f"byte {offset}", offset)]
    with pytest.raises(DataError, match=rf"a\.csv line 252 \(byte {offset}\) has 1 fields"):
        read_all("csv", tmp_path / "a.csv", unit_bytes=1000)
