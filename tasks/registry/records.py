"""What this home knows of its registered versions without asking MLflow: a record of each, and every move of an alias."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tasks.record.errors import IntegrityError
from tasks.record.files import Record, write_json
from tasks.record.journal import Journal, read_journal
from tasks.record.layout import StageLayout, attempt_of, registry_folder
from tasks.record.manifest import Manifest
from tasks.registry.store import make_private, store_identity

log = logging.getLogger(__name__)

PRIVATE_FILE = 0o600


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


class Move(Record):
    """One alias passed from one version to another."""

    model: str
    alias: str
    from_version: int | None
    to_version: int
    reason: str
    by: str
    time: str


def record_file(home: Path, key: str) -> Path:
    return registry_folder(home) / "intents" / f"{key}.json"


def read_record(path: Path) -> VersionRecord | None:
    """None where there is none, or one that cannot be read: registering again writes it anew."""
    if not path.exists():
        return None
    try:
        return VersionRecord.model_validate_json(path.read_bytes())
    except ValueError as error:
        log.warning("%s cannot be read (%s); registering its model again writes it anew", path, str(error).splitlines()[0])
        return None


def write_record(home: Path, record: VersionRecord) -> None:
    write_json(record_file(home, record.key), record, PRIVATE_FILE)


def version_records(home: Path, model_name: str) -> list[VersionRecord]:
    """Of every version of the model that was registered in this store; `*` is every model."""
    found = [read_record(path) for path in sorted(record_file(home, "x").parent.glob(f"{model_name}@*.json"))]
    store = store_identity(home)
    return [record for record in found if record and record.state == "done" and record.store == store]


def records_of_manifest(home: Path, digest: str) -> list[VersionRecord]:
    """Of every model's versions in this store that were registered with the manifest of this digest, by the model's name."""
    found = [read_record(path) for path in sorted(record_file(home, "x").parent.glob(f"*@{digest}.json"))]
    store = store_identity(home)
    return [record for record in found if record and record.state == "done" and record.store == store]


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


def write_history(home: Path, kind: str, identity: str, moves: Sequence[Move]) -> None:
    make_private(history_file(home).parent)
    journal = Journal(history_file(home), attempt=0)
    try:
        journal.append(kind, durable=True, id=identity, moves=[move.model_dump(mode="json") for move in moves])
    finally:
        journal.close()


def describe(move: Move) -> str:
    """`2030-01-31T12:00:00+00:00 champion: version 1 -> version 2 by pretune: reason`."""
    return (
        f"{move.time} {move.alias}: {version_text(move.from_version)} -> version {move.to_version} by {move.by}: {move.reason}"
    )


def version_text(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"
