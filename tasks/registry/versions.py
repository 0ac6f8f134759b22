"""The model registry: an export becomes a version by reference, exactly once, in steps that can be replayed.

MLflow takes anything as READY and gives one source as many versions as it is asked for. So a version has a key (model name and
manifest digest), everything is looked up by it before it is made, and all of it happens under the model's lock.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tasks.record.errors import IntegrityError, TrackingError
from tasks.record.files import Record, fsync_folder, write_atomically, write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, read_request, verify
from tasks.registry import aliases as alias_moves
from tasks.registry.files import local_folder, place_file
from tasks.registry.flow_links import flow_run_of
from tasks.registry.mlmodel import has_mlmodel, place_mlmodel
from tasks.registry.records import VersionRecord, read_record, record_file, write_record
from tasks.registry.status import short_tags
from tasks.registry.store import make_private, read_registration, stage_locked, store_identity
from tasks.registry.texts import CURVE, found_version
from tasks.registry.tracking import MAX_TAG, answering, connect, ensure_run, in_batches, manifest_metrics, plain

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

KEY = "pretune.key"
MANIFEST = "manifest.json"
REQUIRED_FILES = ("config.json", "model.safetensors")


class Version(Record):
    """A registered model version."""

    name: str
    version: int
    model_id: str
    run_id: str
    digest: str
    """Digest of the manifest that the weights were registered with."""
    path: str
    """Folder of the model's files, in Hugging Face layout."""
    aliases: tuple[str, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class NewVersion:
    """A model that a stage made, and what it is to be in the registry."""

    model: str
    """Name of the registered model that it becomes a version of."""
    label: str
    aliases: tuple[str, ...]
    """It gets each unless a later version holds it, and once only: what moved one later stays."""
    stage: StageLayout
    manifest: Manifest
    root: Path
    """Folder that the manifest's files are relative to: the stage's own, or a milestone's. The model lies in `export`."""
    parent: Version | None = None
    body: tuple[str, ...] = ()
    """The sections of its card that never change."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Tags that lead to what it was made from."""

    @property
    def key(self) -> str:
        return f"{self.model}@{self.manifest.digest}"

    @property
    def folder(self) -> Path:
        """Of the model's files."""
        return StageLayout(self.root).export.resolve()


def register(home: Path, new: NewVersion) -> Version:
    """Register the model by reference, without copying a byte of it.

    May be called again at any time, after any failure, by any number of processes: one manifest gives one version of a
    model. Raises IntegrityError where a file is not what the manifest says, TrackingError where MLflow does not answer.
    """
    with alias_moves.changing(home, new.model, f"registering {new.model}") as client:
        done = read_done(client, home, new)
        if done is None:
            done = made_record(home, new, carry_out(client, home, new))
        else:
            find_run(client, home, new)  # of another stage, where that made the same model
        for alias in [alias for alias in new.aliases if alias not in done.aliases]:
            alias_moves.advance(client, home, new.model, alias, done.version or 0, f"registered as {new.label}", "register")
        write_done(home, new, done)
    with answering(home, f"reading {new.model}"):
        return read_version(client, new.model, done.version or 0)


def carry_out(client: "MlflowClient", home: Path, new: NewVersion) -> Version:
    """The steps of the transaction in their order; each finds what an earlier attempt of it made."""
    check_files(new)
    write_intent(home, new)
    run_id = find_run(client, home, new)
    model = find_logged_model(client, new, run_id)
    place_files(client, new, model)
    finish_logged_model(client, new, model, run_id)
    number = find_version(client, new, model, run_id)
    return read_back(client, new, model, number)


def read_done(client: "MlflowClient", home: Path, new: NewVersion) -> VersionRecord | None:
    """The record of an earlier call that came to its end in this store, if its version and its files are still there."""
    record = read_record(home, new.key)
    if record is None or record.state != "done" or record.store != store_identity(home):
        return None
    number = search_version(client, new)
    if number is None:
        return None
    version = read_version(client, new.model, number)
    folder = Path(version.path)
    complete = has_mlmodel(folder) and all((folder / name).is_file() for name in REQUIRED_FILES)
    return record.model_copy(update={"version": number}) if complete else None


def check_files(new: NewVersion) -> None:
    """Verify every file of the manifest, and that a model is among them."""
    verify(new.root, new.manifest)
    names = set(model_files(new))
    if missing := [name for name in REQUIRED_FILES if name not in names]:
        raise IntegrityError(
            f"{new.folder} holds no {missing[0]} that its manifest lists; a model folder has {', '.join(REQUIRED_FILES)}, "
            "make the export again"
        )


def model_files(new: NewVersion) -> dict[str, Path]:
    """The files of the manifest that lie in the model's folder, by their path in it."""
    root = new.root.resolve()
    listed = [root / entry.path for entry in new.manifest.files]
    return {p.relative_to(new.folder).as_posix(): p for p in listed if p.is_relative_to(new.folder)}


def write_intent(home: Path, new: NewVersion) -> None:
    """What an earlier registration in this store knew is kept: its number, and what was decided about the model."""
    make_private(record_file(home, new.key).parent)
    store, earlier = store_identity(home), read_record(home, new.key)
    if earlier is None or earlier.store != store:
        earlier = VersionRecord(state="intent", store=store, key=new.key, folder=str(new.folder))
    write_record(home, earlier.model_copy(update={"state": "intent", "folder": str(new.folder)}))


def made_record(home: Path, new: NewVersion, version: Version) -> VersionRecord:
    """What there is to say of a version that was just made; the intent says what was known of the same model before."""
    earlier = read_record(home, new.key)
    assert earlier is not None
    before = [number for number in (*earlier.earlier_versions, earlier.version) if number not in (None, version.version)]
    return VersionRecord(
        state="done",
        store=store_identity(home),
        key=new.key,
        folder=str(new.folder),
        model=new.model,
        label=new.label,
        stage=str(new.stage.path),
        version=version.version,
        model_id=version.model_id,
        run_id=version.run_id,
        tags=version_tags(new, Path(version.path)),
        body=new.body,
        flow_run=flow_run_of(new.stage),
        aliases=() if new.aliases else earlier.aliases,
        decision=earlier.decision,
        earlier_versions=tuple(dict.fromkeys(before)),
    )


def write_done(home: Path, new: NewVersion, record: VersionRecord) -> None:
    """Record the end of the transaction, at the intent and in the stage's `registration.json`."""
    placed = tuple(sorted({*record.aliases, *new.aliases}))
    write_record(home, record.model_copy(update={"aliases": placed}))
    with stage_locked(home, new.stage):
        known = read_registration(home, new.stage)
        if known is not None:
            labels = known.versions.get(new.model, {}) | {new.label: record.version}
            versions = known.versions | {new.model: labels}
            write_json(new.stage.registration, known.model_copy(update={"versions": versions}))


def find_run(client: "MlflowClient", home: Path, new: NewVersion) -> str:
    """The MLflow run of the stage that made the model."""
    with stage_locked(home, new.stage):
        run, _ = ensure_run(client, home, new.stage)
    return run.info.run_id


def find_logged_model(client: "MlflowClient", new: NewVersion, run_id: str) -> "LoggedModel":
    """The logged model of this key, made in the run's experiment if there is none."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"tags.`{KEY}` = '{new.key}'", max_results=1)
    if found:
        return found[0]
    tags = {KEY: new.key, "label": new.label}
    return client.create_logged_model(experiment, name=new.model, source_run_id=run_id, tags=tags, model_type="transformers")


def place_files(client: "MlflowClient", new: NewVersion, model: "LoggedModel") -> None:
    """Hard-link the model's files into the logged model's folder; write picture, manifest and MLmodel beside them."""
    target = make_private(local_folder(model.artifact_location))
    for name, source in model_files(new).items():
        place_file(source, target / name)
    if (picture := new.root / CURVE).exists():
        write_atomically(target / CURVE, picture.read_bytes())
    new.manifest.write(target / MANIFEST)
    place_mlmodel(target, model, new.manifest, read_request(new.stage))
    fsync_folder(target)


def finish_logged_model(client: "MlflowClient", new: NewVersion, model: "LoggedModel", run_id: str) -> None:
    """Mark the logged model READY, as an output of the run, with the manifest's metrics."""
    from mlflow.entities import LoggedModelOutput

    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, new.manifest.step or 0)])
    for batch in in_batches(manifest_metrics(new.manifest, model.model_id), 1000):
        client.log_batch(run_id, metrics=batch)


