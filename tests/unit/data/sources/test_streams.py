"""Opening inputs of every compression and encoding, near and far, and what is said of those that are bad as a whole."""

import bz2
import gzip
import lzma
import struct
import zlib

import pytest

from tasks.data.sources.compression import zstd
from tasks.data.sources.streams import EXPANSION_GRACE_BYTES, Limits, Meter, open_input
from tasks.record.errors import DataError
from tests.kit import real_data

TEXT = "".join(f"line {n} of the text, é ü 中\n" for n in range(5000)).encode()
PACK = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstd.compress}
CHECKED_ZSTD = {zstd.CompressionParameter.checksum_flag: 1}


def unpacked(path, limits=None, **options) -> bytes:
    with open_input(str(path), limits or Limits(), options.pop("meter", Meter()), **options) as stream:
        return stream.read()


@pytest.mark.parametrize("kind", PACK)
def test_members_are_read_one_after_the_other_whatever_the_name(tmp_path, kind):
    path, pack = tmp_path / "text.dat", PACK[kind]
    path.write_bytes(pack(TEXT[:1]) + pack(b"") + pack(TEXT[1:70_000]) + pack(TEXT[70_000:]))
    meter = Meter(path.stat().st_size)
    assert unpacked(path, meter=meter) == TEXT
    assert meter.done == meter.total


def test_a_plain_file_is_read_as_it_is(tmp_path):
    for name, content in (
        ("a.gz", TEXT),
        ("empty", b""),
        ("short", b"a"),
        ("BZh", b"BZh is how bzip2 begins"),
        ("not.txt", b"PK is"),
    ):
        (tmp_path / name).write_bytes(content)
        meter = Meter()
        assert unpacked(tmp_path / name, meter=meter) == content
        assert meter.done == len(content)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf_16_and_32_become_utf_8(tmp_path, encoding):
    text = '<?xml version="1.0" encoding="UTF-16"?>\n' + TEXT.decode() + "😀"
    (tmp_path / "wide.bz2").write_bytes(bz2.compress(("\ufeff" + text).encode(encoding)))
    assert unpacked(tmp_path / "wide.bz2") == text.replace("UTF-16", "UTF-8", 1).encode()


