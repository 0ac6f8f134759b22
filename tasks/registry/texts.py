"""Brings what MLflow and the model folders say about a model's versions up to date with the records; changes nothing else.

Called after every change, under the model's lock. It compares and writes what differs, so it may be repeated at any time, and a
process that was killed before it is made good by the next change.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.record.errors import DivergedError, IntegrityError
from tasks.record.files import read_json, write_atomically
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest
from tasks.registry.card import card_description, with_picture
from tasks.registry.flow_links import flow_tags
from tasks.registry.records import (
    Move,
    VersionRecord,
    describe,
    history,
    newest_decision,
    recorded_holders,
    version_records,
    version_text,
    write_record,
)
from tasks.registry.status import CHAMPION_LINE, CHANGING_TAGS, Ending, champion_line, version_texts
from tasks.registry.tracking import MAX_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

log = logging.getLogger(__name__)
logger = logging.getLogger("pretune")
"""What a person at a terminal is told."""

CARD, CURVE = "README.md", "curve.png"

HISTORY_MOVES, HISTORY_CHARACTERS = 20, 4900


def write_texts(client: "MlflowClient", home: Path, model_name: str) -> None:
    """Every card, description and tag of the model's registered versions, and the history of its aliases."""
    records = {record.version: record for record in version_records(home, model_name)}
    if not (model := registered_model(client, model_name)):
        return
    moves, held = history(home, model_name), {alias: int(version) for alias, version in model.aliases.items()}
    there = client.search_model_versions(f"name = '{model_name}'")
    for difference in differences(list(records.values()), moves, held, {int(found.version) for found in there}):
        logger.warning("%s: %s; see `pretune registry repair`", model_name, difference)
    for found in there:
        if record := records.get(int(found.version)):
            describe_version(client, home, found, record, moves, held)
    line = champion_line(list(records.values()), moves, held)
    if line and (description := with_champion(model.description or "", line)) != model.description:
        client.update_registered_model(model_name, description)
    for alias in dict.fromkeys(move.alias for move in moves):
        text = history_text([move for move in moves if move.alias == alias])
        if model.tags.get(f"history.{alias}") != text:
            client.set_registered_model_tag(model_name, f"history.{alias}", text)


def differences(records: list[VersionRecord], moves: list[Move], held: dict[str, int], there: set[int]) -> list[str]:
    """What somebody did in MLflow itself, a phrase each: versions that were deleted, aliases that were moved."""
    lost = sorted((one for one in records if one.version not in there), key=lambda one: one.version or 0)
    found = [f"version {one.version} ({one.label}) was deleted in MLflow" for one in lost]
    recorded = recorded_holders(moves)
    for alias in sorted(recorded.keys() | held.keys()):
        was, now = recorded.get(alias), held.get(alias)
        if was != now:
            found.append(f"{alias} is held by {version_text(now)} in MLflow and by {version_text(was)} in the record")
    return found


def with_champion(description: str, line: str) -> str:
    """The description of the registered model with its champion in the first line; what a person wrote there stays below."""
    first, _, rest = description.partition("\n")
    kept = rest.strip() if first.startswith(CHAMPION_LINE) else description.strip()
    return f"{line}\n\n{kept}".strip()


def registered_model(client: "MlflowClient", model_name: str) -> "RegisteredModel | None":
    """None for a model that does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def found_version(client: "MlflowClient", model_name: str, number: int) -> "ModelVersion | None":
    """None for a version that is not there, or no longer."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model_name, str(number))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def describe_version(
    client: "MlflowClient", home: Path, found: "ModelVersion", record: VersionRecord, moves: list[Move], held: dict[str, int]
) -> None:
    """Write what differs of one version: its tags, its description, its card."""
    decision = newest_decision(home, record)
    if decision != record.decision:
        record = record.model_copy(update={"decision": decision})
        write_record(home, record)
    stage = StageLayout(Path(record.stage))
    ending = ending_of(stage) if record.label.partition(" ")[2] else None
    texts = version_texts(record, moves, held, flow_tags(home, record.flow_run), ending)
    tags = {key: value[:MAX_TAG] for key, value in texts.tags.items()}
    for key in [key for key in CHANGING_TAGS if key in found.tags and key not in tags]:
        client.delete_model_version_tag(record.model, found.version, key)
    for key in [key for key, value in tags.items() if found.tags.get(key) != value]:
        client.set_model_version_tag(record.model, found.version, key, tags[key])
    folder = Path(record.tags["path"])
    curve = folder / CURVE
    card = with_picture(texts.card, curve.read_bytes() if curve.exists() else None)
    if (description := card_description(card)) != found.description:
        client.update_model_version(record.model, found.version, description)
    readme = folder / CARD
    if folder.is_dir() and (not readme.exists() or readme.read_bytes() != card.encode()):
        write_atomically(readme, card.encode())


def ending_of(stage: StageLayout) -> Ending | None:
    """How the training of a milestone came to its end; None while it has not, as far as its folder says."""
    if stage.manifest.exists():
        try:
            manifest = Manifest.read(stage.manifest)
        except IntegrityError as error:
            log.warning("%s", error)
            return None
        return Ending(step=manifest.step, verdict=(manifest.details.get("verdict") or {}).get("verdict"))
    if stage.error.exists():
        left = read_json(stage.error)
        return Ending(error=left["message"]) if left["error"] == DivergedError.__name__ else None
    return None


def history_text(moves: list[Move]) -> str:
    """The last moves of one alias, newest first."""
    return "\n".join(describe(move) for move in reversed(moves[-HISTORY_MOVES:]))[:HISTORY_CHARACTERS]
