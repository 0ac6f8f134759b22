"""Promotion of a version that a person names: by the decision that was made about it, never without one."""

from pathlib import Path

from tasks.record.errors import GateError
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.manifest import Manifest

FINETUNE_PREFIX = "03-finetune-"


def promote_version(home: Path, model: str, version: int) -> str:
    """Make the version champion and say so in one line.

    Raises GateError if there is no such version, no positive decision about it, or a newer champion than it was compared with.
    """
    from tasks.registry.aliases import describe, promote
    from tasks.registry.versions import versions

    found = {candidate.version: candidate for candidate in versions(home, model)}
    if version not in found:
        known = ", ".join(str(number) for number in found) or "none"
        raise GateError(f"{model} version {version} is not registered; registered versions: {known}")
    decision = decision_about(home, StageLayout(Path(found[version].tags.get("stage", ""))))
    if decision is None:
        raise GateError(f"{model} version {version} was never evaluated; run its pipeline to the end first")
    return describe(promote(home, model, version, Manifest.read(decision.manifest), by="command line"))


def decision_about(home: Path, candidate: StageLayout) -> StageLayout | None:
    """The evaluation of a fine-tune, which lies beside it in the same run."""
    name = candidate.path.name
    if not name.startswith(FINETUNE_PREFIX):
        return None
    decision = RunLayout(home, candidate.path.parent.name).evaluate(name.removeprefix(FINETUNE_PREFIX))
    return decision if decision.manifest.exists() else None
