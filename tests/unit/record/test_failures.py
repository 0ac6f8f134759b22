"""Why a rank ended: the numbers in the sentence are true, and it can be kept and told whatever has run out."""

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tasks.record.errors import DataError, DiskFullError, LimitError, StageError
from tasks.record.failures import (
    RECORD_BYTES,
    Failure,
    Output,
    RankError,
    explained,
    explaining,
    leave_error,
    left_error,
    on_disk,
    open_record,
    record,
    reserve_records,
    take_first_failure,
)
from tasks.record.files import read_json
from tasks.record.layout import REPOSITORY, StageLayout


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    stage = StageLayout(tmp_path / "02-pretrain")
    stage.logs(1).mkdir(parents=True)
    return stage


def failure(rank: int, when: float, error: str = "OSError", is_echo: bool = False) -> Failure:
    return Failure(rank, when, error, f"what rank {rank} said", is_echo)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free(tmp_path: Path, number: int) -> None:
    (tmp_path / "half").write_bytes(bytes(50_000))
    said = explained(OSError(number, "raw"), "rank 3", Output(tmp_path, needs="the export takes", needed_bytes=2**60))
    assert isinstance(said, DiskFullError)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert str(said).startswith(
        f"rank 3 cannot write {tmp_path}, its disk is full: the export takes at least {2**60:,} bytes and "
    )
    told = int(str(said).split("bytes and ")[1].split(" are free;")[0].replace(",", ""))
    assert told == pytest.approx(free + on_disk(tmp_path), rel=0.01)


def test_numbers_that_do_not_explain_a_full_disk_are_not_called_the_reason(tmp_path: Path) -> None:
    said = str(explained(OSError(errno.ENOSPC, "raw"), "rank 3", Output(tmp_path, needs="it takes", needed_bytes=1)))
    assert "it takes at least 1 bytes and " in said
    assert "are free by now: the other ranks, other programs or a quota took the rest; make space" in said
    unknown = str(explained(OSError(errno.ENOSPC, "raw"), "rank 3", Output(tmp_path / "not" / "there")))
    assert "its disk is full: " in unknown and "at least" not in unknown


def test_what_lies_on_disk_counts_in_blocks_and_shared_files_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"1")
    block = (tmp_path / "one").stat().st_blocks * 512
    assert on_disk(tmp_path) == block >= 512
    (tmp_path / "shared").write_bytes(bytes(99_999))
    os.link(tmp_path / "shared", tmp_path / "again")
    assert on_disk(tmp_path) == block


LIMITED = """
import resource, sys
from pathlib import Path
from tasks.record.failures import Failure, Output, open_record, record
from tasks.record.layout import StageLayout
stage, what = StageLayout(Path(sys.argv[1])), sys.argv[2]
own = open_record(stage, 1, 1)
try:
    if what == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        (stage.path / "large").write_bytes(bytes(30_000))
    elif what == "rust":
        import numpy
        from safetensors.numpy import save_file
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        save_file({"a": numpy.zeros(30_000)}, stage.path / "large")
    elif what == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (own + 1, own + 1))
        open(stage.path / "more", "wb")
    else:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        bytearray(2**32)
except Exception as error:
    record(own, Failure.of(error, 1, Output(stage.path, largest_file_bytes=30_000 if what == "size" else 0)))
"""


AGAIN = "run the same command again, the checkpoints before it are kept"


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        (
            "size",
            "LimitError",
            f"rank 1 cannot write {{}}: a file may have 20,000 bytes (ulimit -f), and it has one of at least 30,000; raise the "
            f"limit and {AGAIN}",
        ),
        (
            "rust",
            "LimitError",
            f"rank 1 cannot write {{}}: a file may have 20,000 bytes (ulimit -f); raise the limit and {AGAIN}",
        ),
        ("files", "LimitError", f"rank 1 cannot open {{}}/more: it may have 4 open files (ulimit -n); raise it and {AGAIN}"),
        (
            "memory",
            "MemoryError",
            "rank 1 ran out of memory (MemoryError); lower micro_batch_size, or divide the model over more ranks",
        ),
    ],
)
def test_a_limit_that_is_reached_is_told_by_the_process_that_reached_it(
    stage: StageLayout, what: str, error: str, message: str
) -> None:
    """Limits of the kernel, in a process of its own; `rust` is safetensors, whose error has the number in its text."""
    reserve_records(stage, 1, 2)
    command = [sys.executable, "-c", LIMITED, str(stage.path), what]
    subprocess.run(command, check=True, cwd=REPOSITORY, timeout=120)
    first = take_first_failure(stage, 1)
    assert (first.rank, first.error, first.message) == (1, error, message.format(stage.path))
    assert first.is_users == (error == "LimitError")


