"""Rows of CSV, with the place and the bytes of each, over quoted line ends."""

import csv
from collections.abc import Iterator

from tasks.data.sources.lines import Line, read_lines
from tasks.data.sources.quarantine import EXCERPT_BYTES, Place, utf8_problem
from tasks.data.sources.rows import Reading, Row, check_columns
from tasks.data.sources.streams import Limits, Meter, open_input
from tasks.record.errors import DataError


class Record:
    """Gives lines to `csv.reader`, and remembers those of the record that it is at."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        """What is read from now on belongs to the next record."""
        self.first: Line | None = None
        self.raw, self.size = b"", 0
        self.problem: tuple[str, str] | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.first = self.first or line
            self.raw += line.raw[: EXCERPT_BYTES - len(self.raw)]
            self.size += line.size
            yield self._text(line)

    def _text(self, line: Line) -> str:
        if line.too_long:
            self.problem = "line_too_long", f"has a line of {line.size} bytes"
            return "\n"
        try:
            return line.raw.decode()
        except UnicodeDecodeError as error:
            self.problem = self.problem or ("invalid_utf8", utf8_problem(error, line.offset))
            return line.raw.decode(errors="surrogateescape")


def read_csv(reading: Reading, columns: tuple[str, ...]) -> Iterator[Row]:
    """Rows with at least `columns`; raises DataError where the header does not have them."""
    csv.field_size_limit(reading.limits.max_line_bytes)
    unit = reading.unit
    with reading.open() as stream:
        record = Record(read_lines(stream, reading.limits))
        rows = csv.reader(iter(record), strict=True)
        header = read_header(rows, unit.location) if unit.start == 0 else first_row(unit.location, reading.limits)
        check_columns(columns, header, unit.location)
        while True:
            record.begin()
            problem: tuple[str, str] | None = None
            values: list[str] = []
            try:
                values = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                problem = "invalid_csv", f"is not valid CSV ({error})"
            problem = record.problem or problem
            if not values and not problem:
                continue
            if not problem and len(values) != len(header):
                problem = "wrong_fields", f"has {len(values)} fields and the header has {len(header)}"
            place = record_place(reading, record)
            if problem:
                reading.refuse(place, *problem, record.first)
            else:
                yield Row(dict(zip(header, values, strict=True)), place)


def record_place(reading: Reading, record: Record) -> Place:
    assert record.first is not None, "a record has a line"
    return reading.line_place(record.first)._replace(raw=record.raw, size=record.size)


def first_row(location: str, limits: Limits) -> list[str]:
    """The header, for a span that does not have it."""
    with open_input(location, limits, Meter()) as stream:
        return read_header(csv.reader(iter(Record(read_lines(stream, limits))), strict=True), location)


def read_header(rows: Iterator[list[str]], location: str) -> list[str]:
    try:
        return next(rows, [])
    except csv.Error as error:
        raise DataError(f"{location} line 1 is not a valid CSV header ({error}); mend it") from None