def test_a_byte_order_mark_is_passed_over_and_counted(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    with open_input(str(tmp_path / "a.txt"), Limits(), Meter()) as stream:
        assert (stream.read(), stream.first_offset) == (b"hello", 3)


def test_half_a_character_of_utf_16_is_said(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffhello".encode("utf-16-le") + b"x")
    with pytest.raises(
        DataError, match=r"a\.txt is not valid utf-16-le after about 11 unpacked bytes \(truncated data\); write"
    ):
        unpacked(tmp_path / "a.txt")


def test_spans_of_plain_and_bzip2_files(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + TEXT)
    assert unpacked(tmp_path / "a.txt", span=(10, 30)) == TEXT[7:27]
    streams = [bz2.compress(TEXT[:100]), bz2.compress(TEXT[100:300]), bz2.compress(TEXT[300:])]
    (tmp_path / "a.bz2").write_bytes(b"".join(streams))
    first, second = len(streams[0]), len(streams[0]) + len(streams[1])
    meter = Meter()
    assert unpacked(tmp_path / "a.bz2", span=(first, second), meter=meter) == TEXT[100:300]
    assert meter.done == len(streams[1])


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("members", [1, 2])
def test_a_truncated_archive_is_said_with_its_places(tmp_path, kind, members):
    packed = PACK[kind](TEXT) * members
    (tmp_path / "cut").write_bytes(packed[: -len(packed) // (3 * members)])
    with pytest.raises(DataError) as raised:
        unpacked(tmp_path / "cut")
    size = (tmp_path / "cut").stat().st_size
    assert f"cut is cut off: its {kind} data end in the middle at byte {size} (" in str(raised.value)
    assert "download it again" in str(raised.value)


def test_only_the_last_byte_is_missing(tmp_path):
    for kind, pack in PACK.items():
        (tmp_path / kind).write_bytes(pack(TEXT)[:-1])
        with pytest.raises(DataError, match=rf"{kind} is cut off: .* at byte {len(pack(TEXT)) - 1} "):
            unpacked(tmp_path / kind)


@pytest.mark.parametrize("kind", PACK)
def test_a_damaged_block_is_said_with_its_places(tmp_path, kind):
    packed = bytearray(zstd.compress(TEXT, options=CHECKED_ZSTD) if kind == "zstd" else PACK[kind](TEXT))
    packed[len(packed) // 2] ^= 0x10
    (tmp_path / "bad").write_bytes(packed)
    with pytest.raises(DataError, match=rf"bad is damaged: its {kind} data cannot be unpacked before byte \d+ \(\d+ bytes unp"):
        unpacked(tmp_path / "bad")


def test_checksums_are_verified(tmp_path):
    packed = bytearray(gzip.compress(TEXT))
    packed[-8] ^= 1
    (tmp_path / "a.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"a\.gz is damaged: .* incorrect data check"):
        unpacked(tmp_path / "a.gz")
    checked = bytearray(zstd.compress(TEXT, options=CHECKED_ZSTD))
    checked[-1] ^= 1
    (tmp_path / "a.zst").write_bytes(checked)
    with pytest.raises(DataError, match=r"a\.zst is damaged: .* doesn't match checksum"):
        unpacked(tmp_path / "a.zst")


@pytest.mark.parametrize("kind", PACK)
def test_trailing_garbage_is_said_with_its_place(tmp_path, kind):
    packed = PACK[kind](TEXT)
    (tmp_path / "long").write_bytes(packed + b"garbage")
    with pytest.raises(
        DataError, match=rf"no {kind} data at byte {len(packed)}, after {len(TEXT)} unpacked bytes: trailing gar"
    ):
        unpacked(tmp_path / "long")


def test_zeros_after_the_end_are_padding_where_the_format_permits_them(tmp_path):
    for kind in ("gzip", "xz"):
        (tmp_path / kind).write_bytes(PACK[kind](TEXT) + bytes(1 << 17) + PACK[kind](TEXT) + bytes(512))
        assert unpacked(tmp_path / kind) == TEXT * 2


@pytest.mark.parametrize(
    ("head", "name", "command"),
    [
        (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"), (b"PK\x03\x04", "zip", "unzip"), (b"Rar!\x1a\x07\x01\x00", "rar", "unrar x"),
        (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    ],
)  # fmt: skip
def test_other_archives_are_refused_with_what_unpacks_them(tmp_path, head, name, command):
    (tmp_path / "dump.xml").write_bytes(head + bytes(100))
    with pytest.raises(
        DataError, match=rf"dump\.xml is a {name} archive, which is not read; unpack it with `{command} dump\.xml`"
    ):
        unpacked(tmp_path / "dump.xml")
    (tmp_path / "dump.gz").write_bytes(gzip.compress(head + bytes(100)))
    with pytest.raises(DataError, match=rf"is a {name} archive inside of gzip"):
        unpacked(tmp_path / "dump.gz")


def test_what_is_packed_twice_is_not_followed(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bz2.compress(TEXT)))
    with pytest.raises(DataError, match=r"a\.gz is packed twice: bz2 in gzip; unpack it once"):
        unpacked(tmp_path / "a.gz")


def consumed(path, limits) -> tuple[int, str]:
    """Bytes that were given out before the file was refused, and the message."""
    size = 0
    with open_input(str(path), limits, Meter()) as stream, pytest.raises(DataError) as raised:
        while data := stream.read(1 << 20):
            size += len(data)
    return size, str(raised.value)


def test_a_bomb_is_stopped_at_its_ratio(tmp_path):
    packer = zlib.compressobj(9, wbits=31)
    (tmp_path / "bomb.gz").write_bytes(b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(100)), packer.flush()]))
    size, message = consumed(tmp_path / "bomb.gz", Limits())
    assert size <= EXPANSION_GRACE_BYTES
    assert "times its size so far" in message
    assert "more than 250; if it is no bomb, raise data.limits.max_expansion" in message


def test_a_bomb_is_stopped_at_its_size(tmp_path):
    for kind, pack in PACK.items():
        (tmp_path / kind).write_bytes(pack(bytes(8 << 20)))
        size, message = consumed(tmp_path / kind, Limits(max_unpacked_bytes=3 << 20))
        assert size <= 3 << 20
        assert "unpacks to more than 3145728 bytes" in message
        assert "data.limits.max_unpacked_gigabytes" in message


def test_a_header_that_asks_for_too_much_memory_is_refused(tmp_path):
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, (30 - 10) << 3]) + bytes([0x01, 0, 0])
    (tmp_path / "window.zst").write_bytes(frame)
    with pytest.raises(
        DataError, match=r"window\.zst asks for more memory than 128 MiB .*; pack it again with a smaller window"
    ):
        unpacked(tmp_path / "window.zst")
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(b"hello", filters=filters))
    assert packed[14:17] == bytes([0x21, 0x01, 0x10])
    packed[16] = 40  # 4 GiB - 1
    packed[20:24] = struct.pack("<I", zlib.crc32(packed[12:20]))
    (tmp_path / "window.xz").write_bytes(packed)
    with pytest.raises(DataError, match=r"window\.xz asks for more memory"):
        unpacked(tmp_path / "window.xz")


def test_what_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt cannot be opened \(.*No such file"):
        unpacked(tmp_path / "gone.txt")


def test_a_remote_file_is_read_like_a_local_one(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/streams/a.txt.bz2", bz2.compress(TEXT))
    meter = Meter()
    assert unpacked("memory://streams/a.txt.bz2", meter=meter) == TEXT
    assert meter.done == len(bz2.compress(TEXT))
    with pytest.raises(DataError, match=r"memory://streams/gone cannot be opened"):
        unpacked("memory://streams/gone")
    (tmp_path / "a").write_text("here")
    assert unpacked(f"file://{tmp_path / 'a'}") == b"here"


def test_a_real_dump_in_utf_16():
    text = unpacked(real_data.folder("wikipedia", "bgwiki-utf16-edge-case.xml.bz2")).decode()
    assert text.startswith("<mediawiki xmlns=")
    assert text.count("<page>") == 3
