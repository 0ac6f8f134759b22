"""From a finished stage to a registered version with its card, and to a complete MLflow run. MLflow is imported when needed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.record.errors import PretuneError, TrackingError
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import StageLayout, home
from tasks.record.manifest import Manifest, Request, flatten, read_request
from tasks.registry import aliases as alias_moves
from tasks.registry.card import card_body, data_text
from tasks.registry.datasets import card_links, data_of
from tasks.registry.names import CANDIDATE, PRETRAINED, registered_version
from tasks.registry.records import records_of_manifest, version_records
from tasks.registry.store import read_registration
from tasks.registry.tracking import sync
from tasks.registry.versions import NewVersion, Version, register, version_numbered, version_of_record
from tasks.stages.work import Result

logger = logging.getLogger("pretune")


def mirror(stage: StageLayout) -> None:
    """Complete the stage's MLflow run. MLflow only mirrors the journal: where it is away, that is said and the flow goes on."""
    try:
        sync(home(), stage)
    except TrackingError as error:
        logger.warning("%s", error)


def refresh(model: str, decision: Manifest | None = None) -> None:
    """Bring cards and tags of the model's versions up to date; where MLflow is away, the next change of the model does it."""
    try:
        alias_moves.refresh(home(), model, decision)
    except TrackingError as error:
        logger.warning("%s", error)


@contextmanager
def mirrored(stage: StageLayout) -> Iterator[None]:
    """Around a stage that is done: where it fails or is stopped, its MLflow run and the versions that it registered say so."""
    try:
        yield
    except PretuneError:
        if stage.journal.exists():
            mirror(stage)
        known = read_registration(home(), stage)
        for model in sorted(known.versions if known else ()):
            refresh(model)
        raise


def publish_milestone(model: str, stage: StageLayout, folder: Path) -> None:
    """Register one milestone of a pre-training that may still run; the newest one gets the alias `pretraining`."""
    manifest = Manifest.read(folder / "manifest.json")
    kind = str(manifest.details["label"])
    label = f"{kind} step {manifest.step}"
    if registered_version(home(), stage, model, label) is None:
        aliases = tuple(sorted({kind, "pretraining"}))
        publish(NewVersion(model, label, aliases, stage, manifest, folder), pretrain_settings(stage))


def publish_pretrained(model: str, base: Result) -> None:
    """Register the finished pre-training as `pretrained`."""
    if known_version(base.stage, model, PRETRAINED) is None:
        publish(final_version(base, model, PRETRAINED), pretrain_settings(base.stage))


def publish_candidate(model: str, settings: dict[str, Any], candidate: Result, base: Result) -> Version:
    """Register a fine-tuned model as `candidate` of `model`, with the version that it was made from, if that is registered.

    `settings` are those of its training, which its card shows.
    """
    if (known := known_version(candidate.stage, model, CANDIDATE)) is not None:
        return known
    parent = version_of(home(), base.manifest.digest)
    return publish(final_version(candidate, model, CANDIDATE, parent), flatten(settings))


def known_version(stage: StageLayout, model: str, label: str) -> Version | None:
    """The version that the stage was registered as, with its texts up to date; None if there is none, or none any more.

    Where MLflow is away, what the records say is believed.
    """
    number = registered_version(home(), stage, model, label)
    if number is None:
        return None
    refresh(model)
    try:
        return version_numbered(home(), model, number)
    except TrackingError:
        return next((version_of_record(one) for one in version_records(home(), model) if one.version == number), None)


def final_version(made: Result, model: str, label: str, parent: Version | None = None) -> NewVersion:
    """The model of a stage that is done; its alias is called as its label."""
    return NewVersion(model, label, (label,), made.stage, made.manifest, made.stage.path, parent)


def version_of(home: Path, digest: str) -> Version | None:
    """The version, of any registered model of this home, that was registered with this manifest; None if there is none."""
    for record in records_of_manifest(home, digest):
        if (found := version_numbered(home, record.model, record.version or 0)) is not None:
            return found
    return None


def publish(new: NewVersion, settings: dict[str, Any]) -> Version:
    """Register the model with its card, which shows the `settings` of its training, and with the way to its data."""
    stage, manifest = new.stage, new.manifest
    mirror_data(stage)
    request, (lines, _) = read_request(stage), read_journal(stage.journal)
    until = [line for line in lines if line.get("step") is not None and line["step"] <= (manifest.step or 0)]
    body = card_body(
        manifest=manifest, data=data_section(stage), lineage=[lineage_line(request, new.parent)], settings=settings,
        curve=[line.get("heldout_loss") for line in latest_by_step(until, "evaluation")],
        rollback=last_rollback(lines) if manifest.kind == "pretrain" else None,
    )  # fmt: skip
    version = register(home(), replace(new, body=body, links=card_links(home(), request)))
    aliases = ", ".join(version.aliases)
    logger.info("%-24s registered %s version %d (%s)", stage.path.name, version.name, version.version, aliases)
    return version


def last_rollback(lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    return next((line for line in reversed(lines) if line.get("event") == "rollback"), None)


def lineage_line(request: Request, parent: Version | None) -> str:
    """What the weights were made from."""
    if parent is not None:
        return f"{parent.name} version {parent.version} ({parent.digest[:12]})"
    base = request.inputs.get("base")
    if base is None:
        return "Trained from scratch; it has no parent."
    return f"A model that is not registered here: {base.path} ({base.digest[:12]})"


def mirror_data(stage: StageLayout) -> None:
    """Complete the MLflow runs of the data sets that are still there, so that the version can name their cards."""
    for entry, _ in data_of(read_request(stage)):
        data = StageLayout(Path(entry.path))
        if data.manifest.exists():
            mirror(data)


def pretrain_settings(stage: StageLayout) -> dict[str, Any]:
    identity = read_request(stage).identity
    return flatten({section: identity[section] for section in ("model", "pretrain", "convergence")})


def data_section(stage: StageLayout) -> str:
    """What the card says of the text or the examples that the stage was given; only their digest where they are gone."""
    inputs = read_request(stage).inputs
    entry = inputs.get("dataset") or inputs.get("examples")
    if entry is None:
        return ""
    data = StageLayout(Path(entry.path))
    if not data.manifest.exists():
        return f"No longer there; its digest is `{entry.digest}`."
    return data_text(Manifest.read(data.manifest), read_request(data))
