"""The texts of one input, a text per row or line, for a model that is asked about each of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tasks.config.data import Source
from tasks.data.inputs.files import input_files
from tasks.data.sources.lines import read_lines
from tasks.data.sources.quarantine import Quarantine, utf8_problem
from tasks.data.sources.read import documents, unit_rows
from tasks.data.sources.rows import Column, Reading, Row
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import Unit, open_parquet
from tasks.record.errors import ConfigError, DataError

TextFormat = Literal["text", "jsonl", "csv", "parquet"]
FORMATS: dict[str, TextFormat] = {
    ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet",
}  # fmt: skip
PACKED = (".gz", ".bz2", ".xz", ".zst")
STANDARD_INPUT = "-"


def text_units(path: str, given: TextFormat | None, field: str) -> tuple[TextFormat, list[Unit]]:
    """The format, by `given` or the end of the name, and the files that the path means; `-` is standard input, lines of text.

    Raises ConfigError for a format that nothing tells, DataError where files are missing or empty; `field` is named in both.
    """
    if path == STANDARD_INPUT:
        if given in ("csv", "parquet"):
            raise ConfigError(f"--format={given} is not read from standard input; give a file, or lines of text or jsonl")
        return given or "text", [Unit("/dev/stdin", "standard input", "file")]
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    found = given or (FORMATS.get(suffixes[-1]) if suffixes else None)
    source: Source = found or "text"
    files = input_files(source, path, field)
    if found is None:
        raise ConfigError(
            f"{field}={path!r} has none of the endings that tell its format ({', '.join(FORMATS)}); name it with --format"
        )
    return found, [Unit(file.location, file.name, "file", bytes=max(0, file.size)) for file in files]


def read_texts(path: str, given: TextFormat | None, column: str, meter: Meter, field: str = "FILE") -> Iterator[str]:
    """Every text that is not blank, in order; raises DataError for a bad row, with its place, and where there is none."""
    kind, units = text_units(path, given, field)
    meter.total = sum(unit.bytes for unit in units)
    number = 0
    for unit in units:
        reading = Reading(unit, Limits(), Quarantine(None, "fail"), meter)
        rows = read_plain(reading, column) if kind == "text" else rows_with(kind, reading, column)
        for document in documents(rows, column, reading):
            if document.text.strip():
                number += 1
                yield document.text
    if not number:
        raise DataError(f"{field}={path!r} holds no text; give it at least one that is not blank")


def read_plain(reading: Reading, column: str) -> Iterator[Row]:
    """The lines, without their ends; blank ones are none."""
    with reading.open() as stream:
        for line in read_lines(stream, reading.limits):
            if line.too_long:
                reading.refuse(reading.line_place(line), "line_too_long", f"has {line.size} bytes", line)
            try:
                yield Row({column: line.raw.decode().rstrip("\r\n")}, reading.line_place(line))
            except UnicodeDecodeError as error:
                reading.refuse(reading.line_place(line), "invalid_utf8", utf8_problem(error, line.offset), line)


def rows_with(kind: TextFormat, reading: Reading, column: str) -> Iterator[Row]:
    """The rows, each of which has the column."""
    if kind == "parquet":
        with open_parquet(reading.unit.location) as file:
            check_column(column, file.schema_arrow.names, reading.unit.location)
        yield from unit_rows(kind, reading, (Column(column),))
        return
    for row in unit_rows(kind, reading, ()):
        check_column(column, list(row.values), row.where)
        yield row


def check_column(column: str, there: list[str], where: str) -> None:
    if column not in there:
        names = ", ".join(map(repr, there[:20])) or "nothing"
        raise DataError(f"--column={column!r} is not in {where}, which has {names}; name one of them")
