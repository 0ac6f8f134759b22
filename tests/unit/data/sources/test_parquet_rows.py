"""Rows of Parquet: types of strings, groups of row groups, and what can be wrong."""

import gzip

import pyarrow
import pyarrow.parquet
import pytest

from tasks.config.data import TextSource
from tasks.data.sources.parquet_rows import batch_rows
from tasks.data.sources.units import input_units, open_parquet
from tasks.record.errors import DataError
from tests.kit.reading import read_all

BAD_UTF8 = pyarrow.array([b"good", b"bad \xff", b"fine"]).view(pyarrow.string())


def write(path, column, name="text", **options):
    pyarrow.parquet.write_table(pyarrow.table({name: column, "n": range(len(column))}), path, **options)
    return path


def test_all_kinds_of_strings_over_batches(tmp_path):
    wanted = [f"row {n}" for n in range(2500)]
    kinds = [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())]
    for number, kind in enumerate(kinds):
        write(tmp_path / f"{number}.parquet", pyarrow.array(wanted).cast(kind), row_group_size=1000)
    found = read_all("parquet", tmp_path)
    assert found.texts == wanted * 3
    assert found.documents[2500].where == "1.parquet row 1"
    assert found.meter.fraction == 1.0


def test_groups_of_row_groups_give_the_same_rows(tmp_path):
    path = write(tmp_path / "a.parquet", [f"row {n} " + "word " * (n % 30) for n in range(3000)], row_group_size=250)
    whole = read_all("parquet", path)
    for unit_bytes in (1, 5000, 12_000):
        parts = read_all("parquet", path, unit_bytes=unit_bytes)
        assert parts.documents == whole.documents
        assert parts.meter.fraction == 1.0
    assert len(input_units(TextSource(source="parquet", path=str(path)), 1)) == 12


def test_long_rows_are_decoded_in_smaller_batches(tmp_path):
    write(
        tmp_path / "a.parquet",
        [bytes([65 + n]).decode() * (4 << 20) for n in range(12)],
        compression="zstd",
        use_dictionary=False,
    )
    with open_parquet(str(tmp_path / "a.parquet")) as opened:
        assert batch_rows(opened.metadata, range(1)) == 3
    assert [text[0] for text in read_all("parquet", tmp_path).texts] == [chr(65 + n) for n in range(12)]


def test_bad_rows_are_named_with_their_number(tmp_path):
    path = write(tmp_path / "a.parquet", ["a", None, "b"])
    with pytest.raises(
        DataError, match=r"a\.parquet row 2 column 'text' is NoneType None, which is no text; convert or remove"
    ):
        read_all("parquet", path)
    found = read_all("parquet", path, tmp_path / "quarantine.jsonl")
    assert (found.texts, found.places) == (["a", "b"], [("no_text", "row 2", None)])
    write(path, BAD_UTF8)
    with pytest.raises(DataError, match=r"a\.parquet row 2 is not valid UTF-8 at byte 4 of a text \(0xff\); convert it"):
        read_all("parquet", path)
    found = read_all("parquet", path, tmp_path / "bad.jsonl")
    assert (found.texts, found.places) == (["good", "fine"], [("invalid_utf8", "row 2", None)])
    assert (found.refused[0]["start"], found.refused[0]["bytes"]) == ("bad \\xff", 5)


def test_a_file_of_another_schema_is_refused_under_both_policies(tmp_path):
    for quarantine in (None, tmp_path / "quarantine.jsonl"):
        with pytest.raises(DataError, match=r"column 'text' is not in .*a\.parquet, which has 'body', 'n'"):
            read_all("parquet", write(tmp_path / "a.parquet", ["a"], name="body"), quarantine)
        with pytest.raises(DataError, match=r"column 'text' of .*a\.parquet has type int64, which is no text"):
            read_all("parquet", write(tmp_path / "a.parquet", [3, 4]), quarantine)


def test_what_is_no_parquet_is_said(tmp_path):
    path = write(tmp_path / "a.parquet", [f"row {n}" for n in range(1000)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a\.parquet is no Parquet file that can be read \(.*\); write it again"):
        read_all("parquet", path)
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match=r"a\.parquet is a gzip file and no Parquet file, which is compressed inside"):
        read_all("parquet", path)


def test_a_page_that_changed_is_noticed(tmp_path):
    path = write(tmp_path / "a.parquet", [f"row {n}" for n in range(1000)], write_page_checksum=True, use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    damaged[1500] ^= 0x01
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.parquet is no Parquet file that can be read \(.*CRC"):
        read_all("parquet", path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    write(tmp_path / "a.parquet", ["\0" * (70 << 20)], compression="zstd", use_dictionary=False)
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(
        DataError, match=r"a\.parquet row group 0 unpacks from \d+ to \d+ bytes, \d+ times its size, more than 250"
    ):
        read_all("parquet", tmp_path / "a.parquet")


def test_a_text_inside_of_a_struct_or_list_is_read_by_its_path(tmp_path):
    rows = [
        {"data": {"text": f"row {n}", "n": n}, "turns": [{"text": f"turn {n}"}], "a.b": f"whole {n}", "a": {"b": "part"}}
        for n in range(30)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=7)
    for column, word in (("data.text", "row"), ("turns.0.text", "turn"), ("a.b", "whole")):
        found = read_all("parquet", tmp_path / "a.parquet", unit_bytes=1, text_column=column)
        assert found.texts == [f"{word} {n}" for n in range(30)]
        assert found.meter.fraction == 1.0


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("body", "which has 'data', 'text', 'turns'; set text_column to one of them"),
        ("data.body", "'data' has 'text', 'n', and there is no 'body' in it; set text_column to a path that every row has"),
        ("text.body", "'text' is of type string, which has no parts, and there is no 'body' in it"),
        ("turns.last", "'turns' is a list, whose places are numbers from 0, and there is no 'last' in it"),
        ("data.n", "has type int64, which is no text; convert it"),
        ("data", "has type struct<"),
    ],
)
def test_a_path_that_the_schema_does_not_have_is_refused_before_a_row_is_read(tmp_path, column, words):
    rows = [{"data": {"text": "a", "n": 1}, "text": "a", "turns": ["a"]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    with pytest.raises(DataError) as raised:
        read_all("parquet", tmp_path / "a.parquet", text_column=column)
    assert words in str(raised.value)


def test_a_list_that_is_too_short_is_refused_with_its_row(tmp_path):
    table = pyarrow.table({"turns": [["a", "b"], ["c"]]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = read_all("parquet", tmp_path / "a.parquet", tmp_path / "quarantine.jsonl", text_column="turns.1")
    assert found.texts == ["b"]
    assert found.places == [("missing_column", "row 2", None)]
    problem = "has no column 'turns.1', as 'turns' is a list of 1, whose places are numbers from 0"
    assert found.refused[0]["problem"] == problem


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'text' is in .*a\.parquet 2 times, so that none is meant for sure; rename"):
        read_all("parquet", tmp_path / "a.parquet")
