"""What versions are called, and which one a stage became."""

from pathlib import Path

from tasks.record.layout import StageLayout
from tasks.registry.store import read_registration

PRETRAINED, CANDIDATE = "pretrained", "candidate"
"""Labels of the two versions that a run always registers."""


def registered_version(home: Path, stage: StageLayout, model: str, label: str) -> int | None:
    """The version that this stage's `registration.json` records; read without MLflow."""
    known = read_registration(home, stage)
    return known.versions.get(model, {}).get(label) if known else None
