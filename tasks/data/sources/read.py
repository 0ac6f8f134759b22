"""Reading documents and rows, one after the other, out of every kind of source. Memory: one row, line or record batch.

A row that is bad goes to the quarantine: every row is either given or refused there, once. A file that is bad as a whole raises
DataError. `datasets` is imported only in `tasks.data.sources.hub`.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from tasks.config.data import MixedSource, Source, TextSource
from tasks.data.inputs.files import InputFile, find_input, input_files
from tasks.data.inputs.sources import sample_file
from tasks.data.sources.csv_rows import PLAIN_CSV, CsvFormat, read_csv
from tasks.data.sources.json_array import array_elements, begins_array
from tasks.data.sources.lines import Line, raw_lines, read_lines
from tasks.data.sources.mediawiki import Page, read_pages
from tasks.data.sources.parquet_rows import read_parquet
from tasks.data.sources.quarantine import EXCERPT_BYTES, Place, Quarantine, shortened, text_problem, utf8_problem
from tasks.data.sources.rows import Column, Missing, Reading, Row, shown, value_at
from tasks.data.sources.streams import Limits, Meter, open_input
from tasks.data.sources.units import UNIT_BYTES, Unit, input_units
from tasks.record.errors import DamagedError, DataError

LONGEST_TEXT = 1 << 15
"""A document of source `text` is cut at the first blank line after so many characters, or at a line end after twice as many."""
DOCUMENT_BLANK_LINES = 3
"""Of source `text`; it is how Project Gutenberg sets chapters apart (two stand between a heading and its text)."""


class RawDocument(NamedTuple):
    text: str
    where: str
    """File (as it is called in records) and line, row or page."""


def read_source(
    source: TextSource, limits: Limits, quarantine: Quarantine, meter: Meter, dropped: Counter[str], field: str = "data.path"
) -> Iterator[RawDocument]:
    """All documents of a source, unit after unit, as `read_unit`."""
    units = input_units(source, UNIT_BYTES, field)
    meter.total, meter.done = sum(unit.bytes for unit in units), 0
    for unit in units:
        yield from read_unit(unit, source, limits, quarantine, meter, dropped)


def read_unit(
    unit: Unit,
    source: TextSource,
    limits: Limits,
    quarantine: Quarantine,
    meter: Meter,
    dropped: Counter[str],
    templates: dict[str, list[int]] | None = None,
) -> Iterator[RawDocument]:
    """The documents of a unit, each of which UTF-8 can hold; what a dump has beside articles is counted in `dropped`.

    The templates of which nothing is left are added to `templates`: by name how many, and how many inside a sentence.

    Raises DataError for a file that is not what the settings say, and under the policy `fail` for a bad row, an empty file or
    one that is damaged.
    """
    reading = Reading(unit, limits, quarantine, meter)
    place = Place(unit.location, unit.name, "the file", size=unit.bytes)
    if unit.kind == "empty":
        quarantine.refuse(place, "empty_file", "is empty")
        return
    try:
        yield from unit_documents(reading, source, dropped, {} if templates is None else templates)
    except DamagedError as damage:
        quarantine.refuse_rest(place, damage)


def unit_documents(
    reading: Reading, source: TextSource, dropped: Counter[str], templates: dict[str, list[int]]
) -> Iterator[RawDocument]:
    """As `read_unit`; raises DamagedError where the file ends to be readable, after everything before."""
    if source.source == "text":
        return read_text(reading)
    if source.source == "mediawiki":
        return read_mediawiki(reading, source, dropped, templates)
    if source.source == "huggingface":
        from tasks.data.sources.hub import read_huggingface

        return documents(read_huggingface(reading, source), source.text_column, reading)
    column = "text" if source.source == "sample" else source.text_column
    rows = unit_rows(source.source, reading, (Column(column),), texts=True, form=csv_format(source))
    return documents(rows, column, reading)


def csv_format(source: TextSource) -> CsvFormat:
    section = f"data.mixture[{source.name}]" if isinstance(source, MixedSource) else "data"
    return CsvFormat(source.delimiter, source.header, source.columns, section)


def read_rows(
    source: Source,
    path: str | None,
    columns: tuple[Column, ...],
    field: str,
    meter: Meter,
    form: CsvFormat = PLAIN_CSV,
    files: list[InputFile] | None = None,
) -> Iterator[Row]:
    """Rows of a sample, jsonl, csv or parquet source; `field` names the setting in messages. Raises DataError for a bad row.

    `files` are those that are read, else all that the path means.
    """
    given = TextSource.model_construct(source=source, path=path, text_column=columns[0].path)
    if files is None and path is not None:
        files = input_files(source, path, field)
    units = input_units(given, UNIT_BYTES, field, files)
    meter.total, meter.done = sum(unit.bytes for unit in units), 0
    for unit in units:
        yield from unit_rows(source, Reading(unit, Limits(), Quarantine(None, "fail"), meter), columns, form=form)


def first_rows(
    source: Source, path: str, columns: tuple[Column, ...], field: str, form: CsvFormat = PLAIN_CSV, training: bool = False
) -> Iterator[Row]:
    """As `read_rows`, of the first file only, if that lies on this machine: nothing is read ahead, so that one row is cheap."""
    file = find_input(source, path, field, training).files[0]
    if file.version is None:
        unit = Unit(file.location, file.name, "file", bytes=file.size)
        yield from unit_rows(source, Reading(unit, Limits(), Quarantine(None, "fail"), Meter()), columns, form=form)


def read_text_files(path: str, field: str) -> list[str]:
    """The documents of plain text files, held in memory; `field` names the setting in messages."""
    source = TextSource.model_construct(source="text", path=path)
    return [found.text for found in read_source(source, Limits(), Quarantine(None, "fail"), Meter(), Counter(), field)]


def unit_rows(
    source: str, reading: Reading, columns: tuple[Column, ...], texts: bool = False, form: CsvFormat = PLAIN_CSV
) -> Iterator[Row]:
    """The good rows of a unit. With `texts` a Parquet file whose columns hold no strings is refused as a whole."""
    if source == "sample":
        return read_sample(reading)
    if source == "parquet":
        return read_parquet(reading, columns, texts)
    return read_csv(reading, columns, form) if source == "csv" else read_jsonl(reading)


def documents(rows: Iterator[Row], column: str, reading: Reading) -> Iterator[RawDocument]:
    """The texts in a column, where they are good."""
    longest = reading.limits.max_line_bytes
    for row in rows:
        text = row.values.get(column)
        if text is None and column not in row.values:
            text = value_at(row.values, column)
        if isinstance(text, str):
            found = text_problem(text, longest)
            if found is None:
                yield RawDocument(text, row.place.short)
                continue
            problem = found
        elif not isinstance(text, Missing):
            problem = "no_text", f"column {column!r} is {shortened(text)}, which is no text"
        elif text.inside:
            problem = "missing_column", f"has no column {column!r}, as {text.inside!r} {text.problem}"
        else:
            problem = "missing_column", f"has no column {column!r} but {shown(list(row.values))}"
        reading.refuse(row.place, *problem)


def read_jsonl(reading: Reading) -> Iterator[Row]:
    """The objects, one a line, or the elements of an array that is the file; lines that are blank are no rows."""
    with reading.open() as stream:
        if reading.unit.kind == "file" and begins_array(stream):
            yield from read_array(reading, array_elements(stream, reading.limits))
            return
        for line in read_lines(stream, reading.limits):
            if line.too_long:
                problem = "line_too_long", f"has {line.size} bytes, more than {reading.limits.max_line_bytes}"
            elif line.raw.isspace():
                continue
            else:
                values, found = parse_object(line)
                if found is None:
                    yield Row(values, reading.line_place(line))
                    continue
                problem = found
            reading.refuse(reading.line_place(line), *problem, line)


def read_array(reading: Reading, elements: Iterator[Line]) -> Iterator[Row]:
    for element in elements:
        place = reading.line_place(element)._replace(where=f"item {element.number}")
        longest = reading.limits.max_line_bytes
        if element.size > longest:
            reading.refuse(place, "line_too_long", f"has {element.size} bytes, more than {longest}")
            continue
        values, problem = parse_object(element)
        if problem is None:
            yield Row(values, place)
        else:
            reading.refuse(place, *problem)


def parse_object(line: Line) -> tuple[Any, tuple[str, str] | None]:
    """The JSON object of a line, or what is wrong with it.

    `json` takes what `orjson` refuses though it does no harm outside of the text: NaN and infinities, lone surrogates.
    """
    try:
        values = orjson.loads(line.raw)
    except orjson.JSONDecodeError:
        try:
            values = json.loads(line.raw.decode().rstrip("\r\n"))
        except UnicodeDecodeError as error:
            return None, ("invalid_utf8", utf8_problem(error, line.offset))
        except (ValueError, RecursionError) as error:
            return None, ("invalid_json", f"is not valid JSON ({error})")
    if type(values) is not dict:
        return None, ("no_object", f"is a JSON {type(values).__name__}")
    return values, None


def read_text(reading: Reading) -> Iterator[RawDocument]:
    """Documents of a plain text file.

    A file is one document, unless it has places with three or more blank lines: these separate documents (chapters of a
    book, for example), and fewer blank lines only separate paragraphs and headings. Long documents are cut
    (LONGEST_TEXT), so that a book without such places can be split into parts to train on and to hold out, and fits in memory.
    """
    damage: DamagedError | None = None
    with reading.open() as stream:
        document = TextDocument(1, stream.first_offset)
        characters = blank = 0
        try:
            for raw, size in raw_lines(stream, reading.limits):
                document.lines.append(raw)
                if size > len(raw):
                    document.too_long = len(document.lines), size
                    document.missing += size - len(raw)
                blank = blank + 1 if raw.isspace() or (raw[0] >= 0x80 and raw.decode(errors="replace").isspace()) else 0
                characters += size if raw.isascii() else len(raw.decode(errors="replace"))
                too_long = (blank and characters >= LONGEST_TEXT) or characters >= 2 * LONGEST_TEXT
                if blank >= DOCUMENT_BLANK_LINES or too_long:
                    if blank < len(document.lines) and (found := document.finish(reading)):
                        yield found
                    document = document.next()
                    characters = blank = 0
        except DamagedError as error:
            damage = error  # the document that it cuts is given first
        if blank < len(document.lines) and (found := document.finish(reading)):
            yield found
    if damage is not None:
        raise damage


class TextDocument:
    """The lines of the document that is being read, the first of which has `number` and begins at `offset`."""

    def __init__(self, number: int, offset: int) -> None:
        self.number, self.offset = number, offset
        self.lines: list[bytes] = []
        self.too_long: tuple[int, int] | None = None
        """Place among the lines and size of the last one that was too long."""
        self.missing = 0
        """Bytes of such lines that are not here."""

    @property
    def size(self) -> int:
        return sum(map(len, self.lines)) + self.missing

    def next(self) -> "TextDocument":
        return TextDocument(self.number + len(self.lines), self.offset + self.size)

    def finish(self, reading: Reading) -> RawDocument | None:
        """The document unless it is refused. Its place is that of its first line that is not blank."""
        skipped = next((n for n, line in enumerate(self.lines) if not line.isspace()), 0)
        before = sum(map(len, self.lines[:skipped]))
        data = b"".join(self.lines)
        line = Line(self.number + skipped, self.offset + before, data[before : before + EXCERPT_BYTES], self.size - before)
        problem: tuple[str, str] | None
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            number = self.number + data.count(b"\n", 0, error.start)
            problem = "invalid_utf8", f"{utf8_problem(error, self.offset)}, line {number}"
        else:
            problem = text_problem(text, reading.limits.max_line_bytes)
        if self.too_long:
            place, size = self.too_long
            problem = "line_too_long", f"has {size} bytes in line {self.number + place - 1}"
        if problem is None:
            return RawDocument(text, reading.line_place(line).short)
        reading.refuse(reading.line_place(line), *problem)
        return None


def read_mediawiki(
    reading: Reading, source: TextSource, dropped: Counter[str], templates: dict[str, list[int]]
) -> Iterator[RawDocument]:
    """The articles of a dump as prose."""
    from tasks.data.wikitext.census import add, new_census
    from tasks.data.wikitext.convert import wikitext_to_text

    census = new_census()
    formulas, tables = source.formulas == "plain", source.tables == "plain"
    try:
        for page in dump_pages(reading, dropped):
            names, language = page.site.media_names, page.site.language
            text = wikitext_to_text(page.text, names, language, census, formulas=formulas, tables=tables)
            place = Place(reading.unit.location, reading.unit.name, f"page {page.title!r}")
            if problem := text_problem(text, reading.limits.max_line_bytes):
                raw = page.text[:EXCERPT_BYTES].encode()
                reading.refuse(place._replace(raw=raw, size=len(page.text.encode())), *problem)
            else:
                yield RawDocument(text, place.short)
    finally:  # a damaged file ends here too
        add(census, templates)


def dump_pages(reading: Reading, dropped: Counter[str]) -> Iterator[Page]:
    """The articles as wikitext; a place where the XML is broken is refused, and what follows the next page tag is read."""
    from tasks.data.sources.mediawiki_ranges import read_header

    unit, header = reading.unit, b""
    if unit.kind == "span" and unit.start > 0:
        with open_input(unit.location, reading.limits, Meter()) as stream:
            header = read_header(stream)
    place = Place(unit.location, unit.name, "the file")
    with reading.open() as stream:
        yield from read_pages(
            stream,
            unit.location,
            dropped,
            header=header,
            ends=unit.last,
            first_offset=stream.first_offset,
            refuse=lambda damage: reading.quarantine.refuse_rest(place, damage),
        )


def read_sample(reading: Reading) -> Iterator[Row]:
    """The pages of the embedded sample: title, extract (the lead section), topic."""
    pages = json.loads(sample_file().read_bytes())
    meter = reading.meter
    meter.total, meter.done = len(pages), 0
    for title, page in pages.items():
        meter.done += 1
        values = {"title": title, "text": page["extract"], "topic": page["topic"]}
        yield Row(values, Place(reading.unit.location, reading.unit.name, f"page {title!r}"))


def string_at(row: Row, column: Column) -> str:
    """The text in a column of a row; raises DataError if the column is missing or holds anything else."""
    value = row.value(column)
    if not isinstance(value, str):
        problem = f"{row.where} column {column.path!r} is {shortened(value)}, which is no text"
        raise DataError(f"{problem}; convert or remove the row")
    return value