def search_version(client: "MlflowClient", new: NewVersion) -> int | None:
    found = client.search_model_versions(f"name = '{new.model}' and tags.`{KEY}` = '{new.key}'")
    return min((int(version.version) for version in found), default=None)


def find_version(client: "MlflowClient", new: NewVersion, model: "LoggedModel", run_id: str) -> int:
    """The version of this key, made with its tags in one call if there is none."""
    if (number := search_version(client, new)) is not None:
        return number
    return create_version(client, new.model, model.model_id, run_id, version_tags(new, local_folder(model.artifact_location)))


def create_version(client: "MlflowClient", name: str, model_id: str, run_id: str, tags: dict[str, str]) -> int:
    """A new version of the logged model, and the registered model if it is the first. The caller holds the model's lock."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return int(client.create_model_version(name, f"models:/{model_id}", run_id, tags, model_id=model_id).version)


def version_tags(new: NewVersion, path: Path) -> dict[str, str]:
    manifest = new.manifest
    values: dict[str, Any] = {
        KEY: new.key,
        "label": new.label,
        "digest": manifest.digest,
        "step": manifest.step,
        "tokens_seen": manifest.tokens_seen,
        "parent": f"{new.parent.name}/{new.parent.version}" if new.parent else None,
        "parent_digest": new.parent.digest if new.parent else None,
        "git_commit": manifest.environment.get("commit"),
        "verdict": verdict_name(manifest),
        "path": str(path),
        "folder": new.folder.relative_to(new.root.resolve()).as_posix(),
        "stage": str(new.stage.path),
    }
    inputs = read_request(new.stage).inputs | manifest.inputs
    values |= short_tags(manifest, inputs, f"{new.parent.name} version {new.parent.version}" if new.parent else None)
    values |= {f"input.{role}": entry.digest for role, entry in inputs.items()}
    values |= new.links
    return {key: plain(value)[:MAX_TAG] for key, value in values.items() if value is not None}


def verdict_name(manifest: Manifest) -> str | None:
    verdict = manifest.details.get("verdict")
    return verdict["verdict"] if isinstance(verdict, dict) else verdict


def read_back(client: "MlflowClient", new: NewVersion, model: "LoggedModel", number: int) -> Version:
    """What the registry now says; TrackingError where that is not what was meant."""
    version = read_version(client, new.model, number)
    expected = (model.model_id, new.manifest.digest, str(local_folder(model.artifact_location)))
    if (version.model_id, version.digest, version.path) != expected:
        raise TrackingError(
            f"{new.model} version {number} reads back as {(version.model_id, version.digest[:12], version.path)} and "
            f"was written as {(expected[0], expected[1][:12], expected[2])}; delete that version in MLflow and register again"
        )
    return version


def read_version(client: "MlflowClient", name: str, number: int) -> Version:
    return as_version(client.get_model_version(name, str(number)), alias_moves.holders(client, name))


def as_version(found: "ModelVersion", held: dict[str, int]) -> Version:
    """MLflow's `model_id` comes back empty, so it is taken from the source; search results lack aliases."""
    return Version(
        name=found.name,
        version=int(found.version),
        model_id=(found.source or "").removeprefix("models:/"),
        run_id=found.run_id or "",
        digest=found.tags.get("digest", ""),
        path=found.tags.get("path", ""),
        aliases=tuple(sorted(alias for alias, number in held.items() if number == int(found.version))),
        tags=dict(found.tags),
    )


