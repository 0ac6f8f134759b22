"""Promotion of a version that a person names: by the decision that was made about it, or for a reason that is recorded."""

from pathlib import Path

from tasks.record.errors import ComparisonNeededError, GateError
from tasks.registry.records import describe, newest_decision, version_records


def promote_version(home: Path, model: str, version: int, *, by: str, forced_because: str | None = None) -> str:
    """Make the version champion, after reading all of its files, and say so in one line.

    Raises GateError if there is no such version, no positive decision about it, or a newer champion than it was compared with;
    with a reason to force it, only if there is no such version. IntegrityError where a file is not what it was.
    """
    from tasks.registry.aliases import force_promotion, promote
    from tasks.registry.versions import verify_version, versions

    found = {candidate.version: candidate for candidate in versions(home, model)}
    if version not in found:
        known = ", ".join(str(number) for number in found) or "none"
        raise GateError(f"{model} version {version} is not registered; registered versions: {known}")
    verify_version(found[version])
    if forced_because is not None:
        return describe(force_promotion(home, model, version, reason=forced_because, by=by))
    record = next((one for one in version_records(home, model) if one.version == version), None)
    decision = newest_decision(home, record) if record else None
    if decision is None:
        raise ComparisonNeededError(
            f"{model} version {version} was never evaluated; `pretune evaluate {model} {version}` does it"
        )
    return describe(promote(home, model, version, decision, by=by))
