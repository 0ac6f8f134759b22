"""Opening any input as one readable stream: local or remote, compressed or not, UTF-8 or UTF-16/32.

What is wrong with a file as a whole is said here: it ends too early, is damaged, unpacks to too much, cannot be reached.
Offsets count the bytes of the unpacked stream; of UTF-16 and UTF-32 those of the stream after it was made UTF-8.
"""

import codecs
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config.data import LimitsConfig
from tasks.data.inputs.files import check_allowed, first_line, is_url, local_path, open_file_system, remote_errors
from tasks.data.sources.compression import (
    DECODERS,
    HEAD_BYTES,
    PACKED_ERRORS,
    TOO_MUCH_MEMORY,
    ZERO_PADDED,
    Decoder,
    compression_of,
    refused_format,
)
from tasks.record.errors import DamagedError, DataError

READ_BYTES = 64 << 10
"""Compressed bytes taken at a time: so little, that the expansion is judged by what was really needed."""
BUFFER_BYTES = 1 << 20
"""Unpacked bytes in memory; a bomb is stopped before it fills another buffer."""
EXPANSION_GRACE_BYTES = 64 << 20
"""The expansion is judged after so many unpacked bytes: a short run of spaces shrinks a thousandfold too."""
WIDE_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order marks in the order in which they are looked for: that of UTF-32 begins with that of UTF-16."""
XML_ENCODING = re.compile(r"^(<\?xml[^>]*encoding=[\"'])[^\"']+")
"""Of an XML declaration, which would no longer be true."""


@dataclass(frozen=True)
class Limits:
    """What one input may cost."""

    max_expansion: float = 250.0
    """Unpacked bytes for one compressed byte; gzip bombs reach 1030."""
    max_unpacked_bytes: int = 2 << 40
    """Of one compressed file."""
    max_line_bytes: int = 64 << 20
    """Of a line, a CSV field, and of the text in one row of any other source."""


def reading_limits(limits: LimitsConfig) -> Limits:
    return Limits(limits.max_expansion, int(limits.max_unpacked_gigabytes * (1 << 30)), limits.max_line_megabytes << 20)


@dataclass
class Meter:
    """How far the reading is: bytes (or pages, or documents) done of a total; a total of 0 means that it is not known."""

    total: int = 0
    done: int = 0

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


class InputStream(io.BufferedReader):
    """A readable stream with its name in `where`."""

    def __init__(self, raw: io.RawIOBase, where: str, first_offset: int = 0) -> None:
        super().__init__(raw, BUFFER_BYTES)
        self.where = where
        self.first_offset = first_offset
        """Offset of the first byte that is read: the length of a byte-order mark that was passed over, or a range's start."""


def open_input(location: str, limits: Limits, meter: Meter, span: tuple[int, int] | None = None) -> InputStream:
    """Open a file or URL for reading, unpacked and without a byte-order mark.

    `span` are the first byte and the byte after the last one of a plain or bzip2 file that are read. Raises DataError now or
    while reading: with file, place in the compressed file and in the unpacked stream, and what to do.
    """
    source = PackedFile(open_raw(location), location, meter)
    try:
        return unpacked_stream(source, limits, span)
    except BaseException:
        source.close()
        raise


def unpacked_stream(source: "PackedFile", limits: Limits, span: tuple[int, int] | None) -> InputStream:
    head, where = source.peek(HEAD_BYTES), source.where
    check_format(head, where)
    kind = compression_of(head)
    if span is not None:
        source.restrict(*span)
    if kind is None:
        stream = InputStream(source, where, span[0] if span else 0)
        begun = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    else:
        stream = InputStream(UnpackedStream(source, kind, limits), where)
        begun = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        check_format(begun, where, kind)
        if (inner := compression_of(begun)) is not None:
            raise DataError(f"{where} is packed twice: {inner} in {kind}; unpack it once before it is given")
    if begun.startswith(codecs.BOM_UTF8):
        stream.first_offset += len(stream.read(len(codecs.BOM_UTF8)))
    for mark, encoding in WIDE_MARKS.items():
        if begun.startswith(mark):
            stream.read(len(mark))
            return InputStream(TranscodedStream(stream, encoding), where)
    return stream


def open_raw(location: str) -> Any:
    """The file as it is, seekable and unbuffered where it is local."""
    try:
        if is_url(location) and not location.startswith("file://"):
            fs, remote = open_file_system(location, "data.path")
            return fs.open(remote, "rb")
        path = local_path(location)
        check_allowed([path], "data.path", location)
        return path.open("rb", buffering=0)
    except remote_errors() as error:
        raise DataError(f"{location} cannot be opened ({first_line(error)}); mend the path or the permissions") from None


def check_format(head: bytes, location: str, inside: str | None = None) -> None:
    """Raises DataError for a format that is recognised and not unpacked."""
    if refused := refused_format(head):
        name, command = refused
        inner = f" inside of {inside}" if inside else ""
        raise DataError(
            f"{location} is a {name} archive{inner}, which is not read; unpack it with `{command} {Path(location).name}`, "
            "and pack it with gzip, bzip2, xz or zstd if it is to stay small"
        )


def broken(where: str, problem: str, remedy: str, place: str, reason: str = "damaged") -> DamagedError:
    return DamagedError(f"{where} {problem}; {remedy}", reason, place, problem)


