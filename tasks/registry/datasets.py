"""Data sets in MLflow: as inputs of the runs that were given them, with their cards as artifacts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.card.card import CARD_FILE, CARD_PLOT, embedded
from tasks.record.layout import StageLayout
from tasks.record.manifest import Input, Manifest, Request, read_request
from tasks.registry.store import read_registration

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATA_ROLES = ("dataset", "examples")
CARD_FOLDER = "data"
"""Of a run's artifacts: has a folder for each of its data sets."""
MAX_DATASET_DIGEST = 36
MAX_NOTE = 5000
NOTE_END = "\n\n*The whole card and its picture: {card} among the artifacts.*"


def data_of(request: Request) -> Iterator[tuple[Input, str]]:
    """Every data set that the stage's weights were made with, and as what: its own, and for a fine-tune those of its base.

    Weights that begin at random take nothing from the base but its shape.
    """
    context = "evaluation" if request.kind == "evaluate" else "training"
    for role in DATA_ROLES:
        if entry := request.inputs.get(role):
            yield entry, context
    base = request.inputs.get("base")
    if request.kind != "finetune" or base is None or request.identity.get("init") == "random":
        return
    stage = StageLayout(Path(base.path))
    if stage.request.exists():
        for entry, _ in data_of(read_request(stage)):
            yield entry, "pretraining"


def log_data(client: "MlflowClient", run_id: str, request: Request) -> None:
    """The data sets as inputs of the run, which MLflow keeps once per name and digest, and the card of each."""
    from mlflow.entities import DatasetInput, InputTag

    given = list(data_of(request))
    if not given:
        return
    inputs = [DatasetInput(dataset(entry), [InputTag("mlflow.data.context", context)]) for entry, context in given]
    client.log_inputs(run_id, datasets=inputs)
    for entry, _ in given:
        log_card(client, run_id, Path(entry.path), f"{CARD_FOLDER}/{Path(entry.path).name}")


def dataset(entry: Input) -> Any:
    """Digest of the manifest, where it lies and what it was made from, and its numbers: documents, bytes, tokens."""
    from mlflow.entities import Dataset

    folder = Path(entry.path)
    manifest = Manifest.read(folder / "manifest.json") if (folder / "manifest.json").exists() else None
    source = {"uri": str(folder)} | (
        {"made_from": manifest.details["source"]} if manifest and "source" in manifest.details else {}
    )
    return Dataset(
        name=folder.name,
        digest=entry.digest[:MAX_DATASET_DIGEST],
        source_type="local",
        source=json.dumps(source),
        profile=json.dumps(manifest.metrics if manifest else {}),
    )


def log_card(client: "MlflowClient", run_id: str, folder: Path, place: str | None = None) -> str | None:
    """Put the data set's card and picture among the run's artifacts; returns the card, or None where there is none."""
    paths = [path for name in (CARD_FILE, CARD_PLOT) if (path := folder / name).exists()]
    for path in paths:
        client.log_artifact(run_id, str(path), place)
    return paths[0].read_text(encoding="utf-8") if paths else None


def card_note(card: str) -> str:
    """As much of the card as a run's description holds, in whole sections, without the picture."""
    sections = embedded(card, "").split("\n## ")
    kept = "\n".join(line for line in sections[0].split("\n") if not line.endswith("]()"))
    for section in sections[1:]:
        if len(kept) + len(section) + len(NOTE_END) + len(CARD_FILE) > MAX_NOTE:
            break
        kept += f"\n## {section}"
    return (kept.strip() + NOTE_END.format(card=CARD_FILE))[:MAX_NOTE]


def card_links(home: Path, request: Request) -> dict[str, str]:
    """Where in MLflow the cards of the stage's data sets are, as tags of its versions."""
    links = {}
    for entry, context in data_of(request):
        known = read_registration(home, StageLayout(Path(entry.path)))
        if known is not None:
            key = "data_card" if context == "training" else f"data_card.{context}"
            links[key] = f"runs:/{known.run_id}/{CARD_FILE}"
    return links
