"""A row's place, and the columns that it should have."""

import pytest

from tasks.data.sources.lines import Line
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.rows import Column, Missing, Reading, Row, check_columns, missing_column, value_at
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import Unit
from tasks.record.errors import DataError

NESTED = {
    "text": "top", "none": None, "review": {"body": "inside", "stars": [[0, 7]]},
    "turns": [{"text": "first"}, {"text": "second"}], "a.b": "the name itself goes before the path",
    "a": {"b": "not this", "c.d": "as it does further in", "c": {"d": "nor this"}},
}  # fmt: skip


def place(unit):
    return Reading(unit, Limits(), Quarantine(None, "fail"), Meter()).line_place(Line(3, 120, b"raw", 30))


def test_a_line_is_named_by_number_and_in_a_span_by_byte():
    whole = place(Unit("/data/sub/a.jsonl", "sub/a.jsonl", "file"))
    assert (whole.short, whole.offset, whole.raw, whole.size) == ("sub/a.jsonl line 3", 120, b"raw", 30)
    assert Row({}, whole).where == "/data/sub/a.jsonl line 3"
    assert place(Unit("/data/a.jsonl", "a.jsonl", "span", 100, 200)).short == "a.jsonl byte 120"


def test_a_missing_column_names_those_that_are_there():
    column = Column("text", "finetune[topic].examples.text_column")
    message = str(missing_column(column, ["a", "b"], "a.csv"))
    setting = "finetune[topic].examples.text_column"
    assert message == f"column 'text' is not in a.csv, which has 'a', 'b'; set {setting} to one of them"
    assert "which has none;" in str(missing_column(column, [], "a.csv"))
    assert str(missing_column(column, list(map(str, range(30))), "a.csv")).count("'") == 2 + 40


def test_of_two_columns_with_one_name_none_is_read():
    check_columns((Column("n"),), ["text", "n", "text"], "a.csv")
    with pytest.raises(
        DataError, match=r"^column 'text' is in a\.csv 2 times, so that none is meant for sure; rename the others"
    ):
        check_columns((Column("n"), Column("text")), ["text", "n", "text"], "a.csv")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text", "top"),
        ("review.body", "inside"),
        ("turns.0.text", "first"),
        ("turns.1", {"text": "second"}),
        ("a.b", "the name itself goes before the path"),
        ("a.c.d", "as it does further in"),
        ("none", None),
        ("review.stars.0.1", 7),
    ],
)
def test_a_path_leads_to_a_value(path, value):
    assert value_at(NESTED, path) == value


@pytest.mark.parametrize(
    ("path", "missing", "words"),
    [
        ("body", Missing("", "body", ""), "which has 'text', 'none', 'review', 'turns', 'a.b', 'a'; set text_column to one"),
        ("rating.stars", Missing("", "rating", ""), "which has 'text', 'none'"),
        (
            "review.title",
            Missing("review", "title", ""),
            "'review' has 'body', 'stars', and there is no 'title' in it; set text_",
        ),
        (
            "review.body.x",
            Missing("review.body", "x", ""),
            "'review.body' is str 'inside', which has no parts, and there is no",
        ),
        (
            "turns.2.text",
            Missing("turns", "2", ""),
            "'turns' is a list of 2, whose places are numbers from 0, and there is no '2'",
        ),
        ("turns.last", Missing("turns", "last", ""), "'turns' is a list of 2"),
        ("turns.1.body", Missing("turns.1", "body", ""), "'turns.1' has 'text', and there is no 'body' in it"),
        ("none.x", Missing("none", "x", ""), "'none' is NoneType None, which has no parts"),
    ],
)
def test_the_part_of_a_path_that_is_missing_is_named(path, missing, words):
    assert value_at(NESTED, path)[:2] == missing[:2]
    with pytest.raises(DataError) as raised:
        Row(NESTED, place(Unit("/data/a.jsonl", "a.jsonl", "file"))).value(Column(path))
    message = str(raised.value)
    assert message.startswith(f"column {path!r} is not in /data/a.jsonl line 3")
    assert words in message
