"""Launched ranks of which one runs out of something: all end within seconds, in one sentence, and what is done is kept."""

import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tasks.launch.stage import follow, request_stop, start_or_attach
from tasks.record.errors import DiskFullError, LimitError, PretuneError, StageError
from tasks.record.files import write_json
from tasks.record.journal import read_journal
from tasks.record.layout import RunLayout
from tasks.record.lock import owner
from tasks.stages.work import Result, Work, prepare_work, pretrain_work
from tests.kit.runs import run_to_end, tiny_config, write_text

SOON_SECONDS = 45
"""The stall timeout is 900 s. On a busy machine it takes 2 to 8 s, most of it the launcher's."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def text(home: Path) -> Path:
    return write_text(home / "words.txt")


def work_of(home: Path, text: Path, name: str, steps: int = 40, **launch: object) -> Work:
    """Two ranks that save every five steps; nothing is tried again unless it is said."""
    config = tiny_config(
        text, launch={"num_processes": 2, "max_restarts": 0} | launch,
        pretrain={"train_tokens": 512 * steps, "keep_checkpoints": 3},
    )  # fmt: skip
    return pretrain_work(RunLayout(home, name), config, run_to_end(prepare_work(home, config)))


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A disk at the folder; what is yielded makes it one with so many bytes free."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")

    def leave(free: int) -> None:
        for _ in range(50):  # what is written at this moment may not fit any more
            size = shutil.disk_usage(folder).used + free
            changed = subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], capture_output=True)
            if changed.returncode == 0:
                return
        raise AssertionError(changed.stderr.decode())

    try:
        yield leave
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def steps_of(work: Work) -> list[int]:
    return [line["step"] for line in read_journal(work.stage.journal)[0] if line["kind"] == "step"]


def rank_process(work: Work, rank: int) -> psutil.Process:
    """The process of a rank of this stage."""
    for process in psutil.process_iter():
        try:
            if str(work.stage.path) in process.cmdline() and process.environ().get("RANK") == str(rank):
                return process
        except psutil.Error:
            continue
    raise AssertionError(f"there is no rank {rank}")


def end_of(work: Work, at_step: int, disturb: Callable[[], None]) -> tuple[PretuneError, float]:
    """Run until `disturb` has been called behind a step; what ended the stage, and how many seconds after the last step."""
    disturbed = False

    def look(progress: object) -> None:
        nonlocal disturbed
        if not disturbed and (steps := steps_of(work)) and steps[-1] >= at_step:
            disturb()
            disturbed = True

    try:
        start_or_attach(work.stage, work.request)
        with pytest.raises(PretuneError) as raised:
            follow(work.stage, look, poll_seconds=0.02)
        last = max(line["time"] for line in read_journal(work.stage.journal)[0] if line["kind"] in ("step", "evaluation"))
        return raised.value, time.time() - last
    finally:
        if (holder := owner(work.stage)) is not None:
            os.kill(holder["pid"], signal.SIGKILL)


def attempts(work: Work) -> int:
    return len([line for line in read_journal(work.stage.journal)[0] if line.get("event") == "attempt"])


def numbers_in(message: str) -> list[int]:
    found = re.search(r"at least ([\d,]+) bytes and ([\d,]+) are free;", message)
    assert found, message
    return [int(number.replace(",", "")) for number in found.groups()]


def test_a_full_disk_ends_both_ranks_and_with_room_the_same_command_goes_on(home: Path, text: Path) -> None:
    work = work_of(home, text, "full", max_restarts=5)
    with small_disk(work.stage.path) as leave:
        free = 130_000
        error, seconds = end_of(work, 7, lambda: leave(free))
        print(f"{seconds:.1f} s: {error}")
        assert isinstance(error, DiskFullError)
        assert re.match(
            rf"rank [01] cannot write {work.stage.checkpoints}/step_000000\d\d, its disk is full: a checkpoint like", str(error)
        )
        needed, there = numbers_in(str(error))
        assert needed > there
        assert seconds < SOON_SECONDS
        assert attempts(work) == 1, "no restart makes room"
        kept = sorted(path.name for path in work.stage.checkpoints.iterdir())
        assert kept and all(re.fullmatch(r"step_\d+", name) for name in kept), "what is done is kept, nothing half-made"
        leave(2**25)
        assert run_to_end(work).manifest.step == 40
        starts = [line["step"] for line in read_journal(work.stage.journal)[0] if line["kind"] == "start"]
        assert starts[1] == int(kept[-1][5:])


@pytest.mark.soak
def test_a_full_disk_at_the_export_is_told_once(home: Path, text: Path) -> None:
    work = work_of(home, text, "full-export", max_restarts=5)
    with small_disk(work.stage.path) as leave:
        done: Result = run_to_end(work)
        shutil.rmtree(work.stage.export)
        work.stage.manifest.unlink()
        leave(80_000)
        error, _ = end_of(work, 1000, lambda: None)
        assert isinstance(error, DiskFullError)
        assert str(error).startswith(f"rank 0 cannot write {work.stage.export}, its disk is full: the export takes at least ")
        needed, there = numbers_in(str(error))
        assert needed == done.manifest.metrics["num_parameters"] * 4 > there
        assert attempts(work) == 2
        leave(2**25)
        assert run_to_end(work).manifest.details["chain"] == done.manifest.details["chain"]


@pytest.mark.parametrize("free", [0, pytest.param(12_288, marks=pytest.mark.soak)])
def test_a_disk_that_is_full_before_the_start_is_told(home: Path, text: Path, free: int) -> None:
    """Without a byte for the lock, or without room for the records of the ranks."""
    work = work_of(home, text, f"full-before-{free}", max_restarts=5)
    with small_disk(work.stage.path) as leave:
        write_json(work.stage.request, work.request)
        leave(1 << 17)
        with (work.stage.path / "other").open("wb") as other:
            other.write(bytes(shutil.disk_usage(work.stage.path).free - free))
        start_or_attach(work.stage, work.request)
        with pytest.raises(
            DiskFullError, match=r"disk .*is full: [\d,]+ bytes are free; make space and run the same command again"
        ):
            follow(work.stage, lambda progress: None, poll_seconds=0.05)
        (work.stage.path / "other").unlink()
        leave(2**25)
        assert run_to_end(work).manifest.step == 40


def limit(which: int, value: Callable[[psutil.Process], int]) -> Callable[[Work], None]:
    def apply(work: Work) -> None:
        process = rank_process(work, 1)
        psutil.Process(process.pid).rlimit(which, (value(process), value(process)))

    return apply


@pytest.mark.parametrize(
    ("disturb", "expected", "said"),
    [
        (
            limit(resource.RLIMIT_FSIZE, lambda process: 30_000), LimitError,
            r"rank 1 cannot write .*/checkpoints/step_\d+: a file may have 30,000 bytes \(ulimit -f\), and it has one of at "
            r"least [\d,]+; raise the limit and run the same command again, the checkpoints before it are kept",
        ),
        (
            limit(resource.RLIMIT_NOFILE, lambda process: 8), LimitError,
            r"rank 1 cannot open \S+: it may have \d+ open files \(ulimit -n\); raise it and run "
            r"the same command again, the checkpoints before it are kept",
        ),
        (
            lambda work: rank_process(work, 1).kill(), StageError,
            r"02-pretrain failed once \(exit code 1\): rank 1 was ended by SIGKILL, as Linux does when memory has run out; "
            r"logs are in .*/logs/attempt_1",
        ),
    ],
    ids=["file size", "open files", "killed"],
)  # fmt: skip
def test_what_one_rank_runs_into_ends_both(
    home: Path, text: Path, request: pytest.FixtureRequest, disturb: Callable, expected: type, said: str
) -> None:
    """The kernel's limits are set for rank 1 while it trains."""
    work = work_of(home, text, request.node.callspec.id.replace(" ", "-"), steps=4000)
    # The checkpoint of step 5 is committed before that of step 10 is begun.
    error, seconds = end_of(work, 11, lambda: disturb(work))
    print(f"{seconds:.1f} s: {error}")
    assert type(error) is expected
    assert re.fullmatch(said, str(error))
    assert seconds < SOON_SECONDS
    assert attempts(work) == 1
    kept = [path.name for path in work.stage.checkpoints.iterdir()]
    assert any(re.fullmatch(r"step_\d+", name) for name in kept), "what was committed stays"
    request_stop(work.stage)
