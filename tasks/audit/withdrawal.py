"""What must be made again where a file, a document or a data set may not be used any more, and in which order."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tasks.audit.command_lines import pretrain_again
from tasks.audit.inventory import Inventory, relative
from tasks.audit.lineage import MEASURED, TRAINED, Asked, DatasetUse, Lineage, StageUse, VersionUse
from tasks.audit.lineage_search import base_files, document_places
from tasks.config.finetuning import FinetuneFile
from tasks.data.inputs.files import find_input, input_files
from tasks.data.inputs.sources import SOURCES_FILE, cached_sha256, sample_file
from tasks.record.errors import DataError, PretuneError
from tasks.record.files import Record, read_json
from tasks.record.layout import StageLayout, datasets_folder, finetunes_folder, runs_folder
from tasks.registry.find_base import find_base
from tasks.stages.work import Result, examples_work

CHAMPION = "champion"


class Redo(Record):
    """Something that contains what was withdrawn."""

    kind: str
    """`prepare`, `examples`, `base`, `pretrain` or `finetune`."""
    name: str
    """Name of the fine-tune, else the folder, relative to the home."""
    folders: tuple[str, ...]
    """More than one for a fine-tune of which several attempts contain it."""
    why: tuple[str, ...]
    versions: tuple[VersionUse, ...] = ()
    done: bool = True
    """Whether one of the folders has come to its end; what has not is still at work on it, or can be continued."""
    how: str = ""
    """The words of the command that makes it again; empty where there is none."""


class Withdrawal(Record):
    asked: Asked
    given: str
    digest: str | None
    redo: tuple[Redo, ...]
    """In the order in which it has to be made again: each only needs what stands before it."""
    only_measured: tuple[str, ...]
    """Stages that were only measured on it: their weights do not contain it, their numbers come from it."""
    notes: tuple[str, ...]

    @property
    def finetunes(self) -> tuple[str, ...]:
        """Names of the fine-tunes among them that have a folder of their own, so that they can be refreshed."""
        return tuple(one.name for one in self.redo if one.kind == "finetune" and "/" not in one.name)


def withdrawal(home: Path, lineage: Lineage) -> Withdrawal:
    """The list, from where it went."""
    levels: dict[str, int] = {}
    uses: dict[str, StageUse] = {}
    why: dict[str, list[str]] = {}
    measured: list[str] = []

    def visit(stage: StageUse, level: int, reason: str) -> None:
        if stage.use == MEASURED:
            measured.append(stage.stage)
            return
        uses[stage.stage] = stage
        levels[stage.stage] = max(level, levels.get(stage.stage, 0))
        why.setdefault(stage.stage, []).append(reason)
        for later in stage.stages:
            visit(later, level + 1, f"starts from {stage.stage}")

    for data in (*lineage.datasets, *lineage.bases):
        for stage in data.stages:
            visit(stage, 1, f"trained on {data.dataset}" if stage.use == TRAINED else f"starts from {data.dataset}")
    steps = [*(redo_data(data) for data in (*lineage.datasets, *lineage.bases)), *redo_stages(home, uses, why, levels)]
    return Withdrawal(
        asked=lineage.asked,
        given=lineage.given,
        digest=lineage.digest,
        redo=tuple(steps),
        only_measured=tuple(name for name in dict.fromkeys(measured) if name not in uses),
        notes=lineage.notes,
    )


def redo_data(data: DatasetUse) -> Redo:
    folder = f"{'bases' if data.kind == 'base' else 'datasets'}/{data.dataset}"
    return Redo(
        kind=data.kind,
        name=folder,
        folders=(folder,),
        why=tuple(f"holds it as {place}" for place in data.places) or ("it is what was withdrawn",),
    )


def redo_stages(home: Path, uses: dict[str, StageUse], why: dict[str, list[str]], levels: dict[str, int]) -> Iterator[Redo]:
    """Pre-trainings one by one; of a fine-tune all attempts together, as it is made again once."""
    groups: dict[tuple[str, str], list[StageUse]] = {}
    for use in uses.values():
        groups.setdefault((use.kind, finetune_of(home, use.stage) or use.stage), []).append(use)

    def last(found: list[StageUse]) -> int:
        return max(levels[one.stage] for one in found)

    for (kind, name), found in sorted(groups.items(), key=lambda item: (last(item[1]), item[0])):
        run = run_of(home, name) if kind == "pretrain" else ""
        yield Redo(
            kind=kind,
            name=name,
            folders=tuple(one.stage for one in found),
            why=tuple(dict.fromkeys(reason for one in found for reason in why[one.stage])),
            versions=tuple(dict.fromkeys(version for one in found for version in one.versions)),
            done=any(one.done for one in found),
            how=pretrain_again(home, run) if run else "",
        )


def run_of(home: Path, stage: str) -> str:
    """Name of the run that a stage belongs to; empty where it belongs to none."""
    parts = Path(stage).parts
    return parts[1] if len(parts) > 2 and parts[0] == runs_folder(home).name else ""


def finetune_of(home: Path, stage: str) -> str:
    parts = Path(stage).parts
    return parts[1] if len(parts) > 2 and parts[0] == finetunes_folder(home).name else ""


def hindrance(home: Path, settings: FinetuneFile, lineage: Lineage) -> str:
    """Why a refresh with these settings would make a model that contains it again, in a sentence; empty where it would not.

    The data must be gone from where the examples are read, and the base must be one that does not contain it.
    """
    try:
        return still_in_examples(home, settings, lineage) or still_in_base(home, settings, lineage)
    except PretuneError as error:
        return str(error)


def still_in_examples(home: Path, settings: FinetuneFile, lineage: Lineage) -> str:
    examples, work = settings.examples, examples_work(home, settings)
    place = f"examples.path={examples.path!r}" if examples.path else "the sample"
    if lineage.asked == "dataset":
        if work.stage.path.name in {one.dataset for one in lineage.datasets}:
            return f"{place} still gives {work.stage.path.name}; remove there what may not be used, then ask again"
        return ""
    if lineage.asked == "source":
        still = [path for path, sha256 in files_read(home, settings) if sha256 == lineage.digest]
        return f"{still[0]} is still there, in {place}; remove it, then ask again" if still else ""
    from tasks.data.example_preparation import prepare_examples

    with tempfile.TemporaryDirectory() as folder:
        manifest = prepare_examples(work.request, Path(folder), home, lambda fraction, message: None)
        text = None if lineage.digest else Path(lineage.given).expanduser().read_text(encoding="utf-8")
        places = document_places(StageLayout(Path(folder)), manifest, work.request, text, lineage.digest or "")
    return f"{place} still has the document; remove it there, then ask again" if places else ""


def only_it_is_missing(home: Path, settings: FinetuneFile, lineage: Lineage) -> bool:
    """Whether every other file that the examples were made from is still read, so that what they lost is what was withdrawn."""
    if lineage.asked != "source":
        return False
    now = {sha256 for _, sha256 in files_read(home, settings)}
    for data in lineage.datasets:
        listing = datasets_folder(home) / data.dataset / SOURCES_FILE
        if data.kind == "examples" and data.dataset.rpartition("-")[0] == settings.name:
            before = {file["sha256"] for one in read_json(listing) for file in one["files"]} if listing.exists() else {None}
            if not before - {lineage.digest} <= now:
                return False
    return True


def files_read(home: Path, settings: FinetuneFile) -> list[tuple[Path, str]]:
    """The files of this machine that the examples are read from now, with their SHA-256; raises DataError for others."""
    examples = settings.examples
    found = find_input(examples.source, examples.path).files if examples.path else []
    found += input_files(examples.source, examples.test_path) if examples.test_path else []
    if any(file.version is not None for file in found):
        raise DataError(f"examples.path={examples.path!r} is not of this machine, so nobody knows whether the file is in it")
    files = [Path(file.location) for file in found] or [sample_file()]
    return list(zip(files, cached_sha256(home, files), strict=True))


def still_in_base(home: Path, settings: FinetuneFile, lineage: Lineage) -> str:
    base = find_base(home, settings)
    if isinstance(base, Result):
        holds = base.manifest.digest in containing(home, lineage)
    else:
        holds = lineage.digest is not None and lineage.digest in {sha256 for _, sha256 in base_files(base.request)}
    if not holds:
        return ""
    return f"its base {settings.base!r} contains it; make the base again, or set another one in its file, then ask again"


def containing(home: Path, lineage: Lineage) -> frozenset[str]:
    """Digests of every model and milestone whose weights contain it."""
    stages: set[str] = set()

    def visit(stage: StageUse) -> None:
        if stage.use != MEASURED:
            stages.add(stage.stage)
            for later in stage.stages:
                visit(later)

    for data in (*lineage.datasets, *lineage.bases):
        for stage in data.stages:
            visit(stage)
    inventory = Inventory(home)
    kept = [*inventory.kept, *inventory.only_registered()]
    made = {digest for one in kept if relative(one.stage.path, home) in stages for digest in one.made}
    return frozenset(made | {base.digest for base in lineage.bases})
