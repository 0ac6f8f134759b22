"""Compressed streams by content: which format it is, and unpacking one member after the other in bounded memory."""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD_BYTES = 16
"""Of a file, enough to know its format."""
MAX_WINDOW_LOG = 27
"""zstd: 128 MiB, what `zstd --long` makes at most without a number; a header can ask for more than any machine has."""
XZ_MEMORY_BYTES = 256 << 20
"""Four times what `xz -9` needs."""

PACKED_ERRORS = (OSError, zlib.error, lzma.LZMAError, zstd.ZstdError)
"""What a decoder raises for data that are damaged; bzip2 has no class of its own."""
TOO_MUCH_MEMORY = ("too much memory", "Memory usage limit")
"""In the messages of zstd and xz: the header asks for a larger window than allowed."""

REFUSED = {
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"PK\x05\x06": ("zip", "unzip"),
    b"Rar!\x1a\x07": ("rar", "unrar x"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
    b"LZIP\x01": ("lzip", "lzip -d"),
    b"\x1f\x9d": ("compress", "uncompress"),
}
"""Formats that are not unpacked: what they are called, and what unpacks them."""


class Decoder(Protocol):
    """One member: the interface of `bz2.BZ2Decompressor`, which xz and zstd share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class GzipDecoder:
    """One gzip member, its checksum and length verified, with the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(found) < max_length and not self.eof
        return found


DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": GzipDecoder,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES),
    "zstd": lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}),
}
ZERO_PADDED = ("gzip", "xz")
"""Formats that permit zeros after a member (RFC 1952 tools; xz file format, section 2.2)."""


def compression_of(head: bytes) -> str | None:
    """The format that begins with `head` (its first HEAD_BYTES, or all of a shorter file); None for none that is unpacked."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head[:3] == b"BZh" and head[3:4].isdigit() and (b"1AY&SY".startswith(head[4:10]) or head[4:10] == b"\x17rE8P\x90"):
        return "bz2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    skippable = head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") or skippable else None


def refused_format(head: bytes) -> tuple[str, str] | None:
    """Name and unpacking command of a format that is not unpacked here."""
    return next((found for magic, found in REFUSED.items() if head.startswith(magic)), None)