def version_of_record(record: VersionRecord) -> Version:
    """The version as this home recorded it; who holds which alias is not in there."""
    return Version(
        name=record.model, version=record.version or 0, model_id=record.model_id, run_id=record.run_id,
        digest=record.tags["digest"], path=record.tags["path"], tags=record.tags,
    )  # fmt: skip


def verify_version(version: Version) -> Manifest:
    """The manifest that the version was registered with, after reading all of its files; IntegrityError if one differs."""
    manifest = Manifest.read(Path(version.path) / MANIFEST)
    if manifest.digest != version.digest:
        raise IntegrityError(
            f"{version.path}/{MANIFEST} has digest {manifest.digest[:12]} and {version.name} version {version.version} was "
            f"registered with {version.digest[:12]}; restore the folder, or register the model again"
        )
    folder = version.tags["folder"]
    entries = [
        entry.model_copy(update={"path": Path(entry.path).relative_to(folder).as_posix()})
        for entry in manifest.files
        if Path(entry.path).is_relative_to(folder)
    ]
    verify(Path(version.path), manifest.model_copy(update={"files": tuple(entries)}))
    return manifest


def versions(home: Path, model_name: str) -> list[Version]:
    """All versions that pretune registered under the name, oldest first; empty for an unknown name."""
    client = connect(home)
    with answering(home, f"reading {model_name}"):
        held = alias_moves.holders(client, model_name)
        found = [v for v in client.search_model_versions(f"name = '{model_name}'") if KEY in v.tags]
    return sorted((as_version(v, held) for v in found), key=lambda version: version.version)


def version_by_alias(home: Path, model_name: str, alias: str) -> Version | None:
    """The version that holds the alias now; None if nobody does."""
    client = connect(home)
    with answering(home, f"reading {model_name}@{alias}"):
        number = alias_moves.holders(client, model_name).get(alias)
        return None if number is None else read_version(client, model_name, number)


def version_numbered(home: Path, model_name: str, number: int) -> Version | None:
    """None for a version that is not there, or no longer."""
    client = connect(home)
    with answering(home, f"reading {model_name} version {number}"):
        if (found := found_version(client, model_name, number)) is None:
            return None
        return as_version(found, alias_moves.holders(client, model_name))


def models(home: Path) -> list[str]:
    """Names of all registered models, sorted."""
    client = connect(home)
    with answering(home, "listing models"):
        return sorted(model.name for model in client.search_registered_models(max_results=1000))


def lineage(home: Path, version: Version) -> list[Version]:
    """The version and its ancestors, nearest first, as far as they are registered."""
    found = [version]
    client = connect(home)
    with answering(home, f"reading the lineage of {version.name}"):
        while parent := found[-1].tags.get("parent"):
            name, number = parent.rsplit("/", 1)
            if (ancestor := found_version(client, name, int(number))) is None:
                break
            found.append(as_version(ancestor, alias_moves.holders(client, name)))
    return found


def children(home: Path, version: Version) -> list[Version]:
    """The versions, of any model, that were made from this one."""
    parent = f"{version.name}/{version.version}"
    return [v for name in models(home) for v in versions(home, name) if v.tags.get("parent") == parent]
