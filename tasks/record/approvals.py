"""What a person said about a candidate that passed the gate: `approval.json` beside the evaluation's manifest."""

import logging
import uuid
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from tasks.record.files import Record, fsync_folder, read_json, write_json
from tasks.record.layout import StageLayout

log = logging.getLogger(__name__)


class Approval(Record):
    decision: Literal["approved", "refused", "expired"]
    by: str | None = None
    """Who; nobody where the time ran out."""
    reason: str = ""
    time: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def text(self) -> str:
        """`approved by anna: looks good`."""
        if self.by is None:
            return "nobody answered in time"
        return f"{self.decision} by {self.by}" + (f": {self.reason}" if self.reason else "")


def read_approval(evaluation: StageLayout) -> Approval | None:
    return Approval.model_validate(read_json(evaluation.approval)) if evaluation.approval.exists() else None


def keep_approval(evaluation: StageLayout, approval: Approval) -> Approval:
    """Write the answer down, and return the one that stands: the first of a person, however many answer at once.

    That nobody answered in time stands only until somebody does: asked again, a person may.
    """
    known = read_approval(evaluation)
    if known is not None and known.decision == "expired":
        write_json(evaluation.approval, approval)
        return approval
    written = evaluation.approval.with_name(f".{evaluation.approval.name}.{uuid.uuid4().hex}")
    write_json(written, approval)
    try:
        evaluation.approval.hardlink_to(written)  # fails where there is one, which a rename would replace
    except FileExistsError:
        log.debug("%s: somebody answered first", evaluation.path)
    finally:
        written.unlink()
    fsync_folder(evaluation.path)
    return read_approval(evaluation) or approval
