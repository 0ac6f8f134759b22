"""Reading documents and rows, one after the other, out of every kind of source. Memory: one row, line or record batch.

What is wrong with a file is said with its name and line, row or byte. `datasets` is imported only in `tasks.data.hub`.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import DataError
from tasks.source_identity import first_line, resolve_files, sample_file

MAX_LINE_BYTES = 64 << 20
"""A longer line is refused: it would have to be held in memory."""
LONGEST_TEXT = 1 << 15
"""A document of source `text` is cut at the first blank line after so many characters, or at a line end after twice as many."""
DOCUMENT_BLANK_LINES = 3
"""Of source `text`; it is how Project Gutenberg sets chapters apart (two stand between a heading and its text)."""
PARQUET_ROWS = 1024


@dataclass(frozen=True)
class Row:
    values: dict[str, Any]
    where: str
    """File and line or row, for messages."""


@dataclass
class Meter:
    """How far the reading is: bytes (or pages, or documents) done of a total; a total of 0 means that it is not known."""

    total: int = 0
    done: int = 0

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


def read_rows(source: str, path: str | None, columns: tuple[str, ...], field: str, meter: Meter) -> Iterator[Row]:
    """Rows of a sample, jsonl, csv or parquet source, with at least `columns`; `field` names the setting in messages."""
    if source == "sample":
        yield from read_sample(meter)
        return
    files = resolve_files(source, path or "", field)
    meter.total, meter.done = sum(file.stat().st_size for file in files), 0
    readers = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}
    for file in files:
        yield from readers[source](file, columns, meter)


def read_text(path: str, field: str, meter: Meter) -> Iterator[str]:
    """Documents of plain text files.

    A file is one document, unless it has places with three or more blank lines: these separate documents (chapters of a
    book, for example), and fewer blank lines only separate paragraphs and headings. Long documents are cut
    (LONGEST_TEXT), so that a book without such places can be split into parts to train on and to hold out, and fits in memory.
    """
    files = resolve_files("text", path, field)
    meter.total, meter.done = sum(file.stat().st_size for file in files), 0
    for file in files:
        lines: list[str] = []
        characters = blank = 0
        for _, line in read_lines(file, meter):
            blank = blank + 1 if line.isspace() else 0
            lines.append(line)
            characters += len(line)
            too_long = (blank and characters >= LONGEST_TEXT) or characters >= 2 * LONGEST_TEXT
            if blank >= DOCUMENT_BLANK_LINES or too_long:
                if blank < len(lines):
                    yield "".join(lines)
                lines, characters = [], 0
        if blank < len(lines):
            yield "".join(lines)


def read_lines(file: Path, meter: Meter) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, its end included; raises DataError naming the byte that is not UTF-8."""
    offset = 0
    with file.open("rb") as stream:
        number = 0
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                if raw.startswith(b"\x1f\x8b"):
                    raise DataError(f"{file} is compressed with gzip; unpack it first")
                if raw.startswith(b"\xef\xbb\xbf"):
                    raw, offset = raw[3:], 3
            if len(raw) > MAX_LINE_BYTES:
                raise DataError(f"{file} line {number} is longer than {MAX_LINE_BYTES} bytes; break it into shorter lines")
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file} is not valid UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x}, line {number}); "
                    "convert it, for example with `iconv -f latin1 -t utf-8`"
                ) from None
            offset += len(raw)
            meter.done += len(raw)
            yield number, line


def read_jsonl(file: Path, columns: tuple[str, ...], meter: Meter) -> Iterator[Row]:
    for number, line in read_lines(file, meter):
        if not line.strip():
            continue
        where = f"{file} line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not valid JSON ({error}); each line must be one JSON object") from None
        if not isinstance(values, dict):
            raise DataError(f"{where} is a JSON {type(values).__name__}; each line must be one JSON object")
        yield Row(values, where)


def read_csv(file: Path, columns: tuple[str, ...], meter: Meter) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader((line for _, line in read_lines(file, meter)), strict=True)
    try:
        header = next(reader, [])
        check_columns(columns, header, str(file))
        for values in reader:
            if not values:
                continue
            where = f"{file} line {reader.line_num}"
            if len(values) != len(header):
                raise DataError(
                    f"{where} has {len(values)} fields and the header has {len(header)}; quote fields with commas or line ends"
                )
            yield Row(dict(zip(header, values, strict=True)), where)
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num} is not valid CSV ({error}); mend it") from None


def read_parquet(file: Path, columns: tuple[str, ...], meter: Meter) -> Iterator[Row]:
    """Rows with only `columns`, in record batches; pyarrow holds one row group of them."""
    import pyarrow
    import pyarrow.parquet

    number, size = 0, file.stat().st_size
    before = meter.done
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            check_columns(columns, opened.schema_arrow.names, str(file))
            rows = max(1, opened.metadata.num_rows)
            for batch in opened.iter_batches(batch_size=PARQUET_ROWS, columns=list(columns)):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(values, f"{file} row {number}")
                meter.done = before + size * number // rows
    except UnicodeDecodeError as error:
        raise DataError(f"{file} holds text that is not valid UTF-8 after row {number} ({error}); write it again") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} is no Parquet file that can be read ({first_line(error)}); write it again") from None


def read_sample(meter: Meter) -> Iterator[Row]:
    """The pages of the embedded sample: title, extract (the lead section), topic."""
    pages = json.loads(sample_file().read_bytes())
    meter.total, meter.done = len(pages), 0
    for title, page in pages.items():
        meter.done += 1
        yield Row({"title": title, "text": page["extract"], "topic": page["topic"]}, f"page {title!r}")


def check_columns(wanted: tuple[str, ...], present: list[str], where: str) -> None:
    for column in wanted:
        if column not in present:
            raise missing_column(column, present, where)


def missing_column(column: str, present: list[str], where: str) -> DataError:
    shown = ", ".join(repr(name) for name in present[:20]) + (", ..." if len(present) > 20 else "")
    return DataError(
        f"column {column!r} is not in {where}, which has {shown or 'none'}; set text_column (or label_column, "
        "prompt_column, answer_column) to one of them"
    )


def string_at(row: Row, column: str) -> str:
    """The text in a column of a row; raises DataError if the column is missing or holds anything else."""
    if column not in row.values:
        raise missing_column(column, list(row.values), row.where)
    value = row.values[column]
    if not isinstance(value, str):
        raise DataError(f"{row.where} column {column!r} is {shortened(value)}, which is no text; convert or remove the row")
    return value


def shortened(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
