"""The supervisor's decisions, with small real processes in the place of the ranks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.launch import supervisor
from tasks.launch.supervisor import committed, last_write, supervise
from tasks.record.children import STOPPED_EXIT_CODE, USER_ERROR_EXIT_CODE
from tasks.record.files import read_json, write_json
from tasks.record.journal import Journal, read_journal
from tasks.record.layout import REPOSITORY, StageLayout, step_folder
from tasks.record.lock import hold, token_on_disk
from tasks.record.manifest import Request

pytestmark = pytest.mark.process

PRELUDE = (
    "import os, sys, time\nfrom pathlib import Path\nstage = Path(sys.argv[1])\nattempt = int(os.environ['PRETUNE_ATTEMPT'])\n"
)


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def run(stage: StageLayout, monkeypatch: pytest.MonkeyPatch, script: str, kind: str = "pretrain", **launch: object) -> int:
    """Supervise a process that runs `script`; it knows `stage` and `attempt`."""
    command = [sys.executable, "-c", PRELUDE + script, str(stage.path)]
    monkeypatch.setattr(supervisor, "training_command", lambda *_: (command, {}))
    monkeypatch.setattr(supervisor, "data_command", lambda *_: (command, {}))
    request = Request(kind=kind, identity={}, execution={"launch": {"max_restarts": 2, **launch}} if launch else {})
    with hold(stage) as lock:
        return supervise(stage, request, lock)


def attempts(stage: StageLayout) -> list[int]:
    return [line["attempt"] for line in read_journal(stage.journal)[0] if line.get("event") == "attempt"]


def test_it_ends_when_the_manifest_is_there(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(stage, monkeypatch, "(stage / 'manifest.json').write_text('{}'); sys.exit(9)") == 0, "codes are not handed on"
    assert attempts(stage) == [1]
    assert not stage.error.exists()


def test_a_users_mistake_is_not_tried_again(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    code = run(stage, monkeypatch, "(stage / 'error.json').write_text('{\"error\": \"DataError\"}')", max_restarts=5)
    assert code == USER_ERROR_EXIT_CODE
    assert attempts(stage) == [1]


def test_it_gives_up_after_so_many_restarts_without_progress_and_says_why(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "print('starting'); raise ValueError(f'broken in attempt {attempt}')"
    assert run(stage, monkeypatch, script, max_restarts=2) == 1
    assert attempts(stage) == [1, 2, 3]
    error = read_json(stage.error)
    assert error["error"] == "StageError"
    assert error["message"] == (
        "02-pretrain failed 3 times without progress (exit code 1): ValueError: broken in attempt 3; logs are in "
        f"{stage.logs(3)}"
    )


RECORDS = """
from tasks.record.failures import Failure, open_record, record
from tasks.record.layout import StageLayout
layout = StageLayout(stage)
def say(rank, when, error, message, is_echo=False):
    record(open_record(layout, attempt, rank), Failure(rank, when, error, message, is_echo))
"""


def test_what_happened_first_is_told_and_a_users_mistake_is_not_tried_again(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = RECORDS + (
        "say(0, 3.0, 'RuntimeError', 'rank 0: closed by peer', True)\n"
        "say(1, 2.0, 'DiskFullError', 'rank 1 has no room')\nsay(2, 2.5, 'OSError', 'rank 2 is late')"
    )
    assert run(stage, monkeypatch, script, max_restarts=5) == USER_ERROR_EXIT_CODE
    assert attempts(stage) == [1]
    assert read_json(stage.error) == {"error": "DiskFullError", "message": "rank 1 has no room"}


def test_what_is_no_users_mistake_is_tried_again_and_told_without_its_echo(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = RECORDS + (
        "say(0, 3.0, 'RuntimeError', 'rank 0: closed by peer', True)\n"
        "say(1, 2.0, 'OSError', f'rank 1 cannot read, {attempt}')\n"
        "print('RuntimeError: closed by peer')"
    )
    assert run(stage, monkeypatch, script, max_restarts=1) == 1
    assert attempts(stage) == [1, 2]
    message = f"02-pretrain failed 2 times without progress (exit code 0): rank 1 cannot read, 2; logs are in {stage.logs(2)}"
    assert read_json(stage.error) == {"error": "StageError", "message": message}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (9, "rank 1 was ended by SIGKILL, as Linux does when memory has run out"),
        (7, "rank 1 was ended by SIGBUS, a file that it reads was cut short, or its disk failed"),
        (11, "rank 1 was ended by SIGSEGV"),
    ],
)
def test_a_rank_that_was_killed_is_told_from_its_echo(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    script = RECORDS + (
        "say(0, 3.0, 'RuntimeError', 'rank 0: closed by peer', True)\n"
        f"print('E0101 api.py:1002] failed (exitcode: -{number}) local_rank: 1 (pid: 7) of binary: python', file=sys.stderr)"
    )
    assert run(stage, monkeypatch, script, max_restarts=0) == 1
    assert read_json(stage.error)["message"] == f"02-pretrain failed once (exit code 0): {said}; logs are in {stage.logs(1)}"


TABLE = """E0101 api.py:1002] failed (exitcode: 1) local_rank: 0 (pid: 6) of binary: python
  rank      : 1 (local_rank: 1)
  exitcode  : -{number} (pid: 7)