class PackedFile(io.RawIOBase):
    """The bytes of a file as they are stored, counted, with the errors of the place where it lies."""

    def __init__(self, file: Any, where: str, meter: Meter) -> None:
        self._file, self.where, self._meter = file, where, meter
        self._ahead, self._left = b"", -1
        self.consumed = 0
        """Place in the file."""

    def readable(self) -> bool:
        return True

    def peek(self, size: int) -> bytes:
        """The first bytes, which the next read gives again."""
        while len(self._ahead) < size and (more := self._read(size - len(self._ahead))):
            self._ahead += more
        return self._ahead

    def restrict(self, start: int, end: int) -> None:
        """Read from `start` to before `end` only."""
        self._ahead, self._left, self.consumed = b"", end - start, start
        try:
            self._file.seek(start)
        except remote_errors() as error:
            raise self._failed(error) from None

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = len(view) if self._left < 0 else min(len(view), self._left)
        data = self._ahead[:wanted] or self._read(wanted)
        self._ahead = self._ahead[len(data) :]
        view[: len(data)] = data
        if self._left >= 0:
            self._left -= len(data)
        self.consumed += len(data)
        self._meter.done += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            return self._file.read(size) if size else b""
        except remote_errors() as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DataError:
        return DataError(f"{self.where} cannot be read at byte {self.consumed} ({first_line(error)}); try again")

    def close(self) -> None:
        self._file.close()
        super().close()


class UnpackedStream(io.RawIOBase):
    """What the members of a compressed file hold, one after the other, as far as the limits permit."""

    def __init__(self, source: PackedFile, kind: str, limits: Limits) -> None:
        self._source, self._kind, self._limits = source, kind, limits
        self._first = source.consumed
        self._decoder: Decoder | None = DECODERS[kind]()
        self._waiting = b""
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = 0
        while size < min(HEAD_BYTES, len(view)) and (found := self._unpack(len(view) - size)):
            view[size : size + len(found)] = found
            size += len(found)
        return size

    def _unpack(self, size: int) -> bytes:
        """Up to `size` unpacked bytes; none at the end."""
        found = b""
        while not found and (decoder := self._decoder or self._next_member()):
            data = b""
            if decoder.needs_input:
                data, self._waiting = self._waiting or self._source.read(READ_BYTES), b""
                if not data:
                    end = f"byte {self._source.consumed} ({self._unpacked} bytes unpacked)"
                    problem = f"is cut off: its {self._kind} data end in the middle at {end}"
                    raise broken(self._source.where, problem, "copy or download it again", end, "truncated")
            try:
                found = decoder.decompress(data, size)
            except PACKED_ERRORS as error:
                raise self._damaged(error) from None
            self._unpacked += len(found)
            self._check_limits()
            if decoder.eof:
                self._waiting, self._decoder = decoder.unused_data, None
        return found

    def _next_member(self) -> Decoder | None:
        """The decoder of another member, if one follows; raises DataError where something else does."""
        while True:
            if self._kind in ZERO_PADDED:
                self._waiting = self._waiting.lstrip(b"\0")
            if len(self._waiting) >= HEAD_BYTES or not (more := self._source.read(READ_BYTES)):
                break
            self._waiting += more
        if not self._waiting:
            return None
        if compression_of(self._waiting[:HEAD_BYTES]) != self._kind:
            place = f"byte {self._source.consumed - len(self._waiting)}"
            problem = f"has something that is no {self._kind} data at {place}, after {self._unpacked} unpacked bytes"
            remedy = "cut it off there, or copy or download the file again"
            raise broken(self._source.where, f"{problem}: trailing garbage", remedy, place)
        self._decoder = DECODERS[self._kind]()
        return self._decoder

    def _damaged(self, error: Exception) -> DataError:
        where, place = self._source.where, f"before byte {self._source.consumed} ({self._unpacked} bytes unpacked)"
        if any(words in str(error) for words in TOO_MUCH_MEMORY):
            return DataError(
                f"{where} asks for more memory than 128 MiB (zstd) or 256 MiB (xz) to be unpacked, {place}; pack it again with "
                "a smaller window (`zstd --long=27`, `xz -9`)"
            )
        problem = f"is damaged: its {self._kind} data cannot be unpacked {place}: {first_line(error)}"
        return broken(where, problem, "copy it again", place)

    def _check_limits(self) -> None:
        limits, packed = self._limits, self._source.consumed - self._first
        if self._unpacked > limits.max_unpacked_bytes:
            raise DataError(
                f"{self._source.where} unpacks to more than {limits.max_unpacked_bytes} bytes, with {packed} bytes read of it; "
                "if it is no bomb, raise data.limits.max_unpacked_gigabytes"
            )
        if self._unpacked > EXPANSION_GRACE_BYTES and self._unpacked > limits.max_expansion * packed:
            raise DataError(
                f"{self._source.where} unpacks to {self._unpacked / packed:.0f} times its size so far ({packed} bytes to "
                f"{self._unpacked}), more than {limits.max_expansion:g}; if it is no bomb, raise data.limits.max_expansion"
            )

    def close(self) -> None:
        self._source.close()
        super().close()


class TranscodedStream(io.RawIOBase):
    """UTF-16 or UTF-32 as UTF-8; lone surrogates become bytes that are no UTF-8, so that their line is found bad."""

    def __init__(self, stream: InputStream, encoding: str) -> None:
        self._stream, self._encoding = stream, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._ready, self._read = memoryview(b""), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready:
            data = self._stream.read1(READ_BYTES)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                place = f"after about {self._read} unpacked bytes"
                problem = f"is not valid {self._encoding} {place} ({error.reason})"
                remedy = f"write it again, for example with `iconv -c -f {self._encoding} -t utf-8`"
                raise broken(self._stream.where, problem, remedy, place, "invalid_utf8") from None
            if not self._read:
                text = XML_ENCODING.sub(r"\1UTF-8", text)
            self._ready = memoryview(text.encode("utf-8", "surrogatepass"))
            self._read += len(data)
            if not data:
                break
        size = min(len(view), len(self._ready))
        view[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()
