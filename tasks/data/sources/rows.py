"""A row of any source, its place, the value that a column means in it, and what reading one needs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.data.sources.lines import Line, lines_before
from tasks.data.sources.quarantine import Place, Quarantine, shortened
from tasks.data.sources.streams import InputStream, Limits, Meter, open_input
from tasks.data.sources.units import Unit
from tasks.record.errors import DataError

NUM_SHOWN = 20
"""Columns that a message names."""


class Column(NamedTuple):
    """A wanted column."""

    path: str
    """Its name, or the way to a value inside of another, such as `review.body` or `turns.0.text`."""
    setting: str = "text_column"
    """Which setting says so, for messages."""

    @property
    def root(self) -> str:
        """The column that the path begins in, where none has its whole name."""
        return self.path.partition(".")[0]


@dataclass(slots=True)
class Row:
    values: dict[str, Any]
    place: Place

    @property
    def where(self) -> str:
        """File and line or row, for messages."""
        return self.place.full

    def value(self, column: Column) -> Any:
        """What the row has in a column; raises DataError that says which part of its path is missing."""
        found = value_at(self.values, column.path)
        if isinstance(found, Missing):
            raise missing_column(column, list(self.values), self.where, found)
        return found


class Missing(NamedTuple):
    """Where a path ends before its last part."""

    inside: str
    """The part of the path that leads somewhere; empty for the row itself."""
    part: str
    """The next one, which does not."""
    problem: str
    """In words, about what lies at `inside`."""


def value_at(row: dict[str, Any], path: str) -> Any:
    """What a row of JSON has at a dotted path, or a `Missing`; a key that is all that is left of the path goes before it."""
    value: Any = row
    rest = path
    while True:
        if isinstance(value, dict) and rest in value:
            return value[rest]
        part, dot, behind = rest.partition(".")
        inside = path.removesuffix(rest).rstrip(".")
        if isinstance(value, dict):
            if not dot or part not in value:
                return Missing(inside, part, f"has {shown(list(value))}")
            value = value[part]
        elif isinstance(value, list):
            if not part.isdecimal() or int(part) >= len(value):
                return Missing(inside, part, f"is a list of {len(value)}, whose places are numbers from 0")
            value = value[int(part)]
            if not dot:
                return value
        else:
            return Missing(inside, part, f"is {shortened(value)}, which has no parts")
        rest = behind


@dataclass(frozen=True)
class Reading:
    """What the reading of a unit needs."""

    unit: Unit
    limits: Limits
    quarantine: Quarantine
    meter: Meter

    def open(self) -> InputStream:
        unit = self.unit
        return open_input(unit.location, self.limits, self.meter, (unit.start, unit.end) if unit.kind == "span" else None)

    def line_place(self, line: Line) -> Place:
        """By its number; in a span, whose lines have none before the file was read from its start, by its byte."""
        where = f"byte {line.offset}" if self.unit.kind == "span" else f"line {line.number}"
        return Place(self.unit.location, self.unit.name, where, line.offset, line.raw, line.size)

    def refuse(self, place: Place, reason: str, problem: str, line: Line | None = None) -> None:
        """As `Quarantine.refuse`, but that a line that ends the reading is counted even in a span."""
        if line is not None and self.unit.kind == "span" and self.quarantine.policy == "fail":
            place = place._replace(where=f"line {lines_before(self.unit.location, self.unit.start) + line.number}")
        self.quarantine.refuse(place, reason, problem)


def check_columns(wanted: tuple[Column, ...], present: list[str], where: str) -> None:
    """Raises DataError for a column that is not there, or of whose name there are two."""
    for column in wanted:
        if column.path not in present:
            raise missing_column(column, present, where)
        check_single(column.path, present, where)


def check_single(name: str, present: list[str], where: str) -> None:
    if (number := present.count(name)) > 1:
        raise DataError(f"column {name!r} is in {where} {number} times, so that none is meant for sure; rename the others")


def missing_column(column: Column, present: list[str], where: str, missing: Missing | None = None) -> DataError:
    """`missing` says what part of a path is missing; without it, or where that is the first part, the columns are named."""
    if missing is not None and missing.inside:
        return DataError(
            f"column {column.path!r} is not in {where}: {missing.inside!r} {missing.problem}, and there is no {missing.part!r} "
            f"in it; set {column.setting} to a path that every row has, or mend the row"
        )
    has = f"which has {shown(present)}"
    return DataError(f"column {column.path!r} is not in {where}, {has}; set {column.setting} to one of them")


def shown(names: list[str]) -> str:
    return (", ".join(map(repr, names[:NUM_SHOWN])) or "none") + (", ..." if len(names) > NUM_SHOWN else "")
