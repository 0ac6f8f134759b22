"""Texts of every format, and what is said of an input that has none."""

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tasks.data.sources.streams import Meter
from tasks.data.sources.texts import read_texts, text_units
from tasks.record.errors import ConfigError, DataError

TEXTS = ["the first", 'a "second", of two', "naïve 🐱"]


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS, "label": [1, 2, 3]}), path)
        return path
    content = {
        "a.txt": 'the first\r\n\n  \na "second", of two\nnaïve 🐱',
        "a.jsonl": '{"text": "the first"}\n\n{"text": "a \\"second\\", of two"}\n{"text": "naïve 🐱"}\n',
        "a.csv": 'label,text\n1,the first\n2,"a ""second"", of two"\n3,naïve 🐱\n',
    }[name.removesuffix(".gz")]
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.parquet", "a.txt.gz", "a.csv.gz"])
def test_every_format_gives_its_texts_in_order_without_blank_ones(tmp_path: Path, name: str) -> None:
    meter = Meter()
    assert list(read_texts(str(write(tmp_path, name)), None, "text", meter)) == TEXTS
    assert meter.total > 0


def test_a_format_that_is_given_comes_before_the_ending(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl").rename(tmp_path / "rows.log")
    assert list(read_texts(str(path), "jsonl", "text", Meter())) == TEXTS
    with pytest.raises(
        ConfigError, match=r"FILE='.*rows.log' has none of the endings that tell its format \(.txt, .*; name it"
    ):
        text_units(str(path), None, "FILE")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.jsonl",
            '{"text": "a"}\n{"words": "a"}\n',
            "--column='text' is not in {} line 2, which has 'words'; name one of them",
        ),
        ("a.csv", "words\na\n", "--column='text' is not in {} line 2, which has 'words'"),
        ("a.jsonl", '{"text": 3}\n', "{} line 1 (byte 0) column 'text' is int 3, which is no text"),
        ("a.jsonl", '{"text": "a"}\n{\n', "{} line 2 (byte 14) is not valid JSON"),
        ("a.txt", "a\n\\udcff\n", "{} line 2 (byte 2) is not valid UTF-8 at byte 2 (0xff)"),
        ("a.txt", " \n\n", "FILE='{}' holds no text; give it at least one that is not blank"),
        ("a.csv", "text\n", "FILE='{}' holds no text"),
        ("a.txt", "", "FILE='{}': {} is empty"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.replace("\\udcff", "\udcff").encode(errors="surrogateescape"))
    with pytest.raises(DataError) as found:
        list(read_texts(str(path), None, "text", Meter()))
    assert sentence.replace("{}", str(path)) in str(found.value)


def test_a_parquet_file_without_the_column_names_those_that_it_has(tmp_path: Path) -> None:
    path = str(write(tmp_path, "a.parquet"))
    with pytest.raises(DataError, match=r"--column='words' is not in .*a.parquet, which has 'text', 'label'; name one of them"):
        list(read_texts(path, None, "words", Meter()))


def test_a_file_that_is_not_there_is_named_with_its_field() -> None:
    with pytest.raises(DataError, match=r"path='/nowhere/a.txt' does not exist"):
        text_units("/nowhere/a.txt", None, "path")


def test_standard_input_is_lines() -> None:
    kind, (unit,) = text_units("-", None, "FILE")
    assert (kind, unit.location) == ("text", "/dev/stdin")
    assert text_units("-", "jsonl", "FILE")[0] == "jsonl"
    with pytest.raises(ConfigError, match="--format=csv is not read from standard input"):
        text_units("-", "csv", "FILE")
