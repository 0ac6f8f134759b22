"""What ended a rank or a stage, in one sentence; a rank's is kept where it can be written whatever the rank has run out of."""

import errno
import json
import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tasks.record.errors import DiskFullError, LimitError, PretuneError, error_named
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout

RECORD_BYTES = 16_384
"""Of a rank's record. It is on disk before the rank starts, so that a full disk cannot keep what happened from being told."""
MAX_MESSAGE = 2_000
FULL = (errno.ENOSPC, errno.EDQUOT)
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries in Rust (safetensors, tokenizers) tell the number of an error that is no OSError."""
OUT_OF_MEMORY = re.compile(r"out of memory|allocate memory|OutOfMemory", re.IGNORECASE)
OTHERS_GONE = re.compile(r"gloo|closed by peer|reset by peer|broken pipe", re.IGNORECASE)
CONTINUE = "run the same command again, the checkpoints before it are kept"


class RankError(RuntimeError):
    """What one rank could not do and no user can mend, raised on all of them."""


@dataclass(frozen=True)
class Output:
    """What was being written."""

    target: Path
    folder: Path | None = None
    """Where its bytes lie until it is whole, if not in the target."""
    needs: str = ""
    """What `needed_bytes` are of: "the export takes"."""
    needed_bytes: int = 0
    """At least so many, in blocks of the disk; 0 where it is not known."""
    largest_file_bytes: int = 0
    """Of its files, the largest has at least so many."""


@dataclass(frozen=True)
class Failure:
    """Why a rank ended."""

    rank: int
    when: float
    """Seconds since 1970."""
    error: str
    """Name of the exception's class; one of `tasks.record.errors` is the user's to mend."""
    message: str
    is_echo: bool = False
    """Whether all that this rank knows is that another one has gone."""

    @classmethod
    def of(cls, error: BaseException, rank: int, output: Output) -> Self:
        said = explained(error, f"rank {rank}", output)
        message = str(said) if isinstance(said, PretuneError | RankError) else sentence(said, rank, output)
        return cls(rank, time.time(), type(said).__name__, message[:MAX_MESSAGE], is_echo(said))

    @property
    def is_users(self) -> bool:
        return error_named(self.error).__name__ == self.error

    def exception(self) -> Exception:
        return error_named(self.error)(self.message) if self.is_users else RankError(self.message)


def explained(error: BaseException, who: str, output: Output) -> BaseException:
    """The error; or, where the disk is full or a limit is reached, the one that says so with its numbers."""
    number = None if isinstance(error, PretuneError) else errno_of(error)
    if number in FULL:
        return disk_full(who, output)
    path = path_of(error) or output.target
    if number == errno.EFBIG:
        return file_too_large(who, path, output.largest_file_bytes)
    if number == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return LimitError(f"{who} cannot open {path}: it may have {limit:,} open files (ulimit -n); raise it and {CONTINUE}")
    return error


@contextmanager
def explaining(rank: int, output: Callable[[], Output]) -> Iterator[None]:
    """Raise `explained` of what is raised inside; `output` is asked only then."""
    try:
        yield
    except Exception as error:
        said = explained(error, f"rank {rank}", output())
        if said is error:
            raise
        raise said from error


def errno_of(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    found = RUST_ERROR.search(str(error))
    return int(found[1]) if found else None


def path_of(error: BaseException) -> str | None:
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None


def disk_full(who: str, output: Output) -> DiskFullError:
    """What is needed, and what is free for it: also that which it has taken up so far and will not keep."""
    existing = next(path for path in (output.target, *output.target.parents) if path.exists())
    free = shutil.disk_usage(existing).free + (on_disk(output.folder or output.target) if output.needed_bytes else 0)
    numbers = f"{free:,} bytes are free"
    if output.needed_bytes:
        numbers = f"{output.needs} at least {output.needed_bytes:,} bytes and {free:,} are free"
        if output.needed_bytes <= free:
            numbers += " by now: the other ranks, other programs or a quota took the rest"
    return DiskFullError(f"{who} cannot write {output.target}, its disk is full: {numbers}; make space and {CONTINUE}")


def file_too_large(who: str, path: Path | str, needed_bytes: int) -> LimitError:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    allowed = f"a file may have {limit:,} bytes (ulimit -f)" if limit >= 0 else "its file system takes no file of that size"
    needs = f", and it has one of at least {needed_bytes:,}" if needed_bytes > max(0, limit) else ""
    return LimitError(f"{who} cannot write {path}: {allowed}{needs}; raise the limit and {CONTINUE}")


def on_disk(folder: Path) -> int:
    """Bytes of the blocks that the files below the folder take up, of those that no other folder shares."""
    total = 0
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except FileNotFoundError:
            # Other ranks write and clean up there too.
            continue
        total += found.st_blocks * 512 if path.is_file() and found.st_nlink == 1 else 0
    return total


def sentence(error: BaseException, rank: int, output: Output) -> str:
    """What happened, for an error that is not the user's."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(f"{type(error).__name__} {error}"):
        return f"rank {rank} ran out of memory ({said}); lower micro_batch_size, or divide the model over more ranks"
    if isinstance(error, OSError) and error.errno:
        name = errno.errorcode.get(error.errno, str(error.errno))
        return f"rank {rank} cannot use {path_of(error) or output.target}: {os.strerror(error.errno)} ({name})"
    return f"rank {rank}: {type(error).__name__}: {said}"


def is_echo(error: BaseException) -> bool:
    """Whether a collective failed because another rank has gone: DistError and gloo's RuntimeError."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return "DistError" in names or (type(error) is RuntimeError and OTHERS_GONE.search(str(error)) is not None)


def reserve_records(stage: StageLayout, attempt: int, num_ranks: int) -> None:
    """Give each rank of the attempt a record of blanks, on disk."""
    for rank in range(num_ranks):
        with stage.failure(attempt, rank).open("wb") as file:
            file.write(b" " * RECORD_BYTES)
            file.flush()
            os.fsync(file.fileno())


def open_record(stage: StageLayout, attempt: int, rank: int) -> int:
    """A descriptor that is kept, for a rank that has no other left when it fails."""
    path = stage.failure(attempt, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)


def record(descriptor: int, failure: Failure) -> None:
    """Write over the blanks."""
    os.pwrite(descriptor, json.dumps(asdict(failure)).encode(), 0)
    os.fsync(descriptor)


def take_first_failure(stage: StageLayout, attempt: int) -> Failure | None:
    """Of an attempt whose ranks are gone, what happened first; an echo only where nothing else was left.

    Removes the records, so that there is room to say it in `error.json`.
    """
    paths = sorted(stage.logs(attempt).glob("rank_*.failure"))
    found = [Failure(**content) for path in paths if (content := parsed(path.read_bytes()))]
    for path in paths:
        path.unlink()
    return min(found, key=lambda failure: (failure.is_echo, failure.when), default=None)


def leave_error(path: Path, error: BaseException) -> None:
    """Write down what ended a stage or a part of it, for whoever waits."""
    write_json(path, {"error": type(error).__name__, "message": str(error)})


def left_error(path: Path) -> PretuneError:
    """The error that a process wrote down, to be raised again."""
    left = read_json(path)
    return error_named(left["error"])(left["message"])


def parsed(content: bytes) -> dict[str, Any] | None:
    """None for blanks, and for a record whose writer was killed."""
    try:
        return json.loads(content)
    except ValueError:
        return None
