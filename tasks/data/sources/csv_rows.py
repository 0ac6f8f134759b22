"""Rows of CSV, with the place and the bytes of each, over quoted line ends."""

import csv
import io
import json
from collections.abc import Iterator
from typing import NamedTuple

from tasks.data.sources.lines import Line, read_lines
from tasks.data.sources.quarantine import EXCERPT_BYTES, Place, utf8_problem
from tasks.data.sources.rows import Column, Reading, Row, check_columns
from tasks.data.sources.streams import Limits, Meter, open_input
from tasks.record.errors import DataError

USUAL_DELIMITERS = (",", ";", "\t", "|")
HEAD_BYTES, HEAD_ROWS = 1 << 16, 100
"""Of a file, what decides about its delimiter."""


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


class CsvFormat(NamedTuple):
    """How the files are written."""

    delimiter: str | None = None
    """Between fields; None means a tab where the first rows have tabs in the same places, else a comma."""
    header: bool = True
    columns: tuple[str, ...] | None = None
    """Names of the columns where there is no header; None means "1", "2" and so on."""
    section: str | None = None
    """Which section of the settings says this, for messages; None where none does."""


PLAIN_CSV = CsvFormat()


def read_csv(reading: Reading, columns: tuple[Column, ...], form: CsvFormat = PLAIN_CSV) -> Iterator[Row]:
    """Rows with at least `columns`; raises DataError where the file does not have them."""
    csv.field_size_limit(reading.limits.max_line_bytes)
    unit = reading.unit
    delimiter = form.delimiter or usual_delimiter(unit.location, reading.limits)
    with reading.open() as stream:
        record = Record(read_lines(stream, reading.limits))
        rows = csv.reader(iter(record), strict=True, delimiter=delimiter)
        if form.header and unit.start == 0:
            first = read_header(rows, unit.location)
        else:
            first = first_row(unit.location, reading.limits, delimiter)
        names = column_names(first, form, unit.location)
        check_fields(columns, names, first, form, unit.location, delimiter)
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
            if not problem and len(values) != len(names):
                whose = "the header" if form.header else "the first row"
                problem = "wrong_fields", f"has {len(values)} fields and {whose} has {len(names)}"
            place = record_place(reading, record)
            if problem:
                reading.refuse(place, *problem, record.first)
            else:
                yield Row(dict(zip(names, values, strict=True)), place)


def usual_delimiter(location: str, limits: Limits) -> str:
    """Tab or comma, by what the first rows have and not by the file's name, which can be changed.

    A file with one column and commas in its text is divided by tabs, of which it has none.
    """
    with open_input(location, limits, Meter()) as stream:
        head = stream.read(HEAD_BYTES)
    text = head.decode(errors="replace")
    if len(head) == HEAD_BYTES:
        text = text[: text.rfind("\n") + 1] or text
    by_tab, by_comma = (numbers_of_fields(text, delimiter) for delimiter in ("\t", ","))
    tabs = len(set(by_tab)) == 1 and by_tab[0] > 1
    one_column = by_comma[:1] == [1] and len(set(by_comma[1:])) > 1
    return "\t" if tabs or one_column else ","


def numbers_of_fields(text: str, delimiter: str) -> list[int]:
    """Of each of the first rows, up to one that is not valid."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    numbers: list[int] = []
    try:
        for row in rows:
            if row:
                numbers.append(len(row))
            if len(numbers) == HEAD_ROWS:
                break
    except csv.Error:
        return numbers
    return numbers


def column_names(first: list[str], form: CsvFormat, location: str) -> list[str]:
    """What the columns of a file are called, from its first row; raises DataError where there are not as many as were named."""
    if form.header:
        return first
    if form.columns is None:
        return [str(number) for number in range(1, len(first) + 1)]
    if len(form.columns) != len(first):
        raise DataError(
            f"{location} has {len(first)} fields in its first row, and {form.section}.columns={list(form.columns)} names "
            f"{len(form.columns)}; name each of them"
        )
    return list(form.columns)


def check_fields(
    columns: tuple[Column, ...], names: list[str], first: list[str], form: CsvFormat, location: str, delimiter: str
) -> None:
    """As `check_columns`, but that a row which was not divided says by which character it is likely to be."""
    missing = next((column for column in columns if column.path not in names), None)
    likely = likely_delimiter(first[0], delimiter) if len(first) == 1 else None
    if missing is None or likely is None:
        return check_columns(columns, names, location)
    remedy = f"set {form.section}.delimiter={json.dumps(likely)}" if form.section else "write it with commas"
    raise DataError(
        f"column {missing.path!r} is not in {location}, whose first row is one field, {first[0][:40]!r}, when divided by "
        f"{json.dumps(delimiter)}, but has {json.dumps(likely)} in it; {remedy}"
    )


def likely_delimiter(field: str, delimiter: str) -> str | None:
    """The usual delimiter, other than the given one, that occurs most often in what was taken for one field."""
    others = [character for character in USUAL_DELIMITERS if character != delimiter]
    best = max(others, key=field.count)
    return best if best in field else None


def record_place(reading: Reading, record: Record) -> Place:
    assert record.first is not None, "a record has a line"
    return reading.line_place(record.first)._replace(raw=record.raw, size=record.size)


def first_row(location: str, limits: Limits, delimiter: str) -> list[str]:
    """Of the file: the header, for a span that does not have it, or a row that is read as such too."""
    with open_input(location, limits, Meter()) as stream:
        record = Record(read_lines(stream, limits))
        return read_header(csv.reader(iter(record), strict=True, delimiter=delimiter), location)


def read_header(rows: Iterator[list[str]], location: str) -> list[str]:
    try:
        return next((row for row in rows if row), [])
    except csv.Error as error:
        raise DataError(f"{location} line 1 is not a valid first row of CSV ({error}); mend it") from None
