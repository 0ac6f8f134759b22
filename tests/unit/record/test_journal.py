"""The journal survives what happens to its writers, and says each step once."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tasks.record.journal import CHAIN_START, Journal, chain, latest_by_step, read_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stage" / "journal.jsonl"


def write(path: Path, attempt: int, *steps: tuple[int, float]) -> None:
    journal = Journal(path, attempt)
    for step, loss in steps:
        journal.append("step", step=step, loss=loss)
    journal.close()


def test_lines_come_back_with_kind_attempt_and_time(path: Path) -> None:
    journal = Journal(path, 3)
    journal.append("event", durable=True, event="attempt", command=["a", "ü"])
    journal.close()
    (line,), offset = read_journal(path)
    assert {"kind": "event", "attempt": 3, "event": "attempt", "command": ["a", "ü"]}.items() <= line.items()
    assert line["time"] > 1.7e9
    assert offset == path.stat().st_size


def test_what_is_not_finite_becomes_null_and_is_named(path: Path) -> None:
    journal = Journal(path, 1)
    journal.append("step", step=1, loss=math.nan, grad_norm=math.inf, learning_rate=0.1, other=np.float64("-inf"))
    journal.append("step", step=2, loss=1.0)
    journal.close()
    first, second = read_journal(path)[0]
    assert (first["loss"], first["grad_norm"], first["other"], first["learning_rate"]) == (None, None, None, 0.1)
    assert first["nonfinite"] == ["loss", "grad_norm", "other"]
    assert "nonfinite" not in second
    assert b"NaN" not in path.read_bytes() and b"Infinity" not in path.read_bytes()


def test_a_torn_last_line_waits_and_is_passed_over_when_another_writer_comes(path: Path) -> None:
    write(path, 1, (1, 3.0), (2, 2.9))
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"kind": "step", "step": 3, "lo')
    lines, offset = read_journal(path)
    assert [line["step"] for line in lines] == [1, 2]
    assert offset == whole, "the torn line is read again once it is whole"
    write(path, 2, (3, 2.8))
    lines, end = read_journal(path, offset)
    assert [(line["step"], line["attempt"]) for line in lines] == [(3, 2)]
    assert end == path.stat().st_size


def test_reading_goes_on_where_it_ended(path: Path) -> None:
    assert read_journal(path, 0) == ([], 0)
    write(path, 1, (1, 3.0))
    _, offset = read_journal(path)
    assert read_journal(path, offset) == ([], offset)
    write(path, 1, (2, 2.0))
    lines, _ = read_journal(path, offset)
    assert [line["step"] for line in lines] == [2]


def test_reading_in_pieces_gives_every_line_once(path: Path) -> None:
    write(path, 1, *((step, 1.0 / step) for step in range(1, 60)))
    found, offset = [], 0
    while True:
        lines, offset = read_journal(path, offset, max_bytes=300)
        if not lines:
            break
        assert len(lines) < 10
        found += [line["step"] for line in lines]
    assert found == list(range(1, 60))


def test_lines_that_are_no_entries_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'\n[1, 2]\n"text"\n{"step": 1}\n\xff\xfe\n{"kind": "done"}\n')
    assert read_journal(path)[0] == [{"kind": "done"}]


def test_a_step_repeated_after_a_resume_counts_as_it_was_last_written(path: Path) -> None:
    write(path, 1, (1, 3.0), (2, 2.5), (3, 9.9))
    write(path, 2, (3, 2.2), (4, 2.0))
    steps = latest_by_step(read_journal(path)[0], "step")
    assert [(line["step"], line["loss"], line["attempt"]) for line in steps] == [
        (1, 3.0, 1), (2, 2.5, 1), (3, 2.2, 2), (4, 2.0, 2),
    ]  # fmt: skip
    assert latest_by_step(read_journal(path)[0], "evaluation") == []


def test_the_chain_depends_on_every_link_and_on_every_bit_of_the_loss() -> None:
    base = chain(CHAIN_START, 1, "ab", "cd", 2.5)
    assert base == chain(CHAIN_START, 1, "ab", "cd", 2.5)
    others = [
        chain(base, 1, "ab", "cd", 2.5), chain(CHAIN_START, 2, "ab", "cd", 2.5), chain(CHAIN_START, 1, "ac", "cd", 2.5),
        chain(CHAIN_START, 1, "ab", "ce", 2.5), chain(CHAIN_START, 1, "ab", "cd", math.nextafter(2.5, 3)),
    ]  # fmt: skip
    assert len({base, *others}) == 6
    assert len(base) == 64 and int(base, 16) >= 0
    assert chain(CHAIN_START, 1, "ab", "cd", math.nan) != base


def test_one_append_is_one_line_whatever_the_text(path: Path) -> None:
    journal = Journal(path, 1)
    journal.append("event", message="two\nlines\u2028and\x85more\r")
    journal.close()
    assert path.read_bytes().count(b"\n") == 1
    assert read_journal(path)[0][0]["message"] == "two\nlines\u2028and\x85more\r"
    assert json.loads(path.read_bytes())["kind"] == "event"
