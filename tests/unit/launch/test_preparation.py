"""One part in a process of its own: done once, its mistake raised here, its death told with the end of its log."""

import os
import sys
from pathlib import Path

import pytest

from tasks.launch import preparation
from tasks.launch.preparation import run_part
from tasks.record.errors import DataError, StageError, StoppedError
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout
from tasks.record.parts import Part, WorkLayout
from tasks.stages.work import prepare_work
from tests.kit.runs import tiny_config, write_text

pytestmark = pytest.mark.process

PLAN = Part("plan", 0)


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    work = prepare_work(tmp_path / "home", tiny_config(write_text(tmp_path / "words.txt", documents=60)))
    write_json(work.stage.request, work.request)
    return work.stage


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let another program be the part's process."""
    monkeypatch.setattr(preparation, "data_command", lambda stage: ([sys.executable, "-c", code], {}))


def test_a_part_is_done_once(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    run_part(stage, PLAN)
    work = WorkLayout(stage)
    assert len(work.plan) == 1
    assert "plan-00000.log" in {path.name for path in (stage.path / "logs" / "parts").iterdir()}
    made = work.folder(PLAN).stat().st_mtime_ns
    instead(monkeypatch, "raise SystemExit(1)")
    run_part(stage, PLAN)
    assert work.folder(PLAN).stat().st_mtime_ns == made
    stage.manifest.write_text("{}")
    run_part(stage, Part("extract", 0))
    assert not (work.path / "extract").exists()


def test_the_users_mistake_is_raised_as_the_process_left_it(stage: StageLayout, tmp_path: Path) -> None:
    (tmp_path / "words.txt").unlink()
    with pytest.raises(DataError, match="does not exist"):
        run_part(stage, PLAN)
    error = read_json(WorkLayout(stage).error(PLAN))
    assert error["error"] == "DataError"
    assert not stage.error.exists(), "that is for the preparation as a whole"


def test_a_stop_is_raised_as_such(stage: StageLayout) -> None:
    stage.stop.touch()
    with pytest.raises(StoppedError, match="was asked to stop; the same command continues it"):
        run_part(stage, PLAN)
    assert not WorkLayout(stage).folder(PLAN).exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; print('first'); print('the last line'); sys.exit(7)", "plan-00000 ended with exit code 7: the last line"),
        ("import os; os.kill(os.getpid(), 9)", "plan-00000 ended with exit code -9: "),
        ("", "plan-00000 ended with exit code 0: "),
    ],
)
def test_a_death_is_told_with_the_log(stage: StageLayout, monkeypatch: pytest.MonkeyPatch, code: str, words: str) -> None:
    instead(monkeypatch, code)
    with pytest.raises(StageError) as found:
        run_part(stage, PLAN)
    assert words in str(found.value)
    assert str(found.value).endswith(f"its log is {stage.path / 'logs' / 'parts' / 'plan-00000.log'}")


def test_the_process_does_not_outlive_its_caller(stage: StageLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"
    instead(monkeypatch, f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)")

    def interrupted(seconds: float) -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr(preparation.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_part(stage, PLAN)
    monkeypatch.undo()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
