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
from tasks.registry.records import VersionRecord, read_record, record_file, write_record
from tasks.registry.store import make_private, read_registration, stage_locked, store_identity
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
class Order:
    """What one call of `register` was asked for."""

    home: Path
    model_name: str
    folder: Path
    manifest: Manifest
    root: Path
    stage: StageLayout
    label: str
    aliases: tuple[str, ...]
    parent: Version | None
    body: tuple[str, ...]
    links: Mapping[str, str]
    run_name: str
    experiment: str
    attachments: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.model_name}@{self.manifest.digest}"

    @property
    def intent(self) -> Path:
        return record_file(self.home, self.key)


def register(
    home: Path,
    *,
    model_name: str,
    folder: Path,
    manifest: Manifest,
    root: Path,
    stage: StageLayout,
    label: str,
    aliases: tuple[str, ...],
    parent: Version | None,
    body: tuple[str, ...],
    links: Mapping[str, str],
    run_name: str,
    experiment: str,
    attachments: Mapping[str, bytes] | None = None,
) -> Version:
    """Register the model in `folder`, which `manifest` lists relative to `root`, without copying a byte of it.

    May be called again at any time, after any failure, by any number of processes: one manifest gives one version of a
    model. Aliases go to the version unless a later one holds them, and once only: what moved them later stays. `body` are the
    sections of the card that never change; `links` become tags; `attachments` are small files to lie beside the model, such as
    the picture of its loss curve. Raises IntegrityError where a file is not what the manifest says, TrackingError where MLflow
    does not answer.
    """
    order = Order(home, model_name, folder.resolve(), manifest, root.resolve(), stage, label, aliases, parent, body, links,
                  run_name, experiment, attachments or {})  # fmt: skip
    with alias_moves.changing(home, model_name, f"registering {model_name}") as client:
        done = read_done(client, order)
        if done is None:
            done = made_record(order, carry_out(client, order))
        else:
            find_run(client, order)  # of another stage, where that made the same model
        for alias in [alias for alias in aliases if alias not in done.aliases]:
            alias_moves.advance(client, home, model_name, alias, done.version or 0, f"registered as {label}", "register")
        write_done(order, done)
    with answering(home, f"reading {model_name}"):
        return read_version(client, model_name, done.version or 0)


def carry_out(client: "MlflowClient", order: Order) -> Version:
    """The steps of the transaction in their order; each finds what an earlier attempt of it made."""
    check_files(order)
    write_intent(order)
    run_id = find_run(client, order)
    model = find_logged_model(client, order, run_id)
    place_files(client, order, model)
    finish_logged_model(client, order, model, run_id)
    number = find_version(client, order, model, run_id)
    return read_back(client, order, model, number)


def read_done(client: "MlflowClient", order: Order) -> VersionRecord | None:
    """The record of an earlier call that came to its end in this store, if its version and its files are still there."""
    record = read_record(order.intent)
    if record is None or record.state != "done" or record.store != store_identity(order.home):
        return None
    number = search_version(client, order)
    if number is None:
        return None
    version = read_version(client, order.model_name, number)
    complete = all((Path(version.path) / name).is_file() for name in REQUIRED_FILES)
    return record.model_copy(update={"version": number}) if complete else None


def check_files(order: Order) -> None:
    """Verify every file of the manifest, and that a model is among them."""
    verify(order.root, order.manifest)
    names = set(model_files(order))
    if missing := [name for name in REQUIRED_FILES if name not in names]:
        raise IntegrityError(
            f"{order.folder} holds no {missing[0]} that its manifest lists; a model folder has {', '.join(REQUIRED_FILES)}, "
            "make the export again"
        )


def model_files(order: Order) -> dict[str, Path]:
    """The files of the manifest that lie in the model's folder, by their path in it."""
    listed = [order.root / entry.path for entry in order.manifest.files]
    return {p.relative_to(order.folder).as_posix(): p for p in listed if p.is_relative_to(order.folder)}


def write_intent(order: Order) -> None:
    make_private(order.intent.parent)
    store = store_identity(order.home)
    write_record(order.home, VersionRecord(state="intent", store=store, key=order.key, folder=str(order.folder)))


def made_record(order: Order, version: Version) -> VersionRecord:
    """What there is to say of a version that was just made."""
    return VersionRecord(
        state="done",
        store=store_identity(order.home),
        key=order.key,
        folder=str(order.folder),
        model=order.model_name,
        label=order.label,
        stage=str(order.stage.path),
        version=version.version,
        model_id=version.model_id,
        run_id=version.run_id,
        tags=version_tags(order, Path(version.path)),
        body=order.body,
        flow_run=flow_run_of(order.stage),
    )


