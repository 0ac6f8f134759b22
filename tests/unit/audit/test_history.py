"""Which steps count, where a journal has more of them or fewer."""

from pathlib import Path
from typing import Any

from tasks.audit import history as history_module
from tasks.audit.history import History, read_history
from tasks.record.journal import Journal


def told(*lines: tuple[str, int], **more: Any) -> History:
    history = History()
    history.follow([{"kind": k, "step": s, "attempt": n, "loss": float(n), "chain": f"{n}"} for n, (k, s) in enumerate(lines)])
    return history


def losses(history: History) -> list[float | None]:
    return [line.loss if line else None for line in history.steps]


def test_a_step_that_was_taken_again_counts_as_it_was_last_taken() -> None:
    history = told(("start", 0), ("step", 1), ("step", 2), ("step", 3), ("start", 1), ("step", 2), ("step", 3))
    assert losses(history) == [1.0, 5.0, 6.0]
    assert (history.undone, history.attempts, history.missing) == (2, {0, 4}, [])


def test_steps_that_a_crash_lost_do_not_count_before_they_are_taken_again() -> None:
    history = told(("start", 0), ("step", 1), ("step", 2), ("step", 3), ("start", 1))
    assert (losses(history), history.undone) == ([1.0], 2)


def test_a_rollback_leaves_behind_what_came_after_it_also_where_the_run_ends_earlier() -> None:
    history = told(*(("step", n) for n in range(1, 7)))
    history.follow([{"kind": "event", "event": "rollback", "from_step": 6, "step": 2}])
    history.follow([{"kind": "step", "step": 3, "loss": 9.0, "chain": "c", "tokens_seen": 30}])
    assert losses(history) == [0.0, 1.0, 9.0], "steps 4 to 6 are not of the model that came out"
    assert history.undone == 4


def test_a_line_that_is_gone_leaves_a_gap() -> None:
    assert told(("start", 0), ("step", 1), ("step", 4)).missing == [2, 3]
    assert told(("step", 1), ("start", 3)).missing == [2, 3], "an attempt went on from a step that was never noted"


def test_other_lines_and_events_change_nothing() -> None:
    history = told(("step", 1), ("evaluation", 0), ("checkpoint", 1), ("event", 0), ("done", 1))
    assert (len(history.steps), history.undone) == (1, 0)
    history.follow([{"kind": "step", "step": None}, {"kind": "event", "event": "damaged_checkpoint", "message": "m"}])
    assert len(history.steps) == 1


def test_a_journal_of_any_length_is_read_in_pieces(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(history_module, "CHUNK_BYTES", 300)
    journal = Journal(tmp_path / "journal.jsonl", 1)
    for step in range(1, 51):
        journal.append("step", step=step, loss=1.0 / step, chain="c" * 64, tokens_seen=step)
    assert losses(read_history(tmp_path / "journal.jsonl")) == [1.0 / step for step in range(1, 51)]
    assert read_history(tmp_path / "none.jsonl") == History()
