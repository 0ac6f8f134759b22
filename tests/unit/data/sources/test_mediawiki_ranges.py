"""A dump read in parts gives the pages of the whole, each once, wherever it is cut."""

import bz2
import io
import random
from collections import Counter

import pytest

from tasks.data.sources.mediawiki import read_pages
from tasks.data.sources.mediawiki_ranges import page_ranges, read_header, stream_ranges

HEADER = '<mediawiki>\n<siteinfo><namespaces><namespace key="6">Datei</namespace></namespaces></siteinfo>\n'
FOOTER = "</mediawiki>\n"


def pages(number: int) -> list[str]:
    """Pages of 100 to 3,000 bytes of text that hardly compresses; every tenth is in another namespace, known by its prefix."""
    chance = random.Random(0)
    found = []
    for n in range(number):
        text = "".join(chr(chance.randrange(97, 123)) for _ in range(chance.randrange(100, 3000)))
        title = f"Datei:{n}" if n % 10 == 9 else f"page {n}"
        found.append(f"  <page>\n<title>{title}</title><revision><text>&lt;page> {text}</text></revision></page>\n")
    return found


def read(parts: list[bytes], header: bytes) -> tuple[list[str], Counter[str]]:
    counts: Counter[str] = Counter()
    titles = []
    for n, part in enumerate(parts):
        ends = n == len(parts) - 1
        found = read_pages(io.BytesIO(part), "part", counts, header=header if n else b"", ends=ends)
        titles += [one.title for one in found]
    return titles, counts


@pytest.mark.parametrize("num_bytes", [1, 700, 5_000, 60_000, 10**9])
def test_parts_of_a_plain_dump(num_bytes):
    dump = (HEADER + "".join(pages(60)) + FOOTER).encode()
    ranges = page_ranges(io.BytesIO(dump), num_bytes)
    assert [a for a, _ in ranges] == [0, *(b for _, b in ranges[:-1])]
    assert ranges[-1][1] == len(dump)
    assert all(b - a >= num_bytes for a, b in ranges[:-1])
    assert len(ranges) == {1: 61, 10**9: 1}.get(num_bytes, len(ranges))
    header = read_header(io.BytesIO(dump))
    assert header.decode() == HEADER + "  "
    titles, counts = read([dump[a:b] for a, b in ranges], header)
    assert titles == [f"page {n}" for n in range(60) if n % 10 != 9]
    assert counts == {"namespace": 6}


def test_every_position_of_a_tag_is_found_across_the_blocks_that_are_read(monkeypatch):
    dump = (HEADER + "".join(pages(12)) + FOOTER).encode()
    expected = page_ranges(io.BytesIO(dump), 1)
    for size in range(16, 40):
        monkeypatch.setattr("tasks.data.sources.mediawiki_ranges.SEARCH_BYTES", size)
        assert page_ranges(io.BytesIO(dump), 1) == expected


def test_utf_16_is_one_range_and_has_no_header():
    dump = (HEADER + "".join(pages(3)) + FOOTER).encode("utf-16")
    assert page_ranges(io.BytesIO(dump), 100) == [(0, len(dump))]
    assert read_header(io.BytesIO(dump)) == b""


def multistream(size: int) -> bytes:
    found = pages(60)
    blocks = ["".join(found[n : n + size]) for n in range(0, len(found), size)]
    return b"".join(bz2.compress(block.encode()) for block in (HEADER, *blocks, FOOTER))


@pytest.mark.parametrize("num_bytes", [1, 3_000, 20_000, 10**9])
def test_parts_of_a_multistream_dump(num_bytes):
    dump = multistream(7)
    ranges = stream_ranges(io.BytesIO(dump), num_bytes)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(dump)
    assert len(ranges) == {1: 10, 10**9: 1}.get(num_bytes, len(ranges))
    assert len(ranges) > 2 or num_bytes > len(dump)
    with bz2.open(io.BytesIO(dump)) as unpacked:
        header = read_header(unpacked)
    titles, counts = read([bz2.decompress(dump[a:b]) for a, b in ranges], header)
    assert titles == [f"page {n}" for n in range(60) if n % 10 != 9]
    assert counts == {"namespace": 6}


def test_streams_that_are_not_cut_at_pages_are_one_range():
    data = (HEADER + "".join(pages(60)) + FOOTER).encode()
    dump = b"".join(bz2.compress(data[n : n + 3001]) for n in range(0, len(data), 3001))
    assert stream_ranges(io.BytesIO(dump), 2_000) == [(0, len(dump))]
    whole = bz2.compress(data)
    assert stream_ranges(io.BytesIO(whole), 2_000) == [(0, len(whole))]


def test_magic_bytes_by_chance_are_no_stream():
    streams = [bz2.compress(one.encode()) for one in pages(4)]
    chance = b"BZh91AY&SY" + bytes(20)
    dump = bz2.compress(HEADER.encode()) + streams[0] + chance + streams[1] + streams[2]
    starts = [a for a, _ in stream_ranges(io.BytesIO(dump), 1)]
    assert starts == [
        0,
        len(dump) - sum(map(len, streams[:3])) - len(chance),
        *(len(dump) - n for n in (len(streams[1] + streams[2]), len(streams[2]))),
    ]