def test_what_is_written_is_told_by_who_knows_it_and_asked_for_only_then(tmp_path: Path) -> None:
    with explaining(2, lambda: pytest.fail("asked without need")):
        pass
    cause = OSError(errno.EFBIG, "raw")
    words = "its file system takes no file of that size, and it has one of at least 7; raise"
    output = Output(tmp_path, largest_file_bytes=7)
    with pytest.raises(LimitError, match=words) as raised, explaining(2, lambda: output):
        raise cause
    assert raised.value.__cause__ is cause
    with pytest.raises(KeyError), explaining(2, lambda: Output(tmp_path)):
        raise KeyError("as it is")


def test_other_errors_keep_their_class_and_name_rank_and_path(tmp_path: Path) -> None:
    error = DataError("row 7 is bad; mend it")
    assert explained(error, "rank 1", Output(tmp_path)) is error
    assert Failure.of(error, 1, Output(tmp_path)).message == "row 7 is bad; mend it"
    gone = FileNotFoundError(errno.ENOENT, "No such file", "/data/tokens.bin")
    said = Failure.of(gone, 1, Output(tmp_path))
    assert (said.error, said.is_users) == ("FileNotFoundError", False)
    assert said.message == "rank 1 cannot use /data/tokens.bin: No such file or directory (ENOENT)"
    assert isinstance(said.exception(), RankError)
    assert Failure.of(said.exception(), 0, Output(tmp_path)).message == said.message, "not told twice by whom"
    assert Failure.of(ZeroDivisionError("by zero\nmore"), 2, Output(tmp_path)).message == "rank 2: ZeroDivisionError: by zero"


@pytest.mark.parametrize(
    ("error", "is_echo"),
    [
        (RuntimeError("[third_party/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:9095."), True),
        (type("DistBackendError", (type("DistError", (RuntimeError,), {}),), {})("NCCL communicator was aborted"), True),
        (RuntimeError("shapes do not match"), False),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), False),
    ],
)
def test_an_echo_is_known(error: Exception, is_echo: bool, tmp_path: Path) -> None:
    assert Failure.of(error, 0, Output(tmp_path)).is_echo is is_echo


def test_the_first_is_taken_whichever_rank_and_an_echo_only_where_nothing_else_is_left(stage: StageLayout) -> None:
    for failures, first in (
        ([], None),
        ([failure(1, 5.0)], 1),
        ([failure(0, 4.0), failure(1, 3.0), failure(2, 9.0)], 1),
        ([failure(0, 1.0, is_echo=True), failure(1, 3.0)], 1),
        ([failure(0, 2.0, is_echo=True), failure(1, 1.0, is_echo=True)], 1),
    ):
        reserve_records(stage, 1, 3)
        for one in failures:
            descriptor = open_record(stage, 1, one.rank)
            record(descriptor, one)
            os.close(descriptor)
        found = take_first_failure(stage, 1)
        assert (found.rank if found else None) == first
        assert not list(stage.logs(1).glob("*.failure")), "they are taken"


def test_a_record_takes_no_more_room_than_was_reserved_and_a_torn_one_is_passed_over(stage: StageLayout) -> None:
    reserve_records(stage, 1, 2)
    path = stage.failure(1, 0)
    assert path.stat().st_size == RECORD_BYTES
    descriptor = open_record(stage, 1, 0)
    record(descriptor, Failure.of(ValueError("ü" * 100_000), 0, Output(stage.path)))
    os.close(descriptor)
    assert path.stat().st_size == RECORD_BYTES
    stage.failure(1, 1).write_text(json.dumps(asdict(failure(1, time.time() - 99)))[:-5])
    assert take_first_failure(stage, 1).rank == 0


@pytest.mark.parametrize(("error", "again"), [(DataError("x=1 is wrong; mend it"), DataError), (OSError(5, "I/O"), StageError)])
def test_an_error_that_was_left_is_raised_again_by_whoever_waits(tmp_path: Path, error: Exception, again: type) -> None:
    leave_error(tmp_path / "error.json", error)
    assert read_json(tmp_path / "error.json") == {"error": type(error).__name__, "message": str(error)}
    left = left_error(tmp_path / "error.json")
    assert (type(left), str(left)) == (again, str(error))
