"""Who works in a stage's folder: a lock that the kernel releases when its holder dies, with a growing fencing token."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tasks.record.errors import LockedError
from tasks.record.layout import StageLayout

ACQUIRE_SECONDS = 2.0
"""An observer's look at the lock takes it for an instant, so a holder-to-be tries for so long."""


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
    stage.path.mkdir(parents=True, exist_ok=True)
    with stage.lock.open("a+b") as _create, stage.lock.open("r+b") as file:
        deadline = time.monotonic() + ACQUIRE_SECONDS
        while not try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise LockedError(f"{stage.path} is owned by process {parse(file.read()).get('pid')}; wait for it or stop it")
            time.sleep(0.05)
        yield StageLock(file)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file until the block ends or the process dies, after waiting for it. Not re-entrant."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
