"""One rank as a process: what it leaves behind when it ends well, is stopped, refused, or breaks; and that it never stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks.record.children import STOPPED_EXIT_CODE
from tasks.record.failures import take_first_failure
from tasks.record.files import read_json, write_json
from tasks.record.layout import REPOSITORY, RunLayout, StageLayout
from tasks.record.manifest import Input, Request
from tasks.stages.work import prepare_work, pretrain_work
from tasks.worker import log_to
from tests.kit.preparations import prepared_result
from tests.kit.runs import write_text
from tests.kit.stages import small_config

ENVIRONMENT = {"PRETUNE_ATTEMPT": "1", "RANK": "0", "WORLD_SIZE": "1", "PRETUNE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}


def work(stage: StageLayout, **environment: str) -> subprocess.CompletedProcess:
    """A rank of the stage, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tasks.worker", str(stage.path)], capture_output=True, text=True, cwd=REPOSITORY, timeout=300,
        env=os.environ | ENVIRONMENT | environment,
    )  # fmt: skip


def log(stage: StageLayout) -> str:
    return (stage.logs(1) / "rank_0.log").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def pretrain_asked(stage: StageLayout, data: Path) -> None:
    identity = {"pretrain": {}, "model": {}, "convergence": {}}
    write_json(
        stage.request, Request(kind="pretrain", identity=identity, inputs={"dataset": Input(path=str(data), digest="d")})
    )


def test_a_users_mistake_is_left_with_its_name_and_message(stage: StageLayout, tmp_path: Path) -> None:
    pretrain_asked(stage, tmp_path / "gone")
    done = work(stage)
    assert done.returncode == 2
    failure = take_first_failure(stage, 1)
    assert (failure.rank, failure.error) == (0, "IntegrityError")
    assert failure.message.startswith(f"{tmp_path}/gone/manifest.json does not exist; ")
    assert done.stdout == done.stderr == "", "what a rank says is in its own log"
    assert not stage.manifest.exists()


def test_a_stage_without_a_request_is_refused(stage: StageLayout) -> None:
    stage.path.mkdir()
    assert work(stage).returncode == 2
    assert "request.json cannot be read" in take_first_failure(stage, 1).message


def test_a_rank_that_breaks_says_why_in_its_log_and_blames_nobody(stage: StageLayout) -> None:
    write_json(stage.request, Request(kind="pretrain", identity={}))
    assert work(stage).returncode == 1
    failure = take_first_failure(stage, 1)
    assert (failure.message, failure.is_users, failure.is_echo) == ("rank 0: KeyError: 'pretrain'", False, False)
    assert "Traceback" in log(stage)
    assert "KeyError: 'pretrain'" in log(stage)


def test_a_world_of_another_size_breaks_the_rank(stage: StageLayout, tmp_path: Path) -> None:
    pretrain_asked(stage, tmp_path)
    assert work(stage, PRETUNE_WORLD_SIZE="2").returncode == 1
    assert "2 ranks were asked for and the launcher started 1" in log(stage)


def test_a_stop_ends_after_a_step_and_the_rank_can_go_on_to_the_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    config = small_config(write_text(home / "words.txt", documents=80))
    asked = pretrain_work(RunLayout(home, "run"), config, prepared_result(prepare_work(home, config)))
    write_json(asked.stage.request, asked.request)
    asked.stage.stop.touch()
    assert work(asked.stage).returncode == STOPPED_EXIT_CODE, log(asked.stage)
    assert [p.name for p in asked.stage.checkpoints.iterdir()] == ["step_00000001"]
    assert take_first_failure(asked.stage, 1) is None and not asked.stage.manifest.exists()
    asked.stage.stop.unlink()
    assert work(asked.stage).returncode == 0, log(asked.stage)
    assert read_json(asked.stage.manifest)["step"] == 12


LAUNCHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
RANK = """
import time
from tasks.worker import die_with_launcher
die_with_launcher()
print("up", flush=True)
time.sleep(600)
"""


def test_a_rank_dies_with_a_launcher_that_was_killed() -> None:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, RANK], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    rank = psutil.Process(int(launcher.stdout.readline()))
    assert launcher.stdout.readline() == "up\n"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    assert psutil.wait_procs([rank], timeout=30)[1] == []
    launcher.stdout.close()


def test_a_log_takes_all_output_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "rank_0.log"
    for text in ("first", "second"):
        child = os.fork()
        if child == 0:
            log_to(path)
            os.write(1, f"{text} out\n".encode())
            os.write(2, f"{text} err\n".encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert path.read_text().splitlines() == ["first out", "first err", "second out", "second err"]
