"""The line of champions: a promotion adds to it, a rollback takes back what it undid."""

import pytest

from tasks.record.errors import GateError
from tasks.registry.champions import earlier_champions, rollback_target
from tasks.registry.records import Move


def move(to: int | None, how: str = "", alias: str = "champion") -> Move:
    return Move(
        model="m", alias=alias, from_version=None, to_version=to, reason="r", by="b", time="t",
        blessing="d" if how == "blessed" else None, forced=how == "forced",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("moves", "current", "line"),
    [
        ([], None, []),
        ([move(1, "blessed")], 1, []),
        ([move(1, "blessed"), move(2, "forced"), move(3, "blessed")], 3, [1, 2]),
        ([move(1, "blessed"), move(2, "blessed"), move(1)], 1, []),
        ([move(1, "blessed"), move(2, "blessed"), move(3, "blessed"), move(2)], 2, [1]),
        ([move(1, "blessed"), move(2, "blessed"), move(1, "blessed")], 1, [1, 2]),
        ([move(1, "blessed"), move(2, "blessed"), move(9, alias="previous")], 2, [1]),
        ([move(1, "blessed"), move(2, "blessed"), move(None)], None, [1, 2]),
        ([move(1, "blessed"), move(2, "blessed")], 1, []),
        ([move(1, "blessed"), move(2, "blessed")], 7, [1, 2]),
    ],
)
def test_the_line_of_earlier_champions(moves, current, line):
    assert earlier_champions(moves, {}, current) == line


def test_a_version_that_was_registered_again_keeps_its_place():
    assert earlier_champions([move(1, "blessed"), move(2, "blessed"), move(4)], {1: 4}, 4) == []
    assert earlier_champions([move(1, "blessed"), move(2, "blessed")], {1: 4}, 2) == [4]


@pytest.mark.parametrize(
    ("line", "there", "to", "message"),
    [
        ([], [], None, "m had no champion before version 5; there is nothing to roll back to, promote a version"),
        ([2], [], None, "m had no champion before version 5 that is still there: version 2 was deleted in MLflow; there is"),
        ([1, 2], [1, 2], 5, "m version 5 is the champion already; name an earlier one, or leave --to out"),
        ([1, 2], [1, 2], 4, "m version 4 is no champion before version 5; there are: 1, 2"),
        ([1, 2], [1], 2, "m version 2 is no champion before version 5 that is still there: version 2 was deleted .*: 1$"),
    ],
)
def test_where_there_is_nothing_to_go_back_to_it_says_why(line, there, to, message):
    with pytest.raises(GateError, match=message):
        rollback_target("m", 5, line, there, to)


def test_it_goes_to_the_last_one_that_is_there_or_to_the_named_one():
    assert rollback_target("m", 5, [1, 2, 3], [1, 2], None) == 2
    assert rollback_target("m", 5, [1, 2, 3], [1, 2], 1) == 1
