"""Backwards from a file or a document: which data sets hold it, what was trained on them, and which aliases that holds now.

Requests and manifests are the evidence: a stage was given a data set if its request names the digest of the data set's
manifest. What a data set was only compared with (earlier data sets, evaluation sets) is not in it. A run whose folder was
removed is not found.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.audit.lineage_search import Found, document_places, source_places
from tasks.record.errors import ConfigError, DataError, IntegrityError, TrackingError
from tasks.record.files import Record, file_sha256
from tasks.record.layout import StageLayout, begun_stages, datasets_folder
from tasks.record.manifest import Manifest, Request, read_request
from tasks.registry.store import read_registration

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
DATA_ROLES = ("dataset", "examples")
MODEL_KINDS = ("pretrain", "finetune")
TRAINED, MEASURED, STARTED = "trained on it", "measured on it", "starts from it"


class VersionUse(Record):
    """A registered model version."""

    model: str
    version: int
    label: str
    aliases: tuple[str, ...]
    """Those that it holds now: `champion` is in use."""


class StageUse(Record):
    """A training that was given the data, or a model that was."""

    stage: str
    """Folder, relative to the home."""
    kind: str
    use: str
    """Whether its weights were trained on the data, were only measured on them, or started from weights that were."""
    done: bool
    step: int | None
    tokens_seen: int | None
    digest: str | None
    """Of its manifest; None while it is not done."""
    checkpoints: tuple[str, ...]
    milestones: tuple[str, ...]
    exported: bool
    versions: tuple[VersionUse, ...]
    stages: tuple["StageUse", ...]
    """Fine-tunes of its model."""


class DatasetUse(Record):
    """A data set that holds what was asked for."""

    dataset: str
    kind: str
    digest: str
    splits: tuple[str, ...]
    places: tuple[str, ...]
    stages: tuple[StageUse, ...]


class Lineage(Record):
    """The answer; `datasets` is empty where nothing holds what was asked for."""

    asked: str
    """`source`, `document` or `dataset`."""
    given: str
    digest: str | None
    num_datasets: int
    """Finished data sets that were looked at."""
    datasets: tuple[DatasetUse, ...]
    notes: tuple[str, ...]
    """What could not be looked at, so that the answer may lack something."""


@dataclass(frozen=True)
class Dataset:
    """A finished data set."""

    stage: StageLayout
    manifest: Manifest
    request: Request


@dataclass(frozen=True)
class Training:
    """A stage that makes a model, finished or not."""

    stage: StageLayout
    request: Request
    manifest: Manifest | None
    made: frozenset[str]
    """Digests of the models that others can start from: its own and those of its milestones."""


def lineage_of_source(home: Path, given: str) -> Lineage:
    """Where a file that data sets were made from went; `given` is the file or its SHA-256.

    Raises DataError if it is neither.
    """
    digest = given.lower() if is_digest(given) else file_sha256(readable(given, "--source"))
    return Search(home).answer("source", given, digest, lambda dataset: source_places(dataset.stage, dataset.manifest, digest))


def lineage_of_document(home: Path, given: str) -> Lineage:
    """Where a document went; `given` is a file with its text, or the SHA-256 of the text as it was cleaned.

    The text is cleaned as each data set's was, so that it is found by what it says and not by its spaces. Raises DataError if
    it is no text.
    """
    text = None if is_digest(given) else read_document(given)

    def places(dataset: Dataset) -> list[Found]:
        return document_places(dataset.stage, dataset.manifest, dataset.request, text, given.lower())

    return Search(home).answer("document", given, given.lower() if text is None else None, places)


def lineage_of_dataset(home: Path, given: str) -> Lineage:
    """What was made with a data set; `given` is its folder, that folder's name, or the name that several have in common.

    Raises ConfigError for a name that no finished data set has.
    """
    search = Search(home)
    names = {dataset.stage.path.name for dataset in search.datasets}
    folder = Path(given).expanduser().resolve()
    if folder.parent == datasets_folder(home):
        wanted = {folder.name}
    else:
        wanted = {given} & names or {name for name in names if name.rpartition("-")[0] == given}
    if not wanted & names:
        there = ", ".join(sorted(names)) or "none"
        raise ConfigError(f"--dataset={given!r} is no finished data set of {datasets_folder(home)}; there are: {there}")

    def places(dataset: Dataset) -> list[Found]:
        return [Found("train", ""), Found("heldout", "")] if dataset.stage.path.name in wanted else []

    return search.answer("dataset", given, None, places)


def is_digest(given: str) -> bool:
    return SHA256.fullmatch(given) is not None and not Path(given).exists()


def readable(given: str, flag: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{flag}={given!r} {what}, and is no SHA-256; give one file, or 64 hexadecimal digits")
    return path


def read_document(given: str) -> str:
    try:
        text = readable(given, "--document").read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"--document={given!r} is no UTF-8 at byte {error.start}; give the text, or its SHA-256") from None
    if not text.strip():
        raise DataError(f"--document={given!r} is empty; give a file with the text of one document")
    return text


class Search:
    """One look at everything in a home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.notes: list[str] = []
        self.datasets = list(self._datasets())
        self.trainings = list(self._trainings())
        self._holders: dict[str, dict[int, tuple[str, ...]]] = {}

    def _datasets(self) -> Iterator[Dataset]:
        for path in sorted(datasets_folder(self.home).glob("*/manifest.json")):
            stage = StageLayout(path.parent)
            try:
                yield Dataset(stage, Manifest.read(path), read_request(stage))
            except IntegrityError as error:
                self.notes.append(str(error))

    def _trainings(self) -> Iterator[Training]:
        for stage in begun_stages(self.home):
            try:
                request = read_request(stage)
                if request.kind in MODEL_KINDS:
                    manifest = Manifest.read(stage.manifest) if stage.manifest.exists() else None
                    made = [Manifest.read(found).digest for found in stage.milestones.glob("step_*/manifest.json")]
                    yield Training(stage, request, manifest, frozenset([*made, *([manifest.digest] if manifest else [])]))
            except IntegrityError as error:
                self.notes.append(str(error))

    def answer(self, asked: str, given: str, digest: str | None, places: Callable[[Dataset], list[Found]]) -> Lineage:
        """The data sets in which `places` finds something, and what became of them."""
        uses = []
        for dataset in self.datasets:
            try:
                found = places(dataset)
            except IntegrityError as error:
                self.notes.append(str(error))
                continue
            if found:
                uses.append(self.dataset_use(dataset, found))
        return Lineage(
            asked=asked,
            given=given,
            digest=digest,
            num_datasets=len(self.datasets),
            datasets=tuple(uses),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def dataset_use(self, dataset: Dataset, found: list[Found]) -> DatasetUse:
        splits = tuple(dict.fromkeys(one.split for one in found))
        digest = dataset.manifest.digest
        use = TRAINED if "train" in splits else MEASURED
        given = [t for t in self.trainings if any(e.digest == digest for r, e in t.request.inputs.items() if r in DATA_ROLES)]
        return DatasetUse(
            dataset=dataset.stage.path.name,
            kind=dataset.manifest.kind,
            digest=digest,
            splits=splits,
            places=tuple(dict.fromkeys(one.place for one in found if one.place)),
            stages=tuple(self.stage_use(training, use) for training in given),
        )

    def stage_use(self, training: Training, use: str) -> StageUse:
        """With everything that started from its weights, unless these never saw the data."""
        stage, manifest = training.stage, training.manifest
        later = [t for t in self.trainings if starts_from(t, training)] if use != MEASURED else []
        return StageUse(
            stage=stage.path.relative_to(self.home).as_posix(),
            kind=training.request.kind,
            use=use,
            done=manifest is not None,
            step=manifest.step if manifest else None,
            tokens_seen=manifest.tokens_seen if manifest else None,
            digest=manifest.digest if manifest else None,
            checkpoints=names(stage.checkpoints.glob("step_*/manifest.json")),
            milestones=names(stage.milestones.glob("step_*/manifest.json")),
            exported=stage.export.is_dir(),
            versions=tuple(self.versions(stage)),
            stages=tuple(self.stage_use(one, STARTED) for one in later),
        )

    def versions(self, stage: StageLayout) -> Iterator[VersionUse]:
        known = read_registration(self.home, stage)
        if known is None and stage.registration.exists():
            self.notes.append(
                f"{stage.registration} is of another MLflow than the one here, or of one that is gone: versions of this stage "
                "are not shown; set MLFLOW_TRACKING_URI to it"
            )
        for model, labels in (known.versions if known else {}).items():
            for label, version in sorted(labels.items(), key=lambda item: item[1]):
                aliases = self.holders(model).get(version, ())
                yield VersionUse(model=model, version=version, label=label, aliases=aliases)

    def holders(self, model: str) -> dict[int, tuple[str, ...]]:
        """Version to aliases as MLflow has them, or, where it does not answer, as the local record of their moves does."""
        if model not in self._holders:
            from tasks.registry.versions import versions

            try:
                self._holders[model] = {version.version: version.aliases for version in versions(self.home, model)}
            except TrackingError as error:
                self.notes.append(f"aliases are those of the local record of their moves, because {error}")
                self._holders[model] = holders_of_record(self.home, model)
        return self._holders[model]


def holders_of_record(home: Path, model: str) -> dict[int, tuple[str, ...]]:
    """What all moves of the model's aliases, one after the other, come to."""
    from tasks.registry.records import history, recorded_holders

    held = recorded_holders(history(home, model))
    return {version: tuple(sorted(a for a, v in held.items() if v == version)) for version in held.values()}


def starts_from(later: Training, earlier: Training) -> bool:
    """Whether its weights began as those of the other; from random weights it only takes over their shape."""
    base = later.request.inputs.get("base")
    return base is not None and base.digest in earlier.made and later.request.identity.get("init") != "random"


def names(manifests: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in manifests))