def write_done(order: Order, record: VersionRecord) -> None:
    """Record the end of the transaction, at the intent and in the stage's `registration.json`."""
    placed = tuple(sorted({*record.aliases, *order.aliases}))
    write_record(order.home, record.model_copy(update={"aliases": placed}))
    with stage_locked(order.home, order.stage):
        known = read_registration(order.home, order.stage)
        if known is not None:
            labels = known.versions.get(order.model_name, {}) | {order.label: record.version}
            versions = known.versions | {order.model_name: labels}
            write_json(order.stage.registration, known.model_copy(update={"versions": versions}))


def find_run(client: "MlflowClient", order: Order) -> str:
    """The MLflow run of the stage that made the model."""
    with stage_locked(order.home, order.stage):
        run, _ = ensure_run(client, order.home, order.stage, order.run_name, order.experiment)
    return run.info.run_id


def find_logged_model(client: "MlflowClient", order: Order, run_id: str) -> "LoggedModel":
    """The logged model of this key, made in the run's experiment if there is none."""
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"tags.`{KEY}` = '{order.key}'", max_results=1)
    if found:
        return found[0]
    tags = {KEY: order.key, "label": order.label}
    return client.create_logged_model(
        experiment, name=order.model_name, source_run_id=run_id, tags=tags, model_type="transformers"
    )


def place_files(client: "MlflowClient", order: Order, model: "LoggedModel") -> None:
    """Hard-link the model's files into the logged model's folder; write attachments and manifest beside them."""
    target = make_private(local_folder(model.artifact_location))
    for name, source in model_files(order).items():
        place_file(source, target / name)
    for name, content in order.attachments.items():
        write_atomically(target / name, content)
    write_json(target / MANIFEST, order.manifest)
    fsync_folder(target)


def finish_logged_model(client: "MlflowClient", order: Order, model: "LoggedModel", run_id: str) -> None:
    """Mark the logged model READY, as an output of the run, with the manifest's metrics."""
    from mlflow.entities import LoggedModelOutput

    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, order.manifest.step or 0)])
    for batch in in_batches(manifest_metrics(order.manifest, model.model_id), 1000):
        client.log_batch(run_id, metrics=batch)


def search_version(client: "MlflowClient", order: Order) -> int | None:
    found = client.search_model_versions(f"name = '{order.model_name}' and tags.`{KEY}` = '{order.key}'")
    return min((int(version.version) for version in found), default=None)


def find_version(client: "MlflowClient", order: Order, model: "LoggedModel", run_id: str) -> int:
    """The version of this key, made with its tags in one call if there is none."""
    from mlflow.exceptions import MlflowException

    if (number := search_version(client, order)) is not None:
        return number
    try:
        client.create_registered_model(order.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    tags = version_tags(order, local_folder(model.artifact_location))
    source = f"models:/{model.model_id}"
    made = client.create_model_version(order.model_name, source, run_id, tags, model_id=model.model_id)
    return int(made.version)


def version_tags(order: Order, path: Path) -> dict[str, str]:
    manifest = order.manifest
    values: dict[str, Any] = {
        KEY: order.key,
        "label": order.label,
        "digest": manifest.digest,
        "step": manifest.step,
        "tokens_seen": manifest.tokens_seen,
        "parent": f"{order.parent.name}/{order.parent.version}" if order.parent else None,
        "parent_digest": order.parent.digest if order.parent else None,
        "git_commit": manifest.environment.get("commit"),
        "verdict": verdict_name(manifest),
        "path": str(path),
        "folder": order.folder.relative_to(order.root).as_posix(),
        "stage": str(order.stage.path),
    }
    inputs = read_request(order.stage).inputs | manifest.inputs
    values |= {f"input.{role}": entry.digest for role, entry in inputs.items()}
    values |= order.links
    return {key: plain(value)[:MAX_TAG] for key, value in values.items() if value is not None}


def verdict_name(manifest: Manifest) -> str | None:
    verdict = manifest.details.get("verdict")
    return verdict["verdict"] if isinstance(verdict, dict) else verdict


def read_back(client: "MlflowClient", order: Order, model: "LoggedModel", number: int) -> Version:
    """What the registry now says; TrackingError where that is not what was meant."""
    version = read_version(client, order.model_name, number)
    expected = (model.model_id, order.manifest.digest, str(local_folder(model.artifact_location)))
    if (version.model_id, version.digest, version.path) != expected:
        raise TrackingError(
            f"{order.model_name} version {number} reads back as {(version.model_id, version.digest[:12], version.path)} and "
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
            found.append(read_version(client, name, int(number)))
    return found


def children(home: Path, version: Version) -> list[Version]:
    """The versions, of any model, that were made from this one."""
    parent = f"{version.name}/{version.version}"
    return [v for name in models(home) for v in versions(home, name) if v.tags.get("parent") == parent]
