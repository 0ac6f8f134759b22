"""Formats by content, and decoders that give no more than they are asked for."""

import bz2
import gzip
import lzma

import pytest

from tasks.data.sources.compression import DECODERS, HEAD_BYTES, compression_of, refused_format, zstd

PACK = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


@pytest.mark.parametrize("kind", PACK)
def test_each_format_is_known_by_its_first_bytes(kind):
    for content in (b"", b"text", bytes(100_000)):
        assert compression_of(PACK[kind](content)[:HEAD_BYTES]) == kind
    assert refused_format(PACK[kind](b"text")) is None


@pytest.mark.parametrize(
    "head", [b"", b"B", b"BZ", b"BZh9 is how bzip2 begins", b"\x1f\x8b", b"plain", b"\xef\xbb\xbftext", b"\xfd7zX"]
)
def test_what_only_looks_like_one_is_none(head):
    assert compression_of(head[:HEAD_BYTES]) is None


def test_a_bzip2_file_that_was_cut_in_its_header_is_one():
    packed = bz2.compress(b"text")
    assert all(compression_of(packed[:size]) == "bz2" for size in range(4, HEAD_BYTES))


def test_a_skippable_frame_begins_a_zstd_file():
    assert compression_of(SKIPPABLE + zstd.compress(b"text")) == "zstd"


@pytest.mark.parametrize("kind", PACK)
def test_a_decoder_gives_at_most_what_it_is_asked_for_and_then_the_rest(kind):
    content = bytes(50_000) + b"the end"
    packed = PACK[kind](content) + b"what follows"
    decoder, found, place = DECODERS[kind](), b"", 0
    while not decoder.eof:
        piece = packed[place : place + 10] if decoder.needs_input else b""
        place += len(piece)
        more = decoder.decompress(piece, 1000)
        assert len(more) <= 1000
        found += more
    assert found == content
    assert decoder.unused_data + packed[place:] == b"what follows"


def test_refused_formats_have_a_command():
    assert refused_format(b"7z\xbc\xaf\x27\x1c\x00\x04") == ("7z", "7z x")
    assert refused_format(b"PK\x03\x04\x14\x00") == ("zip", "unzip")
    assert refused_format(b"PK, as text") is None
