"""A row's place, and the columns that it should have."""

from tasks.data.sources.lines import Line
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.rows import Reading, Row, missing_column
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import Unit


def place(unit):
    return Reading(unit, Limits(), Quarantine(None, "fail"), Meter()).line_place(Line(3, 120, b"raw", 30))


def test_a_line_is_named_by_number_and_in_a_span_by_byte():
    whole = place(Unit("/data/sub/a.jsonl", "sub/a.jsonl", "file"))
    assert (whole.short, whole.offset, whole.raw, whole.size) == ("sub/a.jsonl line 3", 120, b"raw", 30)
    assert Row({}, whole).where == "/data/sub/a.jsonl line 3"
    assert place(Unit("/data/a.jsonl", "a.jsonl", "span", 100, 200)).short == "a.jsonl byte 120"


def test_a_missing_column_names_those_that_are_there():
    message = str(missing_column("text", ["a", "b"], "a.csv"))
    assert message.startswith("column 'text' is not in a.csv, which has 'a', 'b'; set text_column (or text_columns")
    assert "which has none;" in str(missing_column("text", [], "a.csv"))
    assert str(missing_column("text", list(map(str, range(30))), "a.csv")).count("'") == 2 + 40
