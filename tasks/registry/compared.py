"""What a candidate was made from, and which versions it is compared with. MLflow is imported when it is asked."""

from pathlib import Path
from typing import Any

from tasks.config.finetuning import FinetuneFile
from tasks.record.errors import GateError
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest
from tasks.registry.names import CANDIDATE
from tasks.registry.records import history, version_records
from tasks.registry.status import CHAMPION
from tasks.registry.store import check_store
from tasks.stages.work import Result, Results


def best_champion(home: Path, settings: FinetuneFile, champion: dict[str, Any] | None) -> dict[str, Any] | None:
    """For non-inferiority the version that scored best of all that were ever champion, if it is another one than the champion.

    It is measured anew on the candidate's examples: were the bar only the last champion, many small losses would add up.
    """
    if settings.gate.rule != "non-inferiority" or champion is None:
        return None
    metric = settings.gate.metric_of(settings.kind)
    sign = -1 if metric == "answer_loss" else 1
    held = {move.to_version for move in history(home, settings.name) if move.alias == CHAMPION}
    scored = [
        (sign * score, record.version)
        for record in version_records(home, settings.name)
        if record.version in held and record.decision is not None
        and (score := record.decision.metrics.get(f"candidate_{metric}")) is not None
    ]  # fmt: skip
    best = max(scored)[1] if scored else champion["version"]
    return compared_version(home, settings.name, best) if best != champion["version"] else None


def compared_version(home: Path, model: str, number: int | None = None) -> dict[str, Any] | None:
    """The champion, or the version of that number: name, version, folder and digest; None where nobody is champion.

    Raises GateError for a version that is not there, IntegrityError if its files are damaged.
    """
    from tasks.registry.versions import verify_version, version_by_alias, version_numbered

    held = version_by_alias(home, model, CHAMPION) if number is None else version_numbered(home, model, number)
    if held is None and number is not None:
        raise GateError(f"{model} has no version {number}; name one that is registered")
    if held is not None:
        verify_version(held)
    return held.model_dump(mode="json", include={"name", "version", "path", "digest"}) if held else None


def candidate_of(home: Path, model: str, version: int) -> StageLayout:
    """The fine-tune that became this version; raises GateError for a version that is none, or as `check_store` does."""
    records = {one.version: one for one in version_records(home, model) if one.label == CANDIDATE}
    if version not in records:
        check_store(home)
        there = ", ".join(str(number) for number in sorted(filter(None, records))) or "none"
        raise GateError(f"{model} has no fine-tuned version {version}; there are: {there}")
    return StageLayout(Path(records[version].stage))


def made_with(stage: StageLayout) -> Results:
    """A candidate, and what it was made from; raises GateError where a folder is gone."""
    candidate = done(stage)
    return {"candidate": candidate} | {
        role: done(StageLayout(Path(entry.path))) for role, entry in candidate.manifest.inputs.items()
    }


def done(stage: StageLayout) -> Result:
    """Raises GateError for a stage whose folder is gone."""
    if not stage.manifest.exists():
        raise GateError(f"{stage.path} is gone, which the version was made with; restore it, or refresh the fine-tune")
    return Result(stage, Manifest.read(stage.manifest))
