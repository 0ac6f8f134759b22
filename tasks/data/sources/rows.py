"""A row of any source, its place, and what reading one needs."""

from dataclasses import dataclass
from typing import Any

from tasks.data.sources.lines import Line, lines_before
from tasks.data.sources.quarantine import Place, Quarantine
from tasks.data.sources.streams import InputStream, Limits, Meter, open_input
from tasks.data.sources.units import Unit
from tasks.record.errors import DataError


@dataclass(slots=True)
class Row:
    values: dict[str, Any]
    place: Place

    @property
    def where(self) -> str:
        """File and line or row, for messages."""
        return self.place.full


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


def check_columns(wanted: tuple[str, ...], present: list[str], where: str) -> None:
    for column in wanted:
        if column not in present:
            raise missing_column(column, present, where)


def missing_column(column: str, present: list[str], where: str) -> DataError:
    shown = ", ".join(repr(name) for name in present[:20]) + (", ..." if len(present) > 20 else "")
    return DataError(
        f"column {column!r} is not in {where}, which has {shown or 'none'}; set text_column (or text_columns, "
        "label_column, prompt_column, answer_column) to one of them"
    )