Root Cause (first observed failure):
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 6)
"""
"""What the launcher writes where it sees both at one look; it ends ranks by SIGTERM itself."""


@pytest.mark.parametrize(
    ("number", "said"),
    [(9, "rank 1 was ended by SIGKILL, as Linux does when memory has run out"), (15, "ValueError: what broke")],
)
def test_an_echo_that_the_launcher_saw_first_is_not_taken_for_the_cause(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    table = TABLE.format(number=number) + "ValueError: what broke"
    script = RECORDS + f"say(0, 3.0, 'RuntimeError', 'rank 0: closed by peer', True)\nprint({table!r}, file=sys.stderr)"
    assert run(stage, monkeypatch, script, max_restarts=0) == 1
    assert read_json(stage.error)["message"] == f"02-pretrain failed once (exit code 0): {said}; logs are in {stage.logs(1)}"


def test_without_restarts_it_gives_up_at_once(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(stage, monkeypatch, "sys.exit(0)", kind="prepare") == 1
    assert attempts(stage) == [1]
    assert read_json(stage.error)["message"].startswith("02-pretrain failed once (exit code 0): ")


def test_progress_between_failures_gives_new_chances(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
if attempt <= 5:
    (stage / "checkpoints" / f"step_{attempt:08d}").mkdir(parents=True)
sys.exit(1)
"""
    assert run(stage, monkeypatch, script, max_restarts=1) == 1
    assert attempts(stage) == [1, 2, 3, 4, 5, 6], "five that got further, then one more chance"


def test_tokens_go_on_growing_over_supervisors(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    run(stage, monkeypatch, "sys.exit(1)", max_restarts=1)
    stage.error.unlink()
    run(stage, monkeypatch, "sys.exit(1)", max_restarts=0)
    assert attempts(stage) == [1, 2, 3]
    assert token_on_disk(stage) == 3
    assert {p.name for p in (stage.path / "logs").iterdir()} == {"attempt_1", "attempt_2", "attempt_3"}


def test_a_stop_is_left_to_the_ranks(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
(stage / "stop").touch()
time.sleep(0.5)
(stage / "checkpoints" / "step_00000007").mkdir(parents=True)
sys.exit(3)
"""
    assert run(stage, monkeypatch, script, max_restarts=2) == STOPPED_EXIT_CODE
    assert committed(stage) == 7, "the ranks had the time to save"
    assert attempts(stage) == [1]


def test_ranks_that_do_not_stop_are_ended_after_a_grace(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE_SECONDS", 0.2)
    assert run(stage, monkeypatch, "(stage / 'stop').touch(); time.sleep(600)", max_restarts=2) == STOPPED_EXIT_CODE


def test_a_preparation_has_no_boundaries_and_is_ended_by_a_stop(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(stage, monkeypatch, "(stage / 'stop').touch(); time.sleep(600)", kind="prepare") == STOPPED_EXIT_CODE


def test_ranks_that_write_nothing_are_ended_and_started_again(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "time.sleep(600) if attempt == 1 else (stage / 'manifest.json').write_text('{}')"
    assert run(stage, monkeypatch, script, stall_timeout_seconds=0.5) == 0
    assert attempts(stage) == [1, 2]


def test_a_process_that_writes_is_not_stalled(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
for _ in range(30):
    with open(stage / "journal.jsonl", "ab") as file:
        file.write(b'{"kind": "progress"}\\n')
    time.sleep(0.1)
(stage / "manifest.json").write_text("{}")
"""
    assert run(stage, monkeypatch, script, stall_timeout_seconds=2.0) == 0
    assert attempts(stage) == [1]


def test_a_cancelled_flow_run_stops_the_stage(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor.CancellationWatch, "cancelled", lambda *_: True)
    script = "\nwhile not (stage / 'stop').exists():\n    time.sleep(0.05)\n"
    assert run(stage, monkeypatch, script, max_restarts=2) == STOPPED_EXIT_CODE


def test_what_a_restart_can_build_on_is_the_newest_committed_step(stage: StageLayout) -> None:
    assert committed(stage) == 0
    for name in (step_folder(9), step_folder(10), ".step_00000099", ".deleted-step_00000098"):
        (stage.checkpoints / name).mkdir(parents=True)
    assert committed(stage) == 10


def test_the_last_write_is_told_on_the_monotonic_clock(stage: StageLayout) -> None:
    assert last_write(stage) == 0.0
    Journal(stage.journal, 1).close()
    os.utime(stage.journal, (time.time() - 50, time.time() - 50))
    assert time.monotonic() - last_write(stage) == pytest.approx(50, abs=5)
    os.utime(stage.journal, (time.time() + 500, time.time() + 500))
    assert last_write(stage) <= time.monotonic(), "a clock that was set back does not hide a stall for ever"


SUPERVISE = """
import sys
from pathlib import Path
from tasks.launch import supervisor
supervisor.data_command = lambda stage: ([sys.executable, "-c", "import time; print(1); time.sleep(600)"], {})
sys.exit(supervisor.main())
"""


def started(stage: StageLayout) -> tuple[subprocess.Popen, psutil.Process]:
    """A supervisor in a process of its own, and its child."""
    write_json(stage.request, Request(kind="prepare", identity={}))
    process = subprocess.Popen([sys.executable, "-c", SUPERVISE, str(stage.path)], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(process.pid).children()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process, children[0]


def test_its_child_dies_with_it(stage: StageLayout) -> None:
    process, child = started(stage)
    process.kill()
    process.wait()
    assert psutil.wait_procs([child], timeout=30)[1] == []


def test_sigterm_is_a_stop_and_a_second_supervisor_leaves_the_first_alone(stage: StageLayout) -> None:
    process, child = started(stage)
    second = subprocess.run(
        [sys.executable, "-m", "tasks.launch.supervisor", str(stage.path)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert second.returncode == 0
    assert f"is owned by process {process.pid}" in second.stderr
    assert child.is_running()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == STOPPED_EXIT_CODE
    assert stage.stop.exists()
    assert psutil.wait_procs([child], timeout=30)[1] == []
