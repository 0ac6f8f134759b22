"""The input of a source as a list of units: what can be read independently, the same on every machine.

Reading all units in their order gives what reading the files gives. Plain lines and dumps are cut into spans of bytes,
multistream bzip2 dumps between streams, Parquet files between row groups; everything else is taken a file at a time.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tasks.config.data import TextSource
from tasks.data.inputs.files import InputFile, find_input, first_line, is_url, local_path, remote_errors
from tasks.data.inputs.sources import on_hub
from tasks.data.sources.compression import HEAD_BYTES, compression_of
from tasks.data.sources.lines import has_quotes, split_lines
from tasks.data.sources.streams import open_raw
from tasks.record.errors import DamagedError, DataError

UNIT_BYTES = 64 << 20

Kind = Literal["file", "span", "row_groups", "empty", "sample", "huggingface"]


@dataclass(frozen=True)
class Unit:
    """One part of the input; `start` and `end` are bytes of a `span`, or numbers of row groups, else 0."""

    location: str
    """Absolute path, URL, or name of a data set on the hub."""
    name: str
    """What it is called in records, the same wherever the data lie."""
    kind: Kind
    start: int = 0
    end: int = 0
    bytes: int = 0
    """Of the stored file, as far as the unit has it."""
    compressed: bool = False
    last: bool = True
    """Whether it holds the end of its file."""
    file: int = 0
    """Place of its file among those of the source, by which it is found again where it was moved or renamed."""


def input_units(
    source: TextSource, num_bytes: int = UNIT_BYTES, field: str = "data.path", files: list[InputFile] | None = None
) -> list[Unit]:
    """The units of a source, in the order of its documents, each of about `num_bytes` where that is possible.

    `files` are those that are read, else what the path means. Raises DataError where these are missing, empty or outside of
    the data root. What can be found out only by reading, such as the row groups of a damaged Parquet file, is left to that.
    """
    if source.source == "sample":
        return [Unit("the sample", "sample", "sample")]
    path = source.path or ""
    if source.source == "huggingface":
        return [Unit(path, path if on_hub(source) else Path(path).name, "huggingface")]
    given = find_input(source.source, path, field).files if files is None else files
    return [replace(unit, file=n) for n, file in enumerate(given) for unit in file_units(file, source, num_bytes)]


def file_units(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    if file.size == 0:
        return [Unit(file.location, file.name, "empty")]
    try:
        return SPLITTERS[source.source](file, source, num_bytes)
    except DamagedError:  # reading it says the same, and then it can go to the quarantine
        return whole(file, source, num_bytes)


def whole(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    return [Unit(file.location, file.name, "file", bytes=max(0, file.size), compressed=is_compressed(file))]


def jsonl_units(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    """A file that begins as an array is not cut: only reading it from its start says where an element begins."""
    if 0 <= file.size <= num_bytes or begins_array(file):
        return whole(file, source, num_bytes)
    return spans(file, source, split_lines(file.location, num_bytes))


def csv_units(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    """A file with quotes is not cut: only reading it from its start says which line ends are inside of a field."""
    if 0 <= file.size <= num_bytes or is_url(file.location) or is_compressed(file) or has_quotes(file.location):
        return whole(file, source, num_bytes)
    return spans(file, source, split_lines(file.location, num_bytes))


def dump_units(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    from tasks.data.sources.mediawiki_ranges import page_ranges, stream_ranges

    with open_raw(file.location) as opened:
        cut: Callable[..., list[tuple[int, int]]] | None
        cut = {None: page_ranges, "bz2": stream_ranges}.get(compression_of(opened.read(HEAD_BYTES)))
        if cut is None or 0 <= file.size <= num_bytes:
            return whole(file, source, num_bytes)
        return spans(file, source, cut(opened, num_bytes))


def parquet_units(file: InputFile, source: TextSource, num_bytes: int) -> list[Unit]:
    """Groups of row groups; their size is that of the text column alone where the file says."""
    sizes = row_group_sizes(file, source.text_column)
    cuts, size = [0], 0
    for number, group in enumerate(sizes):
        if size and size + group > num_bytes:
            cuts.append(number)
            size = 0
        size += group
    pairs = list(zip(cuts, [*cuts[1:], len(sizes)], strict=True))
    return [Unit(file.location, file.name, "row_groups", a, b, sum(sizes[a:b]), True, last=b == len(sizes)) for a, b in pairs]


def spans(file: InputFile, source: TextSource, pairs: list[tuple[int, int]]) -> list[Unit]:
    if len(pairs) == 1:
        return whole(file, source, 0)
    packed = is_compressed(file)
    return [Unit(file.location, file.name, "span", a, b, b - a, packed, last=b == pairs[-1][1]) for a, b in pairs]


def begins_array(file: InputFile) -> bool:
    with open_raw(file.location) as opened:
        return opened.read(HEAD_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def is_compressed(file: InputFile) -> bool:
    with open_raw(file.location) as opened:
        return compression_of(opened.read(HEAD_BYTES)) is not None


def row_group_sizes(file: InputFile, column: str) -> list[int]:
    """Stored bytes of a column, or of all columns where it is not there, in each row group."""
    with open_parquet(file.location) as opened:
        metadata = opened.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        sizes = []
        for group in groups:
            columns = [group.column(number) for number in range(group.num_columns)]
            whole = [c for c in columns if in_column(c.path_in_schema, column)]
            wanted = whole or [c for c in columns if in_column(c.path_in_schema, column.partition(".")[0])] or columns
            sizes.append(sum(c.total_compressed_size for c in wanted))
        return sizes


def in_column(path: str, name: str) -> bool:
    """Whether a dotted path is that of the column `name`, or of something inside of it."""
    return path == name or path.startswith(f"{name}.")


def open_parquet(location: str) -> Any:
    """A `pyarrow.parquet.ParquetFile`, its pages verified where they have checksums; raises DataError for anything else."""
    import pyarrow
    import pyarrow.parquet

    file = open_raw(location)
    if kind := compression_of(file.read(HEAD_BYTES)):
        file.close()
        raise DataError(f"{location} is a {kind} file and no Parquet file, which is compressed inside; unpack it first")
    if not is_url(location):
        file.close()
        file = local_path(location)
    try:
        return pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)
    except (pyarrow.ArrowException, *remote_errors()) as error:
        raise damaged_parquet(location, error) from None


def damaged_parquet(location: str, error: BaseException) -> DamagedError:
    problem = f"is no Parquet file that can be read ({first_line(error)})"
    return DamagedError(f"{location} {problem}; write it again", "damaged", "", problem)


SPLITTERS: dict[str, Callable[[InputFile, TextSource, int], list[Unit]]] = {
    "text": whole,
    "jsonl": jsonl_units,
    "csv": csv_units,
    "parquet": parquet_units,
    "mediawiki": dump_units,
}
"""How a file of each source is cut. Documents of `text` reach over lines, so that only a whole file can be read."""
