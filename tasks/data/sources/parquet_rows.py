"""Rows of Parquet files, whole or some of their row groups."""

from collections.abc import Iterator
from typing import Any

from tasks.data.inputs.files import remote_errors
from tasks.data.sources.quarantine import Place
from tasks.data.sources.rows import Column, Missing, Reading, Row, check_single, missing_column, shown
from tasks.data.sources.streams import EXPANSION_GRACE_BYTES
from tasks.data.sources.units import damaged_parquet, in_column, open_parquet
from tasks.record.errors import DataError

BATCH_ROWS = 1024
BATCH_BYTES = 16 << 20
"""Rows are decoded at most so many at a time, and fewer where they are long."""


def read_parquet(reading: Reading, columns: tuple[Column, ...], texts: bool = False) -> Iterator[Row]:
    """Rows with only what `columns` are in; with `texts` these must be of a string type, else the file is refused."""
    import pyarrow

    unit = reading.unit
    try:
        with open_parquet(unit.location) as opened:
            schema = opened.schema_arrow
            kinds = [column_type(column, schema, unit.location) for column in columns]
            if texts:
                check_strings(columns, kinds, unit.location)
            names = sorted({column.path if column.path in schema.names else column.root for column in columns})
            metadata = opened.metadata
            groups = range(unit.start, unit.end) if unit.kind == "row_groups" else range(metadata.num_row_groups)
            number = sum(metadata.row_group(group).num_rows for group in range(groups.start))
            size, before = unit.bytes, reading.meter.done
            wanted = sum(metadata.row_group(group).num_rows for group in groups)
            check_expansion(metadata, groups, names, reading)
            batches = opened.iter_batches(batch_rows(metadata, groups), row_groups=list(groups), columns=names)
            first = number
            for batch in batches:
                for values in batch_values(reading, batch, number):
                    number += 1
                    if values is not None:
                        yield Row(values, row_place(reading, number))
                reading.meter.done = before + size * (number - first) // max(1, wanted)
    except (pyarrow.ArrowException, *remote_errors()) as error:
        raise damaged_parquet(unit.location, error) from None


def batch_rows(metadata: Any, groups: range) -> int:
    """Rows in a batch, so that it holds about BATCH_BYTES."""
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    return max(1, min(BATCH_ROWS, BATCH_BYTES * max(1, rows) // max(1, size)))


def check_expansion(metadata: Any, groups: range, names: list[str], reading: Reading) -> None:
    """Raises DataError for a column that unpacks to more than the limits permit; pages are decoded whole."""
    for group in groups:
        found = metadata.row_group(group)
        for column in (found.column(number) for number in range(found.num_columns)):
            size, packed = column.total_uncompressed_size, max(1, column.total_compressed_size)
            wanted = any(in_column(column.path_in_schema, name) for name in names)
            if not wanted or size <= EXPANSION_GRACE_BYTES:
                continue
            if size > reading.limits.max_expansion * packed or size > reading.limits.max_unpacked_bytes:
                raise DataError(
                    f"{reading.unit.location} row group {group} unpacks from {packed} to {size} bytes, {size / packed:.0f} "
                    f"times its size, more than {reading.limits.max_expansion:g}; if it is no bomb, raise "
                    "data.limits.max_expansion"
                )


def column_type(column: Column, schema: Any, location: str) -> Any:
    """The type of what lies at a column's path, as far as the schema says; raises DataError for one that cannot be there."""
    import pyarrow.types as types

    name = column.path if column.path in schema.names else column.root
    if name not in schema.names:
        raise missing_column(column, schema.names, location)
    check_single(name, schema.names, location)
    kind, inside = schema.field(name).type, name
    while inside != column.path:
        rest = column.path.removeprefix(f"{inside}.")
        part = rest.partition(".")[0]
        if types.is_struct(kind):
            fields = [field.name for field in kind]
            part = rest if rest in fields else part
            problem = "" if part in fields else f"has {shown(fields)}"
            kind = kind if problem else kind.field(part).type
        elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            problem = "" if part.isdecimal() else "is a list, whose places are numbers from 0"
            kind = kind if problem else kind.value_type
        else:
            problem = f"is of type {kind}, which has no parts"
        if problem:
            raise missing_column(column, schema.names, location, Missing(inside, part, problem))
        inside = f"{inside}.{part}"
    return kind


def check_strings(columns: tuple[Column, ...], kinds: list[Any], location: str) -> None:
    import pyarrow.types as types

    for column, kind in zip(columns, kinds, strict=True):
        value = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value) or types.is_null(value)):
            raise DataError(f"column {column.path!r} of {location} has type {kind}, which is no text; convert it")


def row_place(reading: Reading, number: int) -> Place:
    return Place(reading.unit.location, reading.unit.name, f"row {number}")


def batch_values(reading: Reading, batch: Any, number: int) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch, the first of which is row `number` + 1; None for one that was refused, as it is not valid UTF-8."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [one_row(reading, batch.slice(place, 1), number + place + 1) for place in range(batch.num_rows)]
    yield from rows


def one_row(reading: Reading, batch: Any, number: int) -> dict[str, Any] | None:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        place = row_place(reading, number)._replace(raw=error.object, size=len(error.object))
        problem = f"is not valid UTF-8 at byte {error.start} of a text (0x{error.object[error.start]:02x})"
        reading.refuse(place, "invalid_utf8", problem)
        return None
