"""The elements of a file that is one JSON array, one after the other, in memory that does not grow with the file."""

import re
from collections.abc import Iterator

import orjson

from tasks.data.sources.lines import Line
from tasks.data.sources.streams import InputStream, Limits, broken

CHUNK_BYTES = 1 << 18
TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)
"""A whole string, or a character that can end an element; a single quote is a string that ends behind the buffer."""


def begins_array(stream: InputStream) -> bool:
    """Whether a stream is an array from its first byte on, and not lines of which the first is one."""
    begun = stream.peek(1).lstrip()
    if not begun.startswith(b"["):
        return False
    first, _, rest = begun.partition(b"\n")
    if not rest.strip():
        return True
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return True
    return False


def array_elements(stream: InputStream, limits: Limits) -> Iterator[Line]:
    """The bytes of every element, numbered from 1, whether they are JSON or not.

    Raises DamagedError where the file ends inside of the array, goes on behind it, or has an element that is too long.
    """
    data, base, start, at, depth, number = b"", stream.first_offset, 0, 0, -1, 1
    while True:
        found = TOKEN.search(data, at)
        token = found.group() if found else b'"'
        if found is None or token == b'"':
            at = found.start() if found else len(data)
            if len(data) - start > limits.max_line_bytes:
                raise at_element(stream, number, base + start, f"has more than {limits.max_line_bytes} bytes")
            more = stream.read(max(CHUNK_BYTES, len(data) - start))
            if not more:
                raise at_element(stream, number, base + len(data), "is not ended: the file is cut off", "truncated")
            data, base, at, start = data[start:] + more, base + start, at - start, 0
            continue
        at = found.end()
        if token in b"[{":
            depth += 1
            if depth == 0:
                start = at
        elif depth == 0 and token in b",]":
            raw = data[start : found.start()]
            if token == b"," or raw.strip():
                yield Line(number, base + start, raw.strip(), found.start() - start)
            if token == b"]":
                break
            number, start = number + 1, at
        elif token in b"]}":
            depth -= 1
    rest = data[at:]
    while not rest.strip() and (more := stream.read(CHUNK_BYTES)):
        rest = more
    if rest.strip():
        raise at_element(stream, number, base + at, "is the last one of the array, and the file goes on behind it")


def at_element(stream: InputStream, number: int, offset: int, problem: str, reason: str = "damaged") -> Exception:
    place = f"item {number} (byte {offset})"
    return broken(stream.where, f"{place} {problem}", "write the file again, an object a line", place, reason)
