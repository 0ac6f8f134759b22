"""The input as a list of units: independent parts that together are the whole, in its order."""

import bz2
import gzip
import json
from dataclasses import asdict

import pytest

from tasks.config.data import TextSource
from tasks.data.sources.units import Unit, input_units
from tasks.record.errors import DataError
from tests.kit import real_data
from tests.kit.reading import read_all

PAGE = "<page><title>Page {n}</title><ns>{ns}</ns><id>{n}</id><revision><text>{text}</text></revision></page>\n"


def units(source, path, unit_bytes=1000) -> list[Unit]:
    return input_units(TextSource(source=source, path=str(path)), unit_bytes)


def rows(count) -> str:
    return "".join(json.dumps({"text": f"document {n} " + "é" * (n % 50)}) + "\n" * (1 + n % 2) for n in range(count))


@pytest.mark.parametrize("unit_bytes", [1, 1000, 33_333])
def test_units_of_plain_lines_give_what_the_file_gives(tmp_path, unit_bytes):
    (tmp_path / "a.jsonl").write_text(rows(1000))
    (tmp_path / "b.jsonl").write_text(rows(3))
    whole = read_all("jsonl", tmp_path)
    parts = read_all("jsonl", tmp_path, unit_bytes=unit_bytes)
    assert parts.texts == whole.texts
    assert len(parts.texts) == 1003
    assert parts.meter.fraction == 1.0
    assert whole.documents[1].where == "a.jsonl line 2"


def test_a_place_in_a_span_is_the_byte_that_the_row_begins_at(tmp_path):
    content = rows(100)
    (tmp_path / "a.jsonl").write_text(content)
    parts = read_all("jsonl", tmp_path / "a.jsonl", unit_bytes=500)
    for document in parts.documents:
        name, word, offset = document.where.split()
        assert (name, word) == ("a.jsonl", "byte")
        assert json.loads(content.encode()[int(offset) :].splitlines()[0])["text"] == document.text


def test_they_cover_the_files_and_are_the_same_wherever_these_lie(tmp_path):
    for folder in ("one", "other/place"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / "a.jsonl").write_text(rows(200))
        (tmp_path / folder / "b.jsonl.gz").write_bytes(gzip.compress(rows(200).encode()))
    found = [[asdict(u) | {"location": ""} for u in units("jsonl", tmp_path / folder)] for folder in ("one", "other/place")]
    assert found[0] == found[1]
    packed, *plain = units("jsonl", tmp_path / "one")
    assert (packed.name, packed.kind, packed.compressed, packed.last) == ("b.jsonl.gz", "file", True, True)
    assert packed.bytes == (tmp_path / "one" / "b.jsonl.gz").stat().st_size
    assert {u.name for u in plain} == {"sub/a.jsonl"}
    assert len(plain) > 5
    assert (plain[0].start, plain[-1].end) == (0, (tmp_path / "one" / "sub" / "a.jsonl").stat().st_size)
    assert sum(u.bytes for u in plain) == plain[-1].end
    assert [u.last for u in plain] == [False] * (len(plain) - 1) + [True]


def test_csv_with_quotes_and_text_are_not_cut(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "row\n" * 1000)
    (tmp_path / "b.csv").write_text("text\n" + "row\n" * 1000 + '"two\nlines"\n')
    (tmp_path / "c.txt").write_text("line\n\n\n\n" * 1000)
    assert [u.kind for u in units("csv", tmp_path / "a.csv")] == ["span"] * 5
    assert [u.kind for u in units("csv", tmp_path / "b.csv")] == ["file"]
    assert [u.kind for u in units("text", tmp_path / "c.txt")] == ["file"]
    assert len(read_all("csv", tmp_path / "b.csv", unit_bytes=100).texts) == 1001


def dump(count) -> tuple[str, list[str], str]:
    pages = [PAGE.format(n=n, ns=10 if n % 5 == 4 else 0, text=f"Text of page {n}. " * (n % 7 + 1)) for n in range(count)]
    return "<mediawiki><siteinfo><namespaces/></siteinfo>\n", pages, "</mediawiki>"


def test_units_of_a_plain_dump_give_what_the_dump_gives(tmp_path):
    head, pages, tail = dump(200)
    (tmp_path / "a.xml").write_text(head + "".join(pages) + tail)
    whole = read_all("mediawiki", tmp_path)
    parts = read_all("mediawiki", tmp_path, unit_bytes=3000)
    assert len(units("mediawiki", tmp_path, 3000)) > 5
    assert parts.documents == whole.documents
    assert parts.dropped == whole.dropped == {"namespace": 40}
    assert whole.documents[1] == ("Text of page 1. Text of page 1.", "a.xml page 'Page 1'")


def test_units_of_a_multistream_dump_are_groups_of_streams(tmp_path):
    head, pages, tail = dump(200)
    groups = ["".join(pages[n : n + 10]) for n in range(0, 200, 10)]
    (tmp_path / "a.xml.bz2").write_bytes(b"".join(bz2.compress(part.encode()) for part in (head, *groups, tail)))
    whole = read_all("mediawiki", tmp_path)
    found = units("mediawiki", tmp_path, 1000)
    assert len(found) > 3
    assert all(u.compressed and u.kind == "span" for u in found)
    parts = read_all("mediawiki", tmp_path, unit_bytes=1000)
    assert parts.documents == whole.documents
    assert len(parts.documents) == 160
    assert parts.dropped == whole.dropped


def test_the_sample_and_a_hub_data_set_are_one_unit(tmp_path):
    assert input_units(TextSource()) == [Unit("the sample", "sample", "sample")]
    hub = input_units(TextSource(source="huggingface", path="someone/texts"))
    assert hub == [Unit("someone/texts", "someone/texts", "huggingface")]


def test_what_is_missing_is_said_with_the_field(tmp_path):
    with pytest.raises(DataError, match=r"data\.mixture\.path='.*gone' does not exist"):
        input_units(TextSource(source="jsonl", path=str(tmp_path / "gone")), 1000, "data.mixture.path")


def test_a_real_dump_in_parts():
    path = real_data.folder("wikipedia", "minidumps", "en.xml.bz2")
    assert read_all("mediawiki", path, unit_bytes=50_000).documents == read_all("mediawiki", path).documents
