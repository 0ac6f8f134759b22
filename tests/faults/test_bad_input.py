"""Whole files that are bad in every way that was seen: each is said with its place, in bounded memory, and nothing is lost."""

import gzip
import json
import random
import tracemalloc
import zlib
from dataclasses import replace

import pytest

from tasks.config.data import TextSource
from tasks.data.sources.streams import EXPANSION_GRACE_BYTES, Limits, Meter, open_input
from tasks.data.sources.units import input_units
from tasks.record.errors import DataError
from tests.kit.reading import read_all

MEBIBYTE = 1 << 20
ROOMY = Limits(max_expansion=10_000)


def packed(pieces, level: int = 1) -> bytes:
    packer = zlib.compressobj(level, wbits=31)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


@pytest.fixture
def peak():
    """Peak of Python's own memory in MiB since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / MEBIBYTE
    tracemalloc.stop()


@pytest.fixture
def long_line(tmp_path):
    """Three rows of JSON, of which the second is a line of 100 MB."""
    middle = [b'{"text": "', *[b"a long line " * 100_000] * 84, b'"}\n']
    path = tmp_path / "long.jsonl.gz"
    path.write_bytes(packed([b'{"text": "first"}\n', *middle, b'{"text": "last"}\n']))
    return path


def test_a_line_of_100_megabytes_is_passed_over_and_never_held(long_line, tmp_path, peak):
    limits = replace(ROOMY, max_line_bytes=4 * MEBIBYTE)
    found = read_all("jsonl", long_line, tmp_path / "quarantine.jsonl", limits=limits)
    assert found.texts == ["first", "last"]
    assert found.places == [("line_too_long", "line 2", 18)]
    assert found.refused[0]["bytes"] > 100_000_000
    assert peak() < 20
    with pytest.raises(DataError, match=r"long\.jsonl\.gz line 2 \(byte 18\) has 100800013 bytes, more than 4194304; break it"):
        read_all("jsonl", long_line, limits=limits)


def test_a_line_of_100_megabytes_is_too_long_by_default(long_line):
    with pytest.raises(DataError, match=r"line 2 \(byte 18\) has 100800013 bytes, more than 67108864; .*max_line_megabytes"):
        read_all("jsonl", long_line, limits=ROOMY)


@pytest.mark.parametrize(("source", "row"), [("jsonl", b'{"text": "a"}\n'), ("text", b"text\n"), ("csv", b"text\n")])
@pytest.mark.parametrize("policy", ["fail", "quarantine"])
def test_a_bomb_ends_the_reading_under_both_policies_and_before_it_fills_the_memory(tmp_path, source, row, policy, peak):
    (tmp_path / "bomb.gz").write_bytes(packed([row, *[bytes(MEBIBYTE)] * 80], level=9))
    assert (tmp_path / "bomb.gz").stat().st_size < MEBIBYTE / 8
    quarantine = tmp_path / "quarantine.jsonl" if policy == "quarantine" else None
    limits = Limits(max_line_bytes=MEBIBYTE)
    with pytest.raises(DataError, match=r"bomb\.gz unpacks to \d+ times its size so far .*more than 250; if it is no bomb"):
        read_all(source, tmp_path / "bomb.gz", quarantine, limits=limits)
    with pytest.raises(DataError, match=r"bomb\.gz unpacks to more than 10485760 bytes"):
        read_all(source, tmp_path / "bomb.gz", quarantine, limits=replace(limits, max_unpacked_bytes=10 * MEBIBYTE))
    assert peak() < 20, "nothing near what it unpacks to"


def test_a_long_run_of_spaces_is_no_bomb(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}' + b" " * (EXPANSION_GRACE_BYTES // 2) + b"\n"))
    assert read_all("jsonl", tmp_path / "a.jsonl.gz").texts == ["one"]


@pytest.mark.parametrize("source", ["text", "jsonl"])
def test_binary_garbage_gives_no_document(tmp_path, source):
    noise = random.Random(1).randbytes(200_000)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + noise)
    found = read_all(source, tmp_path / "photo.jpg", tmp_path / "quarantine.jsonl")
    assert found.texts == []
    assert set(found.counts) <= {"invalid_utf8", "invalid_json", "no_object", "binary"}
    with pytest.raises(DataError, match=r"photo\.jpg line 1 \(byte 0\) is not valid UTF-8 at byte 0 \(0xff\)"):
        read_all(source, tmp_path / "photo.jpg")


def test_nul_bytes_are_binary_where_there_are_many(tmp_path):
    (tmp_path / "a.txt").write_bytes(
        bytes(10_000) + b"\n\n\n\n" + "without a mark".encode("utf-16-le") * 20 + b"\n\n\n\nfine\x00"
    )
    found = read_all("text", tmp_path / "a.txt", tmp_path / "quarantine.jsonl")
    assert [text.strip() for text in found.texts] == ["fine\0"]
    assert [reason for reason, _, _ in found.places] == ["binary", "binary"]


def test_every_row_of_a_damaged_corpus_is_counted_once(tmp_path):
    """Rows of six kinds, in an order that chance gives: as many come out, kept or refused, as went in."""
    chance = random.Random(2)
    kinds = {
        "kept": b'{"text": "good"}', "invalid_utf8": b'{"text": "\xff"}', "invalid_json": b'{"text" "a"}', "no_object": b'"a"',
        "missing_column": b'{"txet": "a"}', "no_text": b'{"text": null}', "lone_surrogate": b'{"text": "\\udc00"}',
        "line_too_long": b'{"text": "' + b"x" * 2000 + b'"}',
    }  # fmt: skip
    drawn = chance.choices(list(kinds), k=3000)
    (tmp_path / "a.jsonl").write_bytes(b"".join(kinds[kind] + b"\n" for kind in drawn))
    limits = Limits(max_line_bytes=1000)
    wanted = {kind: drawn.count(kind) for kind in kinds}
    for number, unit_bytes in enumerate((1 << 30, 5000)):
        found = read_all("jsonl", tmp_path / "a.jsonl", tmp_path / f"{number}.jsonl", unit_bytes=unit_bytes, limits=limits)
        assert {"kept": len(found.texts)} | found.counts == wanted
        assert [record["reason"] for record in found.refused] == [kind for kind in drawn if kind != "kept"]


def test_the_quarantine_file_has_the_same_bytes_wherever_the_data_lie(tmp_path):
    written = []
    for place in ("here", "over/there"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.jsonl").write_text(json.dumps({"text": "good"}) + "\nbad\n" + json.dumps({"n": 1}) + "\n")
        read_all("jsonl", tmp_path / place, tmp_path / place / "quarantine")
        written.append((tmp_path / place / "quarantine").read_bytes())
    assert written[0] == written[1]
    assert len(written[0].splitlines()) == 2


def test_a_link_that_is_turned_out_of_the_data_root_after_the_plan_is_refused(tmp_path, monkeypatch):
    """What was planned with one target and is read with another."""
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text('{"text": "secret"}\n')
    (root / "real").write_text('{"text": "public"}\n')
    (root / "a.jsonl").symlink_to(root / "real")
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(root))
    source = TextSource(source="jsonl", path=str(root))
    (unit,) = input_units(source)
    assert read_all("jsonl", root).texts == ["public"]
    (root / "a.jsonl").unlink()
    (root / "a.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match=r"a\.jsonl \(that is .*secret\) is a path that leaves the data root"):
        open_input(unit.location, Limits(), Meter())
