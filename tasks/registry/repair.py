"""What somebody did in MLflow itself, put right: versions that were deleted there, aliases that were moved there.

The records of this home say what was registered and who held which alias. Where MLflow differs, a version comes back from its
files, under the next number; an alias that a person moved stays where it is, and the history takes that in; one that lost its
version or was taken away goes back to the model that held it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.record.errors import IntegrityError
from tasks.record.files import Record
from tasks.record.layout import StageLayout, registry_folder
from tasks.record.manifest import Manifest
from tasks.registry.aliases import IN_MLFLOW, apply_moves, changing, holders, new_move
from tasks.registry.records import (
    Move,
    VersionRecord,
    history,
    recorded_holders,
    renumbered,
    version_records,
    version_text,
    write_record,
)
from tasks.registry.texts import found_version
from tasks.registry.tracking import answering, connect
from tasks.registry.versions import (
    MANIFEST,
    NewVersion,
    Version,
    as_version,
    check_files,
    create_version,
    place_files,
    register,
    verify_version,
    version_of_record,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Finding(Record):
    """One thing in which MLflow differs from the records, and what puts it right."""

    model: str
    found: str
    remedy: str
    done: bool = False
    """Whether it was put right."""
    possible: bool = True
    version: int | None = None
    """The one that it is about, by its number in the record."""


def repair(home: Path, model: str | None = None, apply: bool = False) -> list[Finding]:
    """What differs, of one model or of all; with `apply` it is put right and cards and tags are written anew.

    Raises TrackingError where MLflow does not answer.
    """
    findings = []
    for name in [model] if model is not None else recorded_models(home):
        versions = list(repair_versions(home, name, apply))
        coming_back = {found.version for found in versions if found.possible and not found.done}
        findings += [*versions, *repair_aliases(home, name, apply, coming_back)]
    return findings


def recorded_models(home: Path) -> list[str]:
    """Names of all models that this home has records of."""
    return sorted({path.name.rpartition("@")[0] for path in (registry_folder(home) / "intents").glob("*@*.json")})


def repair_versions(home: Path, model: str, apply: bool) -> Iterator[Finding]:
    """Versions that MLflow lost, and those whose files are not what they were; in the order of their numbers."""
    client = connect(home)
    for record in sorted(version_records(home, model), key=lambda one: one.version or 0):
        with answering(home, f"reading {model}"):
            found = found_version(client, model, record.version or 0)
        what = f"version {record.version} ({record.label})"
        if found is None:
            put_right, said, remedy = bring_back, f"{what} was deleted in MLflow", "is registered again"
        elif damage := damaged(as_version(found, {})):
            put_right, said, remedy = link_again, f"{what} is damaged: {damage}", "is linked to the files of its run again"
        else:
            continue
        finding = Finding(model=model, found=said, remedy=remedy, version=record.version)
        try:
            number = put_right(home, record, apply)
        except IntegrityError as error:
            yield finding.model_copy(update={"remedy": f"cannot be put right: {error}", "possible": False})
        else:
            more = f", as version {number}" if number not in (None, record.version) else ""
            yield finding.model_copy(update={"remedy": f"{remedy}{more}", "done": apply})


def damaged(version: Version) -> str:
    """What is wrong with the version's files; empty where nothing is."""
    try:
        verify_version(version)
    except IntegrityError as error:
        return str(error)
    return ""


def bring_back(home: Path, record: VersionRecord, apply: bool) -> int | None:
    """Register the version from its run, or, where that is gone, from its own files among the artifacts; its number.

    Both are verified first, and without `apply` only that is done. Raises IntegrityError where files are not what they were.
    """
    new = from_run(record)
    if new is None:
        verify_version(version_of_record(record))
    else:
        check_files(new)
    if not apply:
        return None
    return register(home, new).version if new is not None else registered_from_artifacts(home, record)


def link_again(home: Path, record: VersionRecord, apply: bool) -> int | None:
    """Link the files of a version that MLflow has from its run, and return its number; raises as `bring_back` does."""
    if (new := from_run(record)) is None:
        raise IntegrityError(f"{record.stage} is gone or has made another model since; restore {record.tags['path']}")
    check_files(new)
    if apply:
        with changing(home, record.model, f"linking the files of {record.model}") as client:
            place_files(client, new, client.get_logged_model(record.model_id))
    return record.version


def from_run(record: VersionRecord) -> NewVersion | None:
    """The version as its stage registered it; None where the run's folder is gone, or is of another model by now."""
    stage, folder = StageLayout(Path(record.stage)), Path(record.folder)
    root = folder.parents[len(Path(record.tags["folder"]).parts) - 1]
    if not (root / MANIFEST).exists() or not stage.request.exists():
        return None
    manifest = Manifest.read(root / MANIFEST)
    if manifest.digest != record.tags["digest"]:
        return None
    links = {key: value for key, value in record.tags.items() if key.startswith(("parent", "data_card"))}
    return NewVersion(record.model, record.label, (), stage, manifest, root, body=record.body, links=links)


def registered_from_artifacts(home: Path, record: VersionRecord) -> int:
    """A new number for a version whose files are only in MLflow's artifact folder, where they were linked to."""
    with changing(home, record.model, f"registering {record.model} again") as client:
        number = create_version(client, record.model, record.model_id, record.run_id, record.tags)
        before = tuple(dict.fromkeys([*record.earlier_versions, record.version or 0]))
        write_record(home, record.model_copy(update={"version": number, "earlier_versions": before}))
    return number


def repair_aliases(home: Path, model: str, apply: bool, coming_back: set[int | None]) -> list[Finding]:
    """Aliases whose holder in MLflow is not the one of the record; without `apply`, `coming_back` are versions that would."""
    if not apply:
        client = connect(home)
        with answering(home, f"reading {model}"):
            return [finding for finding, _ in alias_findings(client, home, model, apply, coming_back)]
    with changing(home, model, f"putting aliases of {model} right") as client:
        found = list(alias_findings(client, home, model, apply, coming_back))
        for _, move in found:
            apply_moves(client, home, [move])
    return [finding for finding, _ in found]


def alias_findings(
    client: "MlflowClient", home: Path, model: str, done: bool, coming_back: set[int | None]
) -> Iterator[tuple[Finding, Move]]:
    """Each with the move that puts it right or takes it into the history."""
    numbers = renumbered(version_records(home, model))
    recorded, held = recorded_holders(history(home, model)), holders(client, model)
    for alias in sorted(recorded.keys() | held.keys()):
        was, now = recorded.get(alias), held.get(alias)
        if was == now:
            continue
        found = f"{alias} is held by {version_text(now)} in MLflow and by {version_text(was)} in the record"
        target = numbers.get(was, was) if was is not None else None
        exists = target is not None and (target in coming_back or found_version(client, model, target) is not None)
        if now is not None:
            remedy, move = "is taken into the history", new_move(model, alias, was, now, f"moved {IN_MLFLOW}", "MLflow")
        elif exists:
            reason = f"version {was} was registered again" if target != was else f"it had been taken away {IN_MLFLOW}"
            remedy = f"goes back to version {target}" if done else "goes back to the model that held it"
            move = new_move(model, alias, None, target, reason, "repair")
        else:
            remedy = "is held by nobody from now on, its version is gone"
            move = new_move(model, alias, was, None, f"version {was} was deleted {IN_MLFLOW}", "MLflow")
        yield Finding(model=model, found=found, remedy=remedy, done=done), move
