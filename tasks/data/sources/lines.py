"""Lines of a stream with their numbers and places, and where a plain file can be cut between two of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tasks.data.sources.compression import HEAD_BYTES, compression_of
from tasks.data.sources.quarantine import EXCERPT_BYTES
from tasks.data.sources.streams import WIDE_MARKS, InputStream, Limits, Meter, open_input, open_raw

SKIP_BYTES = 1 << 20
SCAN_BYTES = 4 << 20


class Line(NamedTuple):
    number: int
    """From 1, in the stream."""
    offset: int
    """Of its first byte in the unpacked file."""
    raw: bytes
    """With its end; of a line that is too long only the beginning."""
    size: int
    """Bytes, its end included."""

    @property
    def too_long(self) -> bool:
        return self.size > len(self.raw)


def read_lines(stream: InputStream, limits: Limits) -> Iterator[Line]:
    """Every line, with its number and place."""
    offset = stream.first_offset
    for number, (raw, size) in enumerate(raw_lines(stream, limits), 1):
        yield Line(number, offset, raw, size)
        offset += size


def raw_lines(stream: InputStream, limits: Limits) -> Iterator[tuple[bytes, int]]:
    """Every line and its size; of one that is longer than the limit only the beginning: it is read to its end but not held."""
    longest, readline = limits.max_line_bytes, stream.readline
    while raw := readline(longest + 1):
        size = len(raw)
        if size > longest and not raw.endswith(b"\n"):
            raw = raw[: min(EXCERPT_BYTES, longest)]
            while more := readline(SKIP_BYTES):
                size += len(more)
                if more.endswith(b"\n"):
                    break
        yield raw, size


def split_lines(location: str, num_bytes: int) -> list[tuple[int, int]]:
    """Spans of about `num_bytes` that together are the file, each from the start of a line to the end of one.

    A file that cannot be entered in the middle, compressed or UTF-16, is one span.
    """
    file = open_raw(location)
    with file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(HEAD_BYTES)
        if compression_of(head) or head.startswith(tuple(WIDE_MARKS)):
            return [(0, size)]
        cuts = [0]
        while (wanted := cuts[-1] + num_bytes) < size and (cut := next_line(file, wanted, size)) < size:
            cuts.append(cut)
    return list(zip(cuts, [*cuts[1:], size], strict=True))


def next_line(file: Any, wanted: int, size: int) -> int:
    """Offset of the first line that starts at `wanted` or later; `size` if there is none."""
    place = wanted - 1
    file.seek(place)
    while block := file.read(SKIP_BYTES):
        if (found := block.find(b"\n")) >= 0:
            return place + found + 1
        place += len(block)
    return size


def has_quotes(location: str) -> bool:
    """Whether a plain file has a double quote anywhere: a line of such a CSV file may be the middle of a row."""
    with open_raw(location) as file:
        while block := file.read(SCAN_BYTES):
            if b'"' in block:
                return True
    return False


def lines_before(location: str, offset: int) -> int:
    """Number of line ends before a place of a plain file; for a message, as it reads everything before the place."""
    count = 0
    with open_input(location, Limits(), Meter(), (0, offset)) as stream:
        while block := stream.read(SCAN_BYTES):
            count += block.count(b"\n")
    return count
