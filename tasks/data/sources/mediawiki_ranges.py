"""Cutting a MediaWiki dump into byte ranges that can be read independently, each but the first beginning at a `<page>`.

A plain XML file is cut at page tags, a multistream .bz2 at the streams of 100 pages that it consists of. A part is read with
`mediawiki.read_pages(..., header=read_header(dump), ends=last part)`; the header lies in the first part.
"""

import bz2
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

PAGE_START = re.compile(rb"<page[\s>]")
"""In text `<` is always escaped, so that the tag is found without parsing."""
STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
"""The header of a bzip2 stream and of its first block: streams begin at a byte, blocks at any bit."""
LONGEST_PATTERN = 10
SEARCH_BYTES = 1 << 20
MAX_STREAM_TRIES = 8
"""So many streams in a row that do not begin with a page: the file was not cut at pages (pbzip2 cuts anywhere)."""
MAX_HEADER_BYTES = 1 << 20
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_header(stream: BinaryIO) -> bytes:
    """Everything before the first `<page>` of a decompressed UTF-8 export: the root's start tag and `<siteinfo>`."""
    header = b""
    while len(header) < MAX_HEADER_BYTES and (data := stream.read(1 << 14)):
        header += data
        if found := PAGE_START.search(header):
            return header[: found.start()]
    return b""


def page_ranges(file: BinaryIO, num_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges [a, b) of about `num_bytes` of a plain export, open and seekable: together the whole file, none empty.

    Every page lies in the range that its start tag is in. Only what follows each cut is read. An export in UTF-16 is one range.
    """
    file.seek(0)
    if file.read(2) in BYTE_ORDER_MARKS:
        return [(0, file.seek(0, 2))]
    return cut(file, num_bytes, next_page)


def stream_ranges(file: BinaryIO, num_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges [a, b) of about `num_bytes` compressed bytes of a .bz2 export, open and seekable, each of whole streams.

    A file of one stream, or of streams that were not cut at pages, is one range. The streams are found by their magic bytes,
    without the index file, and each candidate is unpacked up to its first bytes, since these may also occur by chance.
    """
    return cut(file, num_bytes, next_stream)


def cut(file: BinaryIO, num_bytes: int, find: Callable[[BinaryIO, int], int | None]) -> list[tuple[int, int]]:
    size = file.seek(0, 2)
    starts = [0]
    while (wanted := starts[-1] + num_bytes) < size and (found := find(file, wanted)) is not None:
        starts.append(found)
    return list(zip(starts, [*starts[1:], size], strict=True))


def next_page(file: BinaryIO, position: int) -> int | None:
    return next(occurrences(file, PAGE_START, position), None)


def next_stream(file: BinaryIO, position: int) -> int | None:
    for tries, found in enumerate(occurrences(file, STREAM_START, position)):
        if begins_with_page(file, found):
            return found
        if tries >= MAX_STREAM_TRIES:
            break
    return None


def begins_with_page(file: BinaryIO, position: int) -> bool:
    """Whether a bzip2 stream begins at `position`, and a page with it."""
    file.seek(position)
    unpacker, unpacked = bz2.BZ2Decompressor(), b""
    try:
        while not unpacked.strip() and not unpacker.eof and (data := file.read(1 << 16)):
            unpacked += unpacker.decompress(data, max_length=1 << 10)
    except OSError:
        return False
    return PAGE_START.match(unpacked.lstrip()) is not None


def occurrences(file: BinaryIO, pattern: re.Pattern[bytes], position: int) -> Iterator[int]:
    """The places at or after `position` where a pattern of at most LONGEST_PATTERN bytes begins."""
    block = b" "
    while block:
        file.seek(position)
        block = file.read(SEARCH_BYTES)
        for found in pattern.finditer(block):
            yield position + found.start()
        if len(block) < SEARCH_BYTES:
            return
        position += SEARCH_BYTES - LONGEST_PATTERN + 1
