"""How far a stage is, read from its journal: what the terminal line, the Prefect artifact and `pretune status` show."""

from dataclasses import dataclass, replace
from typing import Any

from tasks.record.journal import read_journal
from tasks.record.layout import StageLayout


@dataclass(frozen=True)
class Progress:
    stage: str
    fraction: float = 0.0
    """0 to 1, of the cap: a verdict may end training earlier."""
    message: str = ""
    step: int | None = None
    max_steps: int | None = None
    tokens_seen: int | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    """Model FLOPs utilisation, 0 to 1; None where the device's peak is not known."""
    loss: float | None = None
    heldout_loss: float | None = None
    phase: str = ""
    seconds_left: float | None = None

    @property
    def line(self) -> str:
        """One aligned line for a terminal or a log."""
        if self.step is None:
            return f"{self.stage:<24} {self.fraction:>4.0%}  {self.message}"
        parts = [f"{self.stage:<24} {self.fraction:>4.0%}  step {self.step:>6}/{self.max_steps}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:7.4f}")
        if self.heldout_loss is not None:
            parts.append(f"held-out {self.heldout_loss:7.4f}")
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:>9,.0f} tokens/s")
        if self.mfu is not None:
            parts.append(f"MFU {self.mfu:5.1%}")
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left):>7} left")
        return "  ".join([*parts, self.phase]).rstrip()


def duration(seconds: float) -> str:
    """`42s`, `3m05s`, `2h10m`, `3d04h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


class ProgressReader:
    """Follows the journal of one stage; `read` costs only what was written since the last call."""

    def __init__(self, stage: StageLayout) -> None:
        self.stage, self._offset, self.progress = stage, 0, Progress(stage=stage.path.name)

    def read(self) -> Progress:
        lines, self._offset = read_journal(self.stage.journal, self._offset)
        for line in lines:
            self.progress = advance(self.progress, line)
        return self.progress


def advance(progress: Progress, line: dict[str, Any]) -> Progress:
    """The progress after one more journal line."""
    match line["kind"]:
        case "progress":
            return replace(progress, fraction=line["fraction"], message=line.get("message", ""))
        case "start":
            return replace(progress, step=line["step"], max_steps=line["max_steps"], phase=line.get("phase", ""))
        case "step":
            return replace(
                progress,
                step=line["step"],
                fraction=line["step"] / max(1, line["max_steps"]),
                max_steps=line["max_steps"],
                tokens_seen=line["tokens_seen"],
                tokens_per_second=line["tokens_per_second"],
                mfu=line.get("mfu"),
                loss=line["loss"],
                phase=line["phase"],
                seconds_left=line["seconds_left"],
            )
        case "evaluation":
            return replace(progress, heldout_loss=line["heldout_loss"])
        case "verdict":
            return replace(progress, message=f"{line['verdict']}: {line['reason']}")
        case "done":
            return replace(progress, fraction=1.0, seconds_left=0.0)
    return progress
