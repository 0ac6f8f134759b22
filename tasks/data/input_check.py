"""Looking at the files of a text before it is prepared: all that cannot be read are named at once, and not one a day.

Of every file the beginning is read and, where its format has one, its end is looked for; the smallest files are read whole.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tasks.config.data import DataConfig, LimitsConfig, TextSource
from tasks.data.inputs.files import NUM_NAMED, InputFile, find_input
from tasks.data.inputs.text import source_fields
from tasks.data.sources.compression import HEAD_BYTES, compression_of
from tasks.data.sources.mediawiki import CHUNK_BYTES, PageParser
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.read import csv_format, documents, dump_pages, read_text, unit_rows
from tasks.data.sources.rows import Column, Reading
from tasks.data.sources.streams import Meter, open_raw, reading_limits
from tasks.data.sources.units import Unit
from tasks.record.errors import DamagedError, DataError

WHOLE_BYTES = 64 << 20
"""Of plain bytes, or what costs the same time: so much is read whole, which takes about a second."""
COST = {None: 1, "gzip": 2, "zstd": 2, "xz": 8, "bz2": 10}
"""Of a stored byte, by how it is packed."""
END_BYTES = 1 << 12
BZ2_END = 0x177245385090
"""The 48 bits that end a bzip2 stream, before a checksum of 32 bits; they begin at any bit."""
NUM_SAID = 5
"""Files of which the message says what is wrong; others are named."""


def check_inputs(data: DataConfig) -> None:
    """Raises DataError that names every file which cannot be read as the settings say, unless such are quarantined."""
    if data.limits.on_bad_input == "quarantine":
        return
    for field, source in source_fields(data):
        if source.source in ("sample", "huggingface"):
            continue
        files = find_input(source.source, source.path or "", field, empty=True).files
        problems = list(problems_of(source, files, data.limits))
        if problems:
            raise DataError(said(f"{field}={source.path!r}", len(files), problems))


def said(what: str, number: int, problems: list[tuple[str, str]]) -> str:
    """`problems` are the files with what is wrong; one alone is said as its reading would say it."""
    hint = "or set data.limits.on_bad_input='quarantine' to take what can be read"
    if len(problems) == 1:
        return f"{problems[0][1]}, {hint}"
    sentences = " ".join(f"({n}) {problem}." for n, (_, problem) in enumerate(problems[:NUM_SAID], 1))
    others, rest = problems[NUM_SAID : NUM_SAID + NUM_NAMED], len(problems) - NUM_SAID - NUM_NAMED
    more = f" Others: {', '.join(name for name, _ in others)}" + (f" and {rest} more." if rest > 0 else ".") if others else ""
    return f"{what}: {len(problems)} of {number} files cannot be read; mend or remove them, {hint}: {sentences}{more}"


def problems_of(source: TextSource, files: list[InputFile], limits: LimitsConfig) -> Iterator[tuple[str, str]]:
    """Name and problem of each file of this machine that is bad, in their order; the only file is read soon enough."""
    whole = read_whole(files) if source.max_documents is None and len(files) > 1 else set()
    for file in files:
        if file.size == 0:
            yield file.name, f"{file.location} is empty; remove it or give it content"
        elif file.version is None and len(files) > 1:
            try:
                look_at(source, file, limits, file.location in whole)
            except DataError as error:
                yield file.name, str(error)


def read_whole(files: list[InputFile]) -> set[str]:
    """The places of the smallest files, as many as can be read soon."""
    costs = sorted((file.size * COST[packed_as(file.location)], file.location) for file in files if file.version is None)
    found: set[str] = set()
    total = 0
    for cost, location in costs:
        total += cost
        if total > WHOLE_BYTES:
            break
        found.add(location)
    return found


def packed_as(location: str) -> str | None:
    with open_raw(location) as opened:
        return compression_of(opened.read(HEAD_BYTES))


def look_at(source: TextSource, file: InputFile, limits: LimitsConfig, whole: bool) -> None:
    """Raises DataError for what is wrong with a file, as far as it is read."""
    reading = Reading(
        Unit(file.location, file.name, "file", bytes=file.size), reading_limits(limits), Quarantine(None, "fail"), Meter()
    )
    if whole:
        for _ in contents(source, reading):
            continue
        return
    check_end(source, file)
    if source.source == "mediawiki":  # its first article may come late
        with reading.open() as stream:
            PageParser(file.location, Counter(), frozenset()).feed(stream.read(CHUNK_BYTES))
    else:
        for _ in islice(contents(source, reading), 1):
            continue


def contents(source: TextSource, reading: Reading) -> Iterator[Any]:
    """What a preparation would read of the file, but that the pages of a dump stay as they are."""
    if source.source == "mediawiki":
        return dump_pages(reading, Counter())
    if source.source == "text":
        return read_text(reading)
    rows = unit_rows(source.source, reading, (Column(source.text_column),), texts=True, form=csv_format(source))
    return documents(rows, source.text_column, reading)


def check_end(source: TextSource, file: InputFile) -> None:
    """Raises DamagedError for a file that lacks the end which its format has."""
    with open_raw(file.location) as opened:
        kind = compression_of(opened.read(HEAD_BYTES))
        opened.seek(max(0, file.size - END_BYTES))
        end = opened.read(END_BYTES)
    missing = None
    if kind == "bz2" and not ends_bz2(end):
        missing = "the end of a bzip2 stream"
    elif kind == "xz" and not end.rstrip(b"\0").endswith(b"YZ"):
        missing = "the end of an xz stream"
    elif kind is None and source.source == "mediawiki" and b"</mediawiki>" not in end.replace(b"\0", b""):
        missing = "</mediawiki>"
    if missing is not None:
        problem = f"is cut off: it does not end with {missing}"
        raise DamagedError(f"{file.location} {problem}; copy or download it again", "truncated", "the end", problem)


def ends_bz2(end: bytes) -> bool:
    """Whether the last bits of a file are the end of a bzip2 stream: 48 bits, a checksum of 32, and up to 7 to fill a byte."""
    last = int.from_bytes(end[-11:], "big")
    return any((last >> (32 + fill)) & ((1 << 48) - 1) == BZ2_END for fill in range(8))
