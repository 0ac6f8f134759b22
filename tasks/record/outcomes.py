"""What came of every refresh of a fine-tune: a line each in `finetunes/NAME/outcomes.jsonl`, which is the truth about it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from tasks.record.files import Record
from tasks.record.journal import Journal, read_journal
from tasks.record.layout import FinetuneLayout

Came = Literal["Promoted", "Rejected", "Skipped", "Waiting for approval", "Refused", "Expired"]
DECIDED: tuple[Came, ...] = ("Promoted", "Rejected", "Refused", "Expired")
"""Of an attempt that has come to its end: with the same base, examples and recipe there is nothing to do."""


class Outcome(Record):
    came: Came
    message: str
    """The reason, in a sentence."""
    attempt: str = ""
    """Folder of the candidate's attempt; empty where none was made."""
    version: int | None = None
    evaluation: str = ""
    """Folder of the evaluation below the attempt."""
    flow_run_id: str | None = None
    slot: str | None = None
    """When it was to start, where a schedule started it."""
    by: str | None = None
    """Who approved or refused."""
    reason: str | None = None
    """What they said."""
    until: str | None = None
    """Of a question: when its time runs out."""
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def ran_out(self) -> bool:
        return self.until is not None and datetime.fromisoformat(self.until) <= datetime.now(UTC)

    @property
    def text(self) -> str:
        return f"{self.came}{' ' if self.message.startswith('v') else ': '}{self.message}"


def read_outcomes(layout: FinetuneLayout) -> list[Outcome]:
    """Oldest first."""
    lines, _ = read_journal(layout.outcomes)
    names = set(Outcome.model_fields)
    return [Outcome.model_validate({key: value for key, value in line.items() if key in names}) for line in lines]


def note_outcome(layout: FinetuneLayout, outcome: Outcome) -> None:
    layout.path.mkdir(parents=True, exist_ok=True)
    journal = Journal(layout.outcomes, attempt=0)
    try:
        journal.append("outcome", durable=True, **outcome.model_dump(mode="json"))
    finally:
        journal.close()


def asked_by(layout: FinetuneLayout, flow_run_id: str) -> Outcome | None:
    """The last question that a flow run asked; None where it asked none."""
    asked = [one for one in read_outcomes(layout) if one.came == "Waiting for approval" and one.flow_run_id == flow_run_id]
    return asked[-1] if asked else None


def open_question(layout: FinetuneLayout, attempt: str) -> Outcome | None:
    """The question about an attempt that nobody answered yet, and whose time may have run out."""
    of_it = [one for one in read_outcomes(layout) if one.attempt == attempt and one.came != "Skipped"]
    return of_it[-1] if of_it and of_it[-1].came == "Waiting for approval" else None


def decided(layout: FinetuneLayout, attempt: Path) -> Outcome | None:
    """What the last refresh that ended came to for this attempt; None where it was never decided."""
    of_it = [one for one in read_outcomes(layout) if one.attempt == attempt.name and one.came != "Skipped"]
    return of_it[-1] if of_it and of_it[-1].came in DECIDED else None
