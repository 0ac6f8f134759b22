"""One process owns a file or a stage; the kernel lets go of what a killed one held; the token only grows."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.record import lock
from tasks.record.errors import LockedError
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.lock import exclusive, hold, owner, parse, token_on_disk

HOLDER = """
import sys, time
from pathlib import Path
from tasks.record.lock import hold
from tasks.record.layout import StageLayout
with hold(StageLayout(Path(sys.argv[1]))) as held:
    held.next_token()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "stage")


@pytest.fixture
def holder(stage: StageLayout) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(stage.path)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_with_the_owners_number(
    stage: StageLayout, holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "ACQUIRE_SECONDS", 0.1)
    with pytest.raises(LockedError, match=f"is owned by process {holder.pid}; wait for it or stop it"), hold(stage):
        pytest.fail("two owners")
    assert owner(stage)["pid"] == holder.pid
    assert owner(stage)["token"] == token_on_disk(stage) == 1


def test_the_kernel_releases_what_a_killed_process_held_and_the_token_grows(
    stage: StageLayout, holder: subprocess.Popen
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert owner(stage) is None
    assert token_on_disk(stage) == 1, "the token outlives its holder"
    with hold(stage) as held:
        assert held.token == 1
        assert [held.next_token(), held.next_token()] == [2, 3]
        assert owner(stage)["pid"] == os.getpid()
    assert owner(stage) is None
    assert token_on_disk(stage) == 3


def test_who_looks_does_not_take_the_lock_away(stage: StageLayout) -> None:
    with hold(stage):
        assert owner(stage) and owner(stage)
    with stage.lock.open("rb") as observer:
        lock.try_lock(observer, lock.fcntl.LOCK_SH)
        assert owner(stage) is None, "observers do not take each other for owners"


def test_a_holder_to_be_waits_for_an_observer_to_go(stage: StageLayout) -> None:
    stage.path.mkdir()
    stage.lock.touch()
    script = (
        "import fcntl, sys, time\nfile = open(sys.argv[1], 'rb')\n"
        "fcntl.flock(file, fcntl.LOCK_SH)\nprint('looks', flush=True)\n"
        "time.sleep(0.4)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(stage.lock)], stdout=subprocess.PIPE) as observer:
        assert observer.stdout.readline() == b"looks\n"
        with hold(stage) as held:
            assert held.token == 0


def test_nobody_owns_a_stage_that_was_never_begun(stage: StageLayout) -> None:
    assert owner(stage) is None
    assert token_on_disk(stage) == 0
    assert not stage.path.exists()


def test_a_heartbeat_is_the_files_time(stage: StageLayout) -> None:
    with hold(stage) as held:
        os.utime(stage.lock, (1, 1))
        held.beat()
        assert abs(stage.lock.stat().st_mtime - time.time()) < 60


def test_a_lock_without_a_refusal_is_waited_for_as_long_as_it_takes(stage: StageLayout, holder: subprocess.Popen) -> None:
    began = time.monotonic()
    threading.Timer(0.5, holder.kill).start()
    with exclusive(stage.lock) as file:
        assert time.monotonic() - began >= 0.5
        assert parse(file.read())["pid"] == holder.pid, "the content is the owner's own business"
    assert owner(stage) is None


def test_a_refusal_tells_at_once_what_the_owner_has_written(stage: StageLayout, holder: subprocess.Popen) -> None:
    with pytest.raises(LockedError, match=f"^{holder.pid} has it$"), exclusive(stage.lock, lambda by: f"{by['pid']} has it"):
        pytest.fail("two owners")


def test_a_lock_is_made_with_its_mode_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, mode=0o600):
        assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"said")
    with exclusive(path):
        pass
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"said", 0o600)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff"])
def test_a_torn_lock_file_is_read_as_empty(content: bytes) -> None:
    assert parse(content) == {}
