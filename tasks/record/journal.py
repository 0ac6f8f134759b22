"""The append-only record of a stage: one JSON line per logged step and per event. It is the truth about metrics."""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

CHAIN_START = "0" * 64


class Journal:
    """Appends lines; only rank 0 and the supervisor hold one, and a line is written by one `write` call."""

    def __init__(self, path: Path, attempt: int) -> None:
        self.path, self.attempt = path, attempt
        path.parent.mkdir(parents=True, exist_ok=True)
        needs_newline = path.exists() and path.stat().st_size > 0 and not ends_with_newline(path)
        self._file = path.open("ab", buffering=0)
        if needs_newline:
            self._file.write(b"\n")

    def append(self, kind: str, durable: bool = False, **values: Any) -> None:
        """Add `{"kind": kind, "time": now, "attempt": n, ...values}`; NaN and infinity become null with a `nonfinite` list.

        `durable` waits until the line is on disk.
        """
        nonfinite = [k for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)]
        line = {"kind": kind, "time": round(time.time(), 3), "attempt": self.attempt} | values
        line |= dict.fromkeys(nonfinite) | ({"nonfinite": nonfinite} if nonfinite else {})
        content = memoryview(json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        while content:
            # Where the disk fills up in the middle of the line, the first write is short and the second one says why.
            content = content[self._file.write(content) :]
        if durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_journal(path: Path, offset: int = 0, max_bytes: int = -1) -> tuple[list[dict[str, Any]], int]:
    """The whole lines from byte `offset` on, and the offset after them. A torn line (a killed writer) is passed over.

    `max_bytes`, longer than any line, bounds how much is read at once.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(max_bytes)
    end = content.rfind(b"\n") + 1
    return list(parse_lines(content[:end].splitlines())), offset + end


def parse_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "kind" in value:
            yield value


def latest_by_step(lines: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Lines of one kind by ascending step; a step that was repeated after a resume counts as it was last written."""
    by_step = {line["step"]: line for line in lines if line["kind"] == kind}
    return [by_step[step] for step in sorted(by_step)]


def chain(previous: str, step: int, sample_digest: str, token_digest: str, loss: float) -> str:
    """Next link of the hash chain over (step, digest of the step's sample ids, digest of the tokens that it read, loss)."""
    return hashlib.sha256(f"{previous}:{step}:{sample_digest}:{token_digest}:{float(loss).hex()}".encode()).hexdigest()
