"""Reading every kind of source, and what each says of an input that is wrong."""

import bz2
import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tasks.config.data import TextSource
from tasks.data.sources.compression import zstd
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.read import LONGEST_TEXT, read_rows, read_source, string_at
from tasks.data.sources.rows import Column
from tasks.data.sources.streams import Limits, Meter
from tasks.record.errors import DataError
from tests.kit import real_data
from tests.kit.reading import read_all


def rows(source: str, path: Path, *columns: str) -> list[tuple]:
    wanted = tuple(Column(name) for name in columns or ("text",))
    return [tuple(string_at(row, c) for c in wanted) for row in read_rows(source, str(path), wanted, "data.path", Meter())]


def texts(path: Path, *quarantine: Path) -> list[str]:
    return [text.strip() for text in read_all("text", path, *quarantine).texts]


def test_three_blank_lines_separate_documents(tmp_path):
    (tmp_path / "a.txt").write_text("\n\nI\n\n\nfirst\npart\n\nstill\n \n\t\n\nsecond\r\n\r\n\r\n\r\n\r\n\r\nthird")
    found = read_all("text", tmp_path / "a.txt")
    assert [text.strip() for text in found.texts] == ["I\n\n\nfirst\npart\n\nstill", "second", "third"]
    assert [document.where for document in found.documents] == ["a.txt line 3", "a.txt line 13", "a.txt line 19"]


def test_each_file_of_a_folder_is_a_document_in_the_order_of_names(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.md", ".hidden.txt", "d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"packed"))
    assert texts(tmp_path) == ["a.txt", "b.txt", "packed", "sub/c.md"]


