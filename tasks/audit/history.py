"""The steps that count, from a journal that holds all that were ever taken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.record.journal import read_journal

CHUNK_BYTES = 1 << 20
"""Read at once; longer than any line."""


@dataclass(frozen=True)
class StepLine:
    """What the journal says about one step."""

    loss: float | None
    chain: str | None
    token_digest: str | None
    """Of the tokens that the step read."""
    tokens_seen: int | None


@dataclass
class History:
    """Steps in order: the entry at place i is step i + 1, None where its line is missing."""

    steps: list[StepLine | None] = field(default_factory=list)
    attempts: set[int] = field(default_factory=set)
    undone: int = 0
    """Steps that were taken and did not stay: an interruption lost them, or a rollback left them behind."""

    @property
    def missing(self) -> list[int]:
        return [number for number, line in enumerate(self.steps, 1) if line is None]

    def follow(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take up further lines. A `start` or `rollback` says with which step the model went on, a `step` what came then."""
        for line in lines:
            step = line.get("step")
            if not isinstance(step, int):
                continue
            if line["kind"] == "start":
                self.attempts.add(line["attempt"])
                self._stand_at(step)
            elif line["kind"] == "step":
                self._stand_at(step - 1)
                self.steps.append(StepLine(*(line.get(name) for name in ("loss", "chain", "token_digest", "tokens_seen"))))
            elif line["kind"] == "event" and line.get("event") == "rollback":
                self._stand_at(step)

    def _stand_at(self, step: int) -> None:
        self.undone += max(0, len(self.steps) - step)
        del self.steps[step:]
        self.steps += [None] * (step - len(self.steps))


def read_history(journal: Path) -> History:
    history = History()
    for lines in chunks(journal):
        history.follow(lines)
    return history


def chunks(journal: Path) -> Iterator[list[dict[str, Any]]]:
    """The journal's lines, a MiB at a time: that of a long run is large."""
    offset = 0
    while True:
        lines, end = read_journal(journal, offset, CHUNK_BYTES)
        if end == offset:
            return
        yield lines
        offset = end
