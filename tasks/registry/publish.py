"""From a finished stage to a registered version with its card, and to a complete MLflow run. MLflow is imported when needed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL

from tasks.config.config import Config
from tasks.config.training import FinetuneConfig
from tasks.record.errors import PretuneError, TrackingError
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import StageLayout, home
from tasks.record.manifest import Input, Manifest, flatten, read_request
from tasks.registry.card import model_card
from tasks.registry.datasets import card_links, data_of
from tasks.registry.names import CANDIDATE, PRETRAINED, base_model, finetuned_model, registered_version
from tasks.registry.store import read_registration
from tasks.stages.work import Result

if TYPE_CHECKING:
    from tasks.registry.versions import Version

logger = logging.getLogger("pretune")


def mirror(stage: StageLayout) -> None:
    """Complete the stage's MLflow run. MLflow only mirrors the journal: where it is away, that is said and the flow goes on."""
    from tasks.registry.tracking import default_names, sync

    run_name, experiment = default_names(home(), stage)
    try:
        sync(home(), stage, run_name=run_name, experiment=experiment, tags=prefect_links() if is_new(stage) else None)
    except TrackingError as error:
        logger.warning("%s", error)


@contextmanager
def mirrored(stage: StageLayout) -> Iterator[None]:
    """Around a stage that is done: where it fails or is stopped, its MLflow run says so."""
    try:
        yield
    except PretuneError:
        if stage.journal.exists():
            mirror(stage)
        raise


def is_new(stage: StageLayout) -> bool:
    """Whether the stage's end has not been mirrored yet."""
    known = read_registration(home(), stage)
    return known is None or known.finished is None


def publish_milestone(config: Config, stage: StageLayout, folder: Path) -> None:
    """Register one milestone of a pre-training that may still run; the newest one gets the alias `pretraining`."""
    manifest = Manifest.read(folder / "manifest.json")
    kind = str(manifest.details["label"])
    label = f"{kind} step {manifest.step}"
    if registered_version(home(), stage, base_model(config), label) is None:
        aliases = tuple(sorted({kind, "pretraining"}))
        publish(stage, base_model(config), folder, manifest, label, kind, aliases, settings=pretrain_settings(config))


def publish_pretrained(config: Config, base: Result) -> "Version | None":
    """Register the finished pre-training as `pretrained`; None if that was done before."""
    if registered_version(home(), base.stage, base_model(config), PRETRAINED) is not None:
        return None
    return publish(
        base.stage, base_model(config), base.stage.path, base.manifest, PRETRAINED, PRETRAINED, (PRETRAINED,),
        settings=pretrain_settings(config),
    )  # fmt: skip


def publish_candidate(config: Config, finetune: FinetuneConfig, candidate: Result, base: Result) -> None:
    """Register a fine-tuned model as `candidate`, with its parent."""
    model = finetuned_model(config, finetune)
    if registered_version(home(), candidate.stage, model, CANDIDATE) is not None:
        return
    settings = flatten({"finetune": finetune.model_dump(mode="json", exclude={"gate", "schedule"})})
    parent = find_version(base_model(config), base.manifest.digest)
    publish(
        candidate.stage, model, candidate.stage.path, candidate.manifest, CANDIDATE, CANDIDATE, (CANDIDATE,), settings, parent
    )


def find_version(model: str, digest: str) -> "Version | None":
    """The version that was registered with this manifest."""
    from tasks.registry.versions import versions

    return next((version for version in versions(home(), model) if version.digest == digest), None)


def publish(
    stage: StageLayout, model: str, root: Path, manifest: Manifest, label: str, kind: str, aliases: tuple[str, ...],
    settings: dict[str, Any], parent: "Version | None" = None,
) -> "Version":  # fmt: skip
    """Register `root`/export under the label; `kind` is what the card says that the version is."""
    from tasks.registry.tracking import default_names
    from tasks.registry.versions import register

    picture = root / "curve.png"
    curve = picture.read_bytes() if picture.exists() else None
    verdict = manifest.details.get("verdict")
    mirror_data(stage)
    links, cards = prefect_links(), card_links(home(), read_request(stage))
    card = model_card(
        name=model, label=kind, manifest=manifest, dataset_manifest=read_data(stage), verdict=verdict, curve_png=curve,
        lineage=[f"{parent.name} version {parent.version} ({parent.digest[:12]})"] if parent else [],
        links=({"Prefect flow run": links["prefect_url"]} if links else {}) | card_titles(cards), settings=settings,
        curve=heldout_losses(stage),
    )  # fmt: skip
    run_name, experiment = default_names(home(), stage)
    version = register(
        home(), model_name=model, folder=root / "export", manifest=manifest, root=root, stage=stage, label=label,
        aliases=aliases, parent=parent, card=card, links=links | cards, run_name=run_name, experiment=experiment,
        attachments={"curve.png": curve} if curve else None,
    )  # fmt: skip
    logger.info("%-24s registered %s version %d (%s)", stage.path.name, model, version.version, ", ".join(version.aliases))
    return version


def prefect_links() -> dict[str, str]:
    """Which flow run did this, as tags; empty outside of one."""
    run_id = flow_run.id
    return {"prefect_flow_run_id": run_id, "prefect_url": f"{PREFECT_UI_URL.value()}/runs/flow-run/{run_id}"} if run_id else {}


def mirror_data(stage: StageLayout) -> None:
    """Complete the MLflow runs of the data sets that are still there, so that the version can name their cards."""
    for entry, _ in data_of(read_request(stage)):
        data = StageLayout(Path(entry.path))
        if data.manifest.exists():
            mirror(data)


def card_titles(cards: dict[str, str]) -> dict[str, str]:
    """The same links under the titles that the model card gives them."""
    titles = {
        "data_card": "Data card in MLflow",
        "data_card.pretraining": "Data card of the base model in MLflow",
    }
    return {titles[key]: address for key, address in cards.items()}


def pretrain_settings(config: Config) -> dict[str, Any]:
    return flatten(config.model_dump(mode="json", include={"model", "pretrain", "convergence"}))


def read_data(stage: StageLayout) -> Manifest | None:
    """The manifest of the text or examples that the stage was given."""
    inputs: dict[str, Input] = read_request(stage).inputs
    entry = inputs.get("dataset") or inputs.get("examples")
    return Manifest.read(Path(entry.path) / "manifest.json") if entry else None


def heldout_losses(stage: StageLayout) -> list[float | None]:
    lines, _ = read_journal(stage.journal)
    return [line.get("heldout_loss") for line in latest_by_step(lines, "evaluation")]