def test_a_long_text_is_cut_between_paragraphs_and_nothing_is_lost(tmp_path):
    paragraphs = [f"paragraph {n} " + "word " * 200 for n in range(100)]
    (tmp_path / "a.txt").write_text("\n\n".join(paragraphs))
    found = read_all("text", tmp_path / "a.txt").texts
    assert len(found) > 2
    assert "".join(found) == "\n\n".join(paragraphs)
    assert all(len(text) < LONGEST_TEXT + 2000 and text.startswith("paragraph") for text in found)
    (tmp_path / "b.txt").write_text("line\n" * (LONGEST_TEXT // 2))
    assert max(len(text) for text in read_all("text", tmp_path / "b.txt").texts) <= 2 * LONGEST_TEXT + 5


def test_only_the_document_with_the_bad_line_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(
        b"one\n\n\n\n\n\ntwo \xe9\nmore\n\n\n\nthree\n\n\n\n" + b"x" * 300 + b"\n\n\n\nfive\n\n\n\n" + bytes(50)
    )
    limits = Limits(max_line_bytes=200)
    found = read_all("text", tmp_path / "a.txt", tmp_path / "quarantine.jsonl", limits=limits)
    assert [text.strip() for text in found.texts] == ["one", "three", "five"]
    assert found.places == [("invalid_utf8", "line 7", 9), ("line_too_long", "line 16", 32), ("binary", "line 24", 344)]
    assert found.refused[0]["problem"] == "is not valid UTF-8 at byte 13 (0xe9), line 7"


def test_offsets_stay_right_after_several_long_lines(tmp_path):
    content = b"x" * 50 + b"\n" + b"y" * 50 + b"\n\n\n\n\n\ngood\n\n\n\nbad \xff\n"
    (tmp_path / "a.txt").write_bytes(content)
    found = read_all("text", tmp_path / "a.txt", tmp_path / "quarantine.jsonl", limits=Limits(max_line_bytes=20))
    assert [text.strip() for text in found.texts] == ["good"]
    assert found.places == [("line_too_long", "line 1", 0), ("invalid_utf8", "line 12", content.index(b"bad"))]
    assert (found.refused[0]["problem"], found.refused[0]["bytes"]) == ("has 51 bytes in line 2", 105)


def test_lines_of_other_spaces_are_blank(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\u3000\n\xa0 \n\u2003\ntwo")
    assert texts(tmp_path / "a.txt") == ["one", "two"]


def test_blank_lines_of_jsonl_are_passed_over(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n \r\n{"text": "b"}')
    assert rows("jsonl", tmp_path / "a.jsonl") == [("a",), ("b",)]
    assert [d.where for d in read_all("jsonl", tmp_path / "a.jsonl").documents] == ["a.jsonl line 1", "a.jsonl line 4"]


def test_a_text_inside_of_others_is_read_by_its_path(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"review": {"body": "a"}}\n{"review": null}\n{"review.body": "b"}\n')
    found = read_all("jsonl", tmp_path / "a.jsonl", tmp_path / "quarantine.jsonl", text_column="review.body")
    assert found.texts == ["a", "b"]
    assert found.places == [("missing_column", "line 2", 26)]
    problem = "has no column 'review.body', as 'review' is NoneType None, which has no parts"
    assert found.refused[0]["problem"] == problem


def test_compressed_rows_are_read_for_examples_too(tmp_path):
    lines = b'{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n'
    (tmp_path / "a.jsonl.zst").write_bytes(zstd.compress(lines))
    (tmp_path / "b.jsonl.bz2").write_bytes(bz2.compress(lines))
    assert rows("jsonl", tmp_path, "text", "label") == [("a", "x"), ("b", "y")] * 2


def test_a_nan_or_half_a_pair_outside_of_the_text_does_no_harm(tmp_path):
    values = ['"n": NaN', '"n": -Infinity', '"title": "\\ud800"', '"n": 123456789012345678901234567890']
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{n}", {value}}}\n' for n, value in enumerate(values)))
    assert read_all("jsonl", tmp_path / "a.jsonl").texts == ["0", "1", "2", "3"]


MIXED = [
    (b'{"text": "good"}', None, ""),
    (b'{"text": ', "invalid_json", "is not valid JSON ("),
    (b"[1, 2]", "no_object", "is a JSON list"),
    (b"3", "no_object", "is a JSON int"),
    (b'{"body": "a", "n": 1}', "missing_column", "has no column 'text' but 'body', 'n'"),
    (b'{"text": null}', "no_text", "column 'text' is NoneType None, which is no text"),
    (b'{"text": 5}', "no_text", "column 'text' is int 5"),
    (b'{"text": ["a"]}', "no_text", "column 'text' is list ['a']"),
    (b'{"text": NaN}', "no_text", "column 'text' is float nan"),
    (b'{"text": "half \\ud83d"}', "lone_surrogate", "has the lone surrogate \\ud83d at character 5"),
    (b'{"text": "a\xe9"}', "invalid_utf8", "(0xe9)"),
    (b'{"text": "' + b"\\u0000" * 20 + b'"}', "binary", "is binary: 20 of its 20 bytes"),
    (b'{"text": "' + b"x" * 500 + b'"}', "line_too_long", "has 513 bytes, more than 400"),
    (b"[" * 390, "invalid_json", "is not valid JSON"),
    (b"\x00\x01\x02\x03", "invalid_json", "is not valid JSON"),
    (b'{"text": "one NUL \\u0000 is removed later"}', None, ""),
]


def test_bad_rows_of_jsonl_are_refused_once_and_the_others_kept(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(line for line, _, _ in MIXED))
    found = read_all("jsonl", tmp_path / "a.jsonl", tmp_path / "quarantine.jsonl", limits=Limits(max_line_bytes=400))
    assert found.texts == ["good", "one NUL \0 is removed later"]
    offsets = [sum(len(line) + 1 for line, _, _ in MIXED[:n]) for n in range(len(MIXED))]
    assert found.places == [
        (reason, f"line {n + 1}", offsets[n]) for n, (_, reason, _) in enumerate(MIXED) if reason is not None
    ]
    for record, (line, _, problem) in zip(found.refused, [row for row in MIXED if row[1]], strict=True):
        assert problem in record["problem"]
        assert abs(record["bytes"] - len(line)) <= 1
    assert len(found.texts) + found.counts.total() == len(MIXED)


@pytest.mark.parametrize(("line", "reason", "problem"), [row for row in MIXED if row[1]])
def test_each_of_them_ends_the_reading_under_the_policy_fail(tmp_path, line, reason, problem):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n' + line)
    with pytest.raises(DataError) as raised:
        read_all("jsonl", tmp_path / "a.jsonl", limits=Limits(max_line_bytes=400))
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/a.jsonl line 2 (byte 14) ")
    assert problem.replace("513 bytes", "512 bytes") in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"good\nbad \xe9 byte\n", ["a.txt line 1 (byte 0) is not valid UTF-8 at byte 9 (0xe9), line 2", "iconv"]),
        ("a.txt", b"ends in the middle \xe2\x82", ["at byte 19"]),
        ("b.txt", b"\x1f\x8b\x08rest", ["b.txt is damaged: its gzip data"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', ["a.jsonl line 2 (byte 14) is not valid JSON", "one JSON object"]),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', ["column 'text'", "line 1", "'body', 'n'"]),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}\n', ["line 2", "column 'text' is int 5", "no text"]),
    ],
)  # fmt: skip
def test_bad_rows_of_examples_are_named_with_their_place(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        texts(path) if path.suffix == ".txt" else rows(path.suffix[1:], path)
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_bad_line_in_a_span_is_named_with_its_number_when_it_ends_the_reading(tmp_path):
    lines = [json.dumps({"text": f"row {n}"}) + "\n" for n in range(100)]
    lines[70] = "bad\n"
    (tmp_path / "a.jsonl").write_text("".join(lines))
    with pytest.raises(DataError, match=r"a\.jsonl line 71 \(byte \d+\) is not valid JSON"):
        read_all("jsonl", tmp_path / "a.jsonl", unit_bytes=300)


def test_the_sample_and_a_whole_source_at_once(tmp_path):
    meter = Meter()
    given = TextSource()
    found = list(read_source(given, Limits(), Quarantine(None, "fail"), meter, Counter()))
    assert len(found) == meter.total == meter.done > 1000
    assert found[0].where == "sample page '20th-century classical music'"
    assert found == read_all("sample", "").documents


def test_articles_of_a_dump_are_prose(tmp_path):
    page = "<page><title>A &amp; B</title><ns>0</ns><id>1</id><revision><text>{}</text></revision></page>"
    text = "'''Bold''' [[link|words]]{{template|x}} &amp;amp; more."
    pages = page.format(text) + page.format("#REDIRECT [[A]]") + page.format("\ufffd" * 30 + "x")
    (tmp_path / "dump.xml.gz").write_bytes(gzip.compress(f"<mediawiki>{pages}</mediawiki>".encode()))
    found = read_all("mediawiki", tmp_path, tmp_path / "quarantine.jsonl")
    assert found.documents == [("Bold words & more.", "dump.xml.gz page 'A & B'")]
    assert found.dropped == {"redirect": 1}
    assert found.places == [("binary", "page 'A & B'", None)]


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd.compress}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "text", "mediawiki"])
def test_of_a_packed_file_that_is_cut_off_everything_before_is_read_and_nothing_by_half(tmp_path, kind, suffix):
    """Of a text the document that is cut is kept; of rows and pages only whole ones. It is one bad spot."""
    chance = random.Random(4)
    texts = [" ".join(f"{chance.random():.12f}" for _ in range(40)) for _ in range(3000)]
    content = {
        "jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts),
        "csv": "text,n\n" + "".join(f"{text},1\n" for text in texts),
        "text": "\n\n\n\n".join(texts) + "\n",
        "mediawiki": "<mediawiki>"
        + "".join(
            f"<page><title>{n}</title><ns>0</ns><revision><text>{t}</text></revision></page>" for n, t in enumerate(texts)
        )
        + "</mediawiki>",
    }[kind]
    packed = PACK[suffix](content.encode())
    path = tmp_path / f"a{suffix}"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    found = read_all(kind, path, tmp_path / "quarantine.jsonl")
    whole = [text.strip() for text in found.texts]
    assert len(whole) > 1000
    assert whole[:-1] == texts[: len(whole) - 1]
    assert texts[len(whole) - 1].startswith(whole[-1]) if kind == "text" else whole[-1] == texts[len(whole) - 1]
    ((reason, place, _),) = found.places
    assert reason == "truncated"
    assert place.startswith(f"byte {path.stat().st_size} (")
    with pytest.raises(DataError, match=r"is cut off: its \w+ data end in the middle at byte"):
        read_all(kind, path)


def test_the_meter_ends_at_one(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n\n\ntwo\n")
    (tmp_path / "b.txt").write_text("three\n")
    meter = Meter()
    given = TextSource(source="text", path=str(tmp_path))
    fractions = [meter.fraction for _ in read_source(given, Limits(), Quarantine(None, "fail"), meter, Counter())]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_real_novels_and_leads():
    novels = read_all("text", real_data.folder("prose", "litbank"))
    assert len(novels.texts) > 3000
    assert len({document.where.split(" line")[0] for document in novels.documents}) == 90
    assert len(read_all("jsonl", real_data.folder("wikipedia", "enwiki-2026-vital-articles-leads.jsonl.gz")).texts) == 10033
