"""Promotion of a version that a person names: by the decision that was made about it, never without one."""

from pathlib import Path

from tasks.record.errors import GateError
from tasks.record.layout import StageLayout
from tasks.registry.records import decision_about, describe


def promote_version(home: Path, model: str, version: int) -> str:
    """Make the version champion and say so in one line.

    Raises GateError if there is no such version, no positive decision about it, or a newer champion than it was compared with.
    """
    from tasks.registry.aliases import promote
    from tasks.registry.versions import versions

    found = {candidate.version: candidate for candidate in versions(home, model)}
    if version not in found:
        known = ", ".join(str(number) for number in found) or "none"
        raise GateError(f"{model} version {version} is not registered; registered versions: {known}")
    decision = decision_about(home, StageLayout(Path(found[version].tags.get("stage", ""))))
    if decision is None:
        raise GateError(f"{model} version {version} was never evaluated; `pretune evaluate {model} {version}` does it")
    return describe(promote(home, model, version, decision, by="command line"))
