"""What this home knows of its registered versions without asking MLflow: a record of each, and every move of an alias."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.record.errors import IntegrityError
from tasks.record.files import Record, write_json
from tasks.record.journal import Journal, read_journal
from tasks.record.layout import StageLayout, attempt_of, registry_folder
from tasks.record.manifest import Manifest
from tasks.registry.store import here, inside, make_private, store_identity

log = logging.getLogger(__name__)

PRIVATE_FILE = 0o600
PATH_TAGS = ("path", "stage")
"""Tags of a version that are folders."""


class VersionRecord(Record):
    """`registry/intents/KEY.json`: a registration that was begun or is done, and what is true of its version for ever."""

    state: Literal["intent", "done"]
    store: str
    key: str
    folder: str
    """Of the model's files in the run."""
    model: str = ""
    label: str = ""
    stage: str = ""
    """Folder of the stage that made the model."""
    version: int | None = None
    model_id: str = ""
    run_id: str = ""
    aliases: tuple[str, ...] = ()
    """Those that the registration gave out; who holds them now is another matter."""
    tags: dict[str, str] = Field(default_factory=dict)
    body: tuple[str, ...] = ()
    """Of the card: its table of numbers, then its sections, written from the manifest."""
    flow_run: dict[str, Any] | None = None
    """The stage's `orchestrator.json`: which flow run it was made for."""
    decision: Manifest | None = None
    """Of the gate about this model, kept here too, so that it outlives the folder of the run."""
    earlier_versions: tuple[int, ...] = ()
    """Numbers that the same model had before it was deleted in MLflow and registered again."""


class Move(Record):
    """One alias passed from one version to another."""

    model: str
    alias: str
    from_version: int | None
    to_version: int | None
    """None where the alias was taken away."""
    reason: str
    by: str
    time: str
    blessing: str | None = None
    """Digest of the evaluation's manifest that this promotion stands on."""
    forced: bool = False
    """Promoted without a positive decision, for the reason that a person gave."""


def record_file(home: Path, key: str) -> Path:
    return registry_folder(home) / "intents" / f"{key}.json"


def read_record(home: Path, key: str) -> VersionRecord | None:
    """None where there is none, or one that cannot be read: registering again writes it anew."""
    path = record_file(home, key)
    if not path.exists():
        return None
    try:
        record = VersionRecord.model_validate_json(path.read_bytes())
    except ValueError as error:
        log.warning("%s cannot be read (%s); registering its model again writes it anew", path, str(error).splitlines()[0])
        return None
    return with_paths(record, lambda written: str(here(home, written)))


def write_record(home: Path, record: VersionRecord) -> None:
    """On disk its paths are relative to the home, so that they are true of a copy too."""
    stored = with_paths(record, lambda path: inside(home, path))
    write_json(record_file(home, record.key), stored, PRIVATE_FILE)


def with_paths(record: VersionRecord, change: Callable[[str], str]) -> VersionRecord:
    """The record with every path in it changed."""
    tags = {key: change(value) if key in PATH_TAGS else value for key, value in record.tags.items()}
    paths = {name: change(value) for name in ("folder", "stage") if (value := getattr(record, name))}
    return record.model_copy(update=paths | {"tags": tags})


def version_records(home: Path, model_name: str) -> list[VersionRecord]:
    """Of every version of the model that was registered in this store."""
    return done_records(home, f"{model_name}@*")


def done_records(home: Path, keys: str) -> list[VersionRecord]:
    """Of the versions in this store whose keys match the pattern, by their keys."""
    files = sorted(record_file(home, "x").parent.glob(f"{keys}.json"))
    found = [read_record(home, file.name.removesuffix(".json")) for file in files]
    store = store_identity(home)
    return [record for record in found if record and record.state == "done" and record.store == store]


def records_of_manifest(home: Path, digest: str) -> list[VersionRecord]:
    """Of every model's versions in this store that were registered with the manifest of this digest, by the model's name."""
    return done_records(home, f"*@{digest}")


def decision_about(home: Path, candidate: StageLayout) -> Manifest | None:
    """The newest evaluation of a candidate, which lie beside it; what cannot be read is passed over with a word."""
    found = []
    for stage in attempt_of(candidate).evaluations:
        try:
            found.append(Manifest.read(stage.manifest))
        except IntegrityError as error:
            log.warning("%s", error)
    return max(found, key=lambda manifest: manifest.created_at, default=None)


def newest_decision(home: Path, record: VersionRecord) -> Manifest | None:
    """What the gate decided last about the record's very model: beside it, or in another attempt that made the same model."""
    return newer_decision(record, decision_about(home, StageLayout(Path(record.stage))))


def newer_decision(record: VersionRecord, decision: Manifest | None) -> Manifest | None:
    """The decision, if it is about the record's model and later than the one that is known; else that one."""
    about = decision.inputs.get("candidate") if decision else None
    if decision is None or about is None or about.digest != record.tags.get("digest"):
        return record.decision
    earlier = record.decision is None or record.decision.created_at <= decision.created_at
    return decision if earlier else record.decision


def keep_decision(home: Path, model_name: str, decision: Manifest) -> None:
    """Write the decision into the record of the version that it is about. The caller holds the model's lock."""
    for record in version_records(home, model_name):
        if (newer := newer_decision(record, decision)) != record.decision:
            write_record(home, record.model_copy(update={"decision": newer}))


def history_file(home: Path) -> Path:
    return registry_folder(home) / "aliases.jsonl"


def history(home: Path, model_name: str) -> list[Move]:
    """Every finished move of the model's aliases, oldest first. Reads only the local record."""
    lines, _ = read_journal(history_file(home))
    return [
        Move.model_validate(move)
        for line in lines
        if line["kind"] == "done"
        for move in line["moves"]
        if move["model"] == model_name
    ]


def models_with_history(home: Path) -> list[str]:
    """Names of the models of which an alias was ever moved, sorted."""
    lines, _ = read_journal(history_file(home))
    return sorted({move["model"] for line in lines if line["kind"] == "done" for move in line["moves"]})


def write_history(home: Path, kind: str, identity: str, moves: Sequence[Move]) -> None:
    make_private(history_file(home).parent)
    journal = Journal(history_file(home), attempt=0)
    try:
        journal.append(kind, durable=True, id=identity, moves=[move.model_dump(mode="json") for move in moves])
    finally:
        journal.close()


def describe(move: Move) -> str:
    """`2030-01-31T12:00:00+00:00 champion: version 1 -> version 2 by pretune: reason`."""
    forced = ", forced" if move.forced else ""
    passed = f"{version_text(move.from_version)} -> {version_text(move.to_version)}"
    return f"{move.time} {move.alias}: {passed} by {move.by}{forced}: {move.reason}"


def recorded_holders(moves: Sequence[Move]) -> dict[str, int]:
    """Alias to version, as all of the moves, one after the other, leave them."""
    held = {move.alias: move.to_version for move in moves}
    return {alias: version for alias, version in held.items() if version is not None}


def renumbered(records: Sequence[VersionRecord]) -> dict[int, int]:
    """From every number that a model had before it was registered again to the one that it has now."""
    return {old: record.version for record in records if record.version for old in record.earlier_versions}


def version_text(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
