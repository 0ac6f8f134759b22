"""Progress follows the journal, and its line is what people watch."""

from pathlib import Path

import pytest

from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.progress import Progress, ProgressReader, advance, duration


def step_line(step: int, **changes: object) -> dict:
    return {
        "kind": "step", "step": step, "max_steps": 40, "tokens_seen": step * 512, "tokens_per_second": 1234.5,
        "loss": 3.25, "phase": "stable", "seconds_left": 125.0,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (59.9, "59s"), (60, "1m00s"), (185, "3m05s"), (3599, "59m59s"), (3600, "1h00m"), (7800, "2h10m"),
        (86399, "23h59m"), (86400, "1d00h"), (273600, "3d04h"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_reader_costs_only_what_is_new_and_keeps_what_it_knew(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path / "02-pretrain")
    reader = ProgressReader(stage)
    assert reader.read() == Progress(stage="02-pretrain")
    journal = Journal(stage.journal, 1)
    journal.append("start", step=0, max_steps=40, phase="warm-up")
    assert reader.read().max_steps == 40
    journal.append("evaluation", step=0, heldout_loss=6.0)
    journal.append(**step_line(10))
    found = reader.read()
    assert (found.step, found.fraction, found.heldout_loss, found.loss) == (10, 0.25, 6.0, 3.25)
    assert found == reader.read()
    journal.append("done", step=10)
    assert (reader.read().fraction, reader.read().seconds_left) == (1.0, 0.0)
    journal.close()


def test_the_line_of_a_training_stage_shows_step_loss_rate_and_time_left() -> None:
    progress = advance(Progress(stage="02-pretrain"), step_line(10))
    assert progress.line.split() == [
        "02-pretrain", "25%", "step", "10/40", "loss", "3.2500", "1,234", "tokens/s", "2m05s", "left", "stable",
    ]  # fmt: skip
    assert "MFU" not in progress.line, "the peak of a CPU is not known"
    later = advance(progress, {"kind": "evaluation", "heldout_loss": 3.5})
    assert "held-out  3.5000" in later.line


def test_the_utilisation_stands_beside_the_rate_where_it_is_known() -> None:
    fast = advance(Progress(stage="02-pretrain"), step_line(10, tokens_per_second=462_000.4, mfu=0.4123))
    slow = advance(fast, step_line(20, tokens_per_second=9.0, mfu=0.0512))
    assert "462,000 tokens/s  MFU 41.2%    2m05s left" in fast.line
    assert len(slow.line) == len(fast.line), "the columns stay where they are"


def test_the_line_of_a_preparation_shows_fraction_and_message() -> None:
    progress = advance(Progress(stage="words-1234"), {"kind": "progress", "fraction": 0.5, "message": "reading"})
    assert progress.line.split() == ["words-1234", "50%", "reading"]


def test_a_loss_that_was_no_number_is_left_out_of_the_line() -> None:
    progress = advance(Progress(stage="s"), step_line(10, loss=None))
    assert progress.loss is None
    assert "loss" not in progress.line


def test_a_verdict_is_the_message_and_unknown_lines_change_nothing() -> None:
    progress = advance(Progress(stage="s"), {"kind": "verdict", "verdict": "converged", "reason": "enough"})
    assert progress.message == "converged: enough"
    assert advance(progress, {"kind": "checkpoint", "step": 3}) == progress


def test_a_rollback_or_resume_moves_the_step_back() -> None:
    progress = advance(advance(Progress(stage="s"), step_line(30)), {"kind": "start", "step": 20, "max_steps": 40})
    assert progress.step == 20
    assert advance(progress, step_line(21)).fraction == 21 / 40
