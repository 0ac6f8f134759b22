"""Locks that the kernel releases when their holder dies; that of a stage says who works there, with a growing fencing token."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.record.errors import LockedError
from tasks.record.layout import StageLayout

ACQUIRE_SECONDS = 2.0
"""An observer's look at the lock takes it for an instant, so a holder-to-be tries for so long."""


@contextmanager
def exclusive(
    path: Path, refusal: Callable[[dict[str, Any]], str] | None = None, patience_seconds: float = 0.0, mode: int = 0o666
) -> Iterator[IO[bytes]]:
    """Own the file, made if it is not there, until the block ends or this process dies. Not re-entrant.

    Waits for another owner; where there is a `refusal`, only for `patience_seconds`, and then raises LockedError with what it
    makes of that which the owner has written there.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, mode), "r+b") as file:
        if refusal is None:
            fcntl.flock(file, fcntl.LOCK_EX)
        else:
            deadline = time.monotonic() + patience_seconds
            while not try_lock(file, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise LockedError(refusal(parse(file.read())))
                time.sleep(0.05)
        yield file


class StageLock:
    """The held lock. The token grows with every start of ranks; ranks of an older token must not commit anything."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0)
        self.token: int = parse(file.read()).get("token", 0)
        self.next_token(count=False)

    def next_token(self, count: bool = True) -> int:
        """Raise the token and write down who holds the lock."""
        self.token += count
        content = {"pid": os.getpid(), "host": socket.gethostname(), "token": self.token, "since": time.time()}
        self._file.seek(0)
        self._file.write(json.dumps(content).encode().ljust(256) + b"\n")
        self._file.flush()
        return self.token

    def beat(self) -> None:
        """Set the file's modification time to now: the holder's heartbeat."""
        os.utime(self._file.fileno())


@contextmanager
def hold(stage: StageLayout) -> Iterator[StageLock]:
    """Own the stage; raises LockedError if another live process does."""

    def refusal(owner: dict[str, Any]) -> str:
        return f"{stage.path} is owned by process {owner.get('pid')}; wait for it or stop it"

    stage.path.mkdir(parents=True, exist_ok=True)
    with exclusive(stage.lock, refusal, ACQUIRE_SECONDS) as file:
        yield StageLock(file)


def owner(stage: StageLayout) -> dict[str, Any] | None:
    """Who owns the stage now (pid, host, token, since), or None."""
    try:
        file = stage.lock.open("rb")
    except FileNotFoundError:
        return None
    with file:
        return None if try_lock(file, fcntl.LOCK_SH) else parse(file.read())


def token_on_disk(stage: StageLayout) -> int:
    """The newest token; a writer with an older one has been replaced."""
    return parse(stage.lock.read_bytes()).get("token", 0) if stage.lock.exists() else 0


def try_lock(file: IO[bytes], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def parse(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
