"""Shipping a stage to MLflow servers that are there, away or silent, and the process that follows a journal."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tasks.record.errors import TrackingError
from tasks.record.layout import REPOSITORY
from tasks.registry import versions as registry
from tasks.registry.store import read_registration, tracking_uri
from tasks.registry.tracking import connect, sync
from tasks.services.environment import mlflow_command, mlflow_environment
from tasks.services.records import ServiceRecord, write_record
from tests.kit.registered_stages import begun_stage, finished_training, new_version, points, run_of, write_steps


@pytest.fixture
def stage(home):
    return begun_stage(home)


def test_server_that_refuses_raises_and_the_next_sync_ships_everything(home, stage, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(
                TrackingError, match=r"MLflow at http://127\.0\.0\.1:\d+ failed while shipping runs/demo/02-pretrain"
            ):
                sync(home, stage)
    assert len(points(home, sync(home, stage), "loss")) == 10


def test_server_that_never_answers_raises_after_the_time_limit(home, stage, monkeypatch):
    with silent_server() as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with pytest.raises(TrackingError, match=r"failed while shipping runs/demo/02-pretrain .*Read timed"):
            sync(home, stage)


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in held:
            connection.close()


def follower(home: Path, stage, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tasks.registry.tracking", str(stage.path)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PRETUNE_HOME": str(home)} | environment,
    )  # fmt: skip


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_follower_ships_while_the_stage_runs_and_ends_with_it(home, stage):
    process = follower(home, stage)
    wait_for(stage.registration.exists)
    write_steps(stage, range(11, 21))
    finished_training(stage)
    assert process.wait(60) == 0
    run_id = read_registration(home, stage).run_id
    assert len(points(home, run_id, "loss")) == 20
    assert run_of(home, run_id).info.status == "FINISHED"
    assert run_of(home, run_id).info.run_name == "demo/02-pretrain"


def test_follower_that_is_told_to_end_ships_the_rest_first(home, stage):
    process = follower(home, stage)
    wait_for(lambda: stage.registration.exists() and read_registration(home, stage).shipped_bytes > 0)
    write_steps(stage, range(11, 21))
    stage.error.write_text("{}")
    process.terminate()
    assert process.wait(60) == 0
    run_id = read_registration(home, stage).run_id
    assert len(points(home, run_id, "loss")) == 20
    assert run_of(home, run_id).info.status == "FAILED"


def test_follower_marks_the_run_killed_when_its_parent_dies(home, stage):
    code = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-m', 'tasks.registry.tracking', sys.argv[1]], stderr=subprocess.DEVNULL)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(stage.path)], cwd=REPOSITORY, env=os.environ | {"PRETUNE_HOME": str(home)}
    )
    wait_for(lambda: stage.registration.exists() and read_registration(home, stage).shipped_bytes > 0)
    parent.kill()
    parent.wait()
    run_id = read_registration(home, stage).run_id
    wait_for(lambda: run_of(home, run_id).info.status != "RUNNING")
    assert run_of(home, run_id).info.status == "KILLED"


def test_follower_goes_on_where_the_server_is_away_and_says_so(home, stage):
    with silent_server() as url:
        process = follower(home, stage, MLFLOW_TRACKING_URI=url, MLFLOW_HTTP_REQUEST_TIMEOUT="1")
        assert "failed while shipping" in process.stderr.readline()
        assert process.poll() is None
        finished_training(stage)
        assert process.wait(60) == 1
    assert run_of(home, sync(home, stage)).info.status == "FINISHED"


def test_through_the_server_of_this_home_and_without_it_again(home, stage, tmp_path):
    """The same run and version, whether the server is there or not; over HTTP with credentials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        mlflow_command(home, port), cwd=tmp_path, start_new_session=True,
        env=os.environ | mlflow_environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        import psutil

        write_record(
            home, ServiceRecord(name="mlflow", pid=server.pid, create_time=psutil.Process(server.pid).create_time(), port=port)
        )
        assert tracking_uri(home) == f"http://127.0.0.1:{port}"
        wait_for(partial(answers, home))
        first = sync(home, stage)
        version = registry.register(home, new_version(stage, finished_training(stage)))
        assert sync(home, stage) == first
        assert version.run_id == first
        assert (Path(version.path) / "model.safetensors").samefile(stage.export / "model.safetensors")
        assert version.aliases == ("pretrained",)
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    assert tracking_uri(home).startswith("sqlite:///")
    assert registry.versions(home, "demo-base") == [version]
    assert len(points(home, first, "loss")) == 10
    assert run_of(home, first).info.status == "FINISHED"


def answers(home: Path) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(connect(home).search_experiments(max_results=1))
    except MlflowException as error:
        assert "Connection refused" in str(error), error
        return False
