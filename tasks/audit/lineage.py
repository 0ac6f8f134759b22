"""Backwards from a file or a document: which data sets hold it, what was trained on them, and which aliases that holds now.

Requests and manifests are the evidence: a stage was given a data set if its request names the digest of the data set's
manifest. What a data set was only compared with (earlier data sets, evaluation sets) is not in it. Of a run whose folder was
removed, what was registered is found; where the folder of a data set was removed, it is said that nobody knows.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.audit.inventory import DATA_KINDS, MODEL_KINDS, Inventory, Kept, relative
from tasks.audit.lineage_search import Found, base_places, document_places, source_places
from tasks.record.errors import ConfigError, DataError, IntegrityError
from tasks.record.files import Record, file_sha256
from tasks.record.layout import StageLayout, datasets_folder
from tasks.record.manifest import Manifest, Request
from tasks.registry.store import read_registration

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
DATA_ROLES = ("dataset", "examples")
Asked = Literal["source", "document", "dataset"]
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
    gone: bool = False
    """Whether its folder is gone, so that it is only known from what was registered."""
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

    asked: Asked
    """`source`, `document` or `dataset`."""
    given: str
    digest: str | None
    num_datasets: int
    """Finished data sets that were looked at."""
    datasets: tuple[DatasetUse, ...]
    num_bases: int = 0
    """Bases that were taken in, and looked at."""
    bases: tuple[DatasetUse, ...] = ()
    """Those that were made from the file that was asked for."""
    notes: tuple[str, ...]
    """What could not be looked at, so that the answer may lack something."""


@dataclass(frozen=True)
class Dataset:
    """A finished data set."""

    stage: StageLayout
    manifest: Manifest
    request: Request


def lineage_of_source(home: Path, given: str) -> Lineage:
    """Where a file that data sets were made from went; `given` is the file or its SHA-256.

    Raises DataError if it is neither.
    """
    digest = given.lower() if is_digest(given) else file_sha256(readable(given, "--source"))

    def places(dataset: Dataset) -> list[Found]:
        if dataset.manifest.kind == "base":
            return base_places(dataset.manifest, dataset.request, digest)
        return source_places(dataset.stage, dataset.manifest, digest)

    return Search(home).answer("source", given, digest, places)


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
        self.inventory = Inventory(home)
        self.notes = self.inventory.notes
        made = [(kept.stage, kept.manifest, kept.request) for kept in self.inventory.kept if kept.manifest is not None]
        self.datasets = [Dataset(*one) for one in made if one[2].kind in DATA_KINDS]
        self.bases = [Dataset(*one) for one in made if one[2].kind == "base"]
        self.trainings = [kept for kept in self.inventory.kept if kept.request.kind in MODEL_KINDS]
        self.trainings += self.inventory.only_registered()

    def answer(self, asked: Asked, given: str, digest: str | None, places: Callable[[Dataset], list[Found]]) -> Lineage:
        """The data sets, and for a file the bases, in which `places` finds something, and what became of them."""
        if asked != "dataset":
            self.notes += self.unknown_inputs()
        return Lineage(
            asked=asked,
            given=given,
            digest=digest,
            num_datasets=len(self.datasets),
            datasets=tuple(self.uses(self.datasets, places)),
            num_bases=len(self.bases),
            bases=tuple(self.uses(self.bases, places)) if asked == "source" else (),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def unknown_inputs(self) -> Iterator[str]:
        """Trainings of which nobody can say what was in them."""
        known = {one.manifest.digest for one in (*self.datasets, *self.bases)}.union(*(t.made for t in self.trainings))
        for training in self.trainings:
            for role, entry in training.request.inputs.items():
                if role in (*DATA_ROLES, "base") and entry.digest not in known and not training.takes_only_shape_of(role):
                    name = relative(training.stage.path, self.home)
                    yield (
                        f"what {name} was given as {role} is gone (digest {entry.digest[:12]}), so nobody knows whether it "
                        "contains this"
                    )

    def uses(self, datasets: list[Dataset], places: Callable[[Dataset], list[Found]]) -> Iterator[DatasetUse]:
        for dataset in datasets:
            try:
                found = places(dataset)
            except IntegrityError as error:
                self.notes.append(str(error))
                continue
            if found:
                yield self.dataset_use(dataset, found)

    def dataset_use(self, dataset: Dataset, found: list[Found]) -> DatasetUse:
        splits = tuple(dict.fromkeys(one.split for one in found if one.split))
        digest = dataset.manifest.digest
        if dataset.manifest.kind == "base":
            use, given = STARTED, [t for t in self.trainings if starts_from(t, frozenset([digest]))]
        else:
            use = TRAINED if "train" in splits else MEASURED
            given = [
                t for t in self.trainings if any(e.digest == digest for r, e in t.request.inputs.items() if r in DATA_ROLES)
            ]
        return DatasetUse(
            dataset=dataset.stage.path.name,
            kind=dataset.manifest.kind,
            digest=digest,
            splits=splits,
            places=tuple(dict.fromkeys(one.place for one in found if one.place)),
            stages=tuple(self.stage_use(training, use) for training in given),
        )

    def stage_use(self, training: Kept, use: str) -> StageUse:
        """With everything that started from its weights, unless these never saw the data."""
        stage, manifest = training.stage, training.manifest
        later = [t for t in self.trainings if starts_from(t, training.made)] if use != MEASURED else []
        return StageUse(
            stage=relative(stage.path, self.home),
            kind=training.request.kind,
            use=use,
            done=manifest is not None or training.only_registered,
            gone=training.only_registered,
            step=manifest.step if manifest else None,
            tokens_seen=manifest.tokens_seen if manifest else None,
            digest=manifest.digest if manifest else None,
            checkpoints=names(stage.checkpoints.glob("step_*/manifest.json")),
            milestones=tuple(folder.name for folder in training.milestones),
            exported=stage.export.is_dir(),
            versions=tuple(self.versions(training)),
            stages=tuple(self.stage_use(one, STARTED) for one in later),
        )

    def versions(self, training: Kept) -> Iterator[VersionUse]:
        """Those that were registered from its folder, and those of the very same model that another folder gave."""
        stage = training.stage
        known = read_registration(self.home, stage)
        if known is None and stage.registration.exists():
            self.notes.append(
                f"{stage.registration} is of another MLflow than the one here, or of one that is gone: versions of this stage "
                "are not shown; set MLFLOW_TRACKING_URI to it"
            )
        found = {(m, v): label for m, labels in (known.versions if known else {}).items() for label, v in labels.items()}
        for record in self.inventory.records:
            if record.version is not None and record.tags.get("digest") in training.made:
                found.setdefault((record.model, record.version), record.label)
        for model, version in sorted(found):
            aliases = self.inventory.holders(model).get(version, ())
            yield VersionUse(model=model, version=version, label=found[model, version], aliases=aliases)


def starts_from(later: Kept, made: frozenset[str]) -> bool:
    """Whether its weights began as those of one of these digests; from random weights it only takes over their shape."""
    base = later.request.inputs.get("base")
    return base is not None and base.digest in made and not later.takes_only_shape_of("base")


def names(manifests: Iterable[Path]) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in manifests))
