"""Everything that the folders of a home say: what was begun, what was made, and where the thing of a digest lies.

Nothing is taken from names or places: a manifest is what its digest says, wherever it lies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.record.errors import IntegrityError, TrackingError
from tasks.record.files import file_sha256
from tasks.record.layout import StageLayout, bases_folder, begun_stages, datasets_folder
from tasks.record.manifest import Input, Manifest, Request, read_request, sha256_of
from tasks.registry.records import VersionRecord, history, recorded_holders, version_records
from tasks.registry.store import database_file, store_identity

DATA_KINDS = ("prepare", "examples")
MODEL_KINDS = ("pretrain", "finetune")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Kept:
    """A stage that was begun here, finished or not."""

    stage: StageLayout
    request: Request
    manifest: Manifest | None
    milestones: dict[Path, Manifest]
    made: frozenset[str]
    """Digests of what others can start from: its own result and its milestones."""
    only_registered: bool = False
    """Whether its folder is gone: it is known from the record of a version."""

    def takes_only_shape_of(self, role: str) -> bool:
        """What begins at random takes nothing else from its base."""
        return role == "base" and self.request.identity.get("init") == "random"


@dataclass(frozen=True)
class Thing:
    """The manifest of a digest, and what goes with it as far as it is still there."""

    folder: Path
    """That the manifest lies in."""
    stage: Path
    """Folder of the stage that made it."""
    manifest: Manifest
    request: Request | None
    """What was asked for; None where only the registry's copy is left."""
    inputs: dict[str, Input]


class Inventory:
    """One look at a home. What cannot be read is left out, and said in `notes`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.notes: list[str] = []
        self.kept = list(self._kept())
        self._versions: dict[str, dict[int, tuple[str, ...]] | None] = {}

    def _kept(self) -> Iterator[Kept]:
        shared = [path for folder in (bases_folder, datasets_folder) for path in folder(self.home).glob(f"*/{MANIFEST}")]
        found = begun_stages(self.home)
        known = {stage.path for stage in found}
        for stage in (*found, *(StageLayout(path.parent) for path in sorted(shared) if path.parent not in known)):
            try:
                request = read_request(stage)
                manifest = Manifest.read(stage.manifest) if stage.manifest.exists() else None
                steps = sorted(stage.milestones.glob(f"step_*/{MANIFEST}"))
                milestones = {path.parent: Manifest.read(path) for path in steps}
                made = frozenset(one.digest for one in (*([manifest] if manifest else []), *milestones.values()))
                yield Kept(stage, request, manifest, milestones, made)
            except IntegrityError as error:
                self.notes.append(str(error))

    @cached_property
    def records(self) -> list[VersionRecord]:
        """Of every version of every model that was registered in this store."""
        return version_records(self.home, "*")

    def only_registered(self) -> Iterator[Kept]:
        """The trainings whose folder is gone and of which a version was registered."""
        known = frozenset[str]().union(*(kept.made for kept in self.kept))
        lost: dict[str, list[VersionRecord]] = {}
        for record in self.records:
            if record.tags["digest"] not in known:
                lost.setdefault(record.stage, []).append(record)
        for stage, records in lost.items():
            inputs = recorded_inputs(records[0])
            request = Request(kind="finetune" if "base" in inputs else "pretrain", identity={}, inputs=inputs)
            made = frozenset(record.tags["digest"] for record in records)
            yield Kept(StageLayout(Path(stage)), request, None, {}, made, only_registered=True)

    @cached_property
    def things(self) -> dict[str, Thing]:
        """By digest: of the stages and their milestones, and where these are gone, the registry's copy of their manifests."""
        found: dict[str, Thing] = {}
        for record in self.records:
            path = Path(record.tags.get("path", "")) / MANIFEST
            if path.is_file():
                try:
                    manifest = Manifest.read(path)
                except IntegrityError as error:
                    self.notes.append(str(error))
                    continue
                inputs = recorded_inputs(record) | manifest.inputs
                found[manifest.digest] = Thing(path.parent, Path(record.stage), manifest, None, inputs)
        for kept in self.kept:
            made = kept.milestones | ({kept.stage.path: kept.manifest} if kept.manifest else {})
            for folder, manifest in made.items():
                inputs = kept.request.inputs | manifest.inputs
                found[manifest.digest] = Thing(folder, kept.stage.path, manifest, kept.request, inputs)
        return found

    def aliases(self, model: str) -> dict[int, tuple[str, ...]] | None:
        """Every version that MLflow has of the model, with the aliases it holds; None where MLflow cannot be asked."""
        if model not in self._versions:
            self._versions[model] = self._asked(model)
        return self._versions[model]

    def _asked(self, model: str) -> dict[int, tuple[str, ...]] | None:
        if store_identity(self.home) == "local" and not database_file(self.home).exists():
            self.notes.append(
                f"{database_file(self.home)} is gone, so nobody knows which versions of {model} there are; aliases are those "
                "of the local record of their moves"
            )
            return None
        from tasks.registry.versions import versions

        try:
            return {version.version: version.aliases for version in versions(self.home, model)}
        except TrackingError as error:
            self.notes.append(f"aliases are those of the local record of their moves, because {error}")
            return None

    def holders(self, model: str) -> dict[int, tuple[str, ...]]:
        """Version to aliases as MLflow has them, or, where it does not answer, as the local record of their moves does."""
        known = self.aliases(model)
        return holders_of_record(self.home, model) if known is None else known


def recorded_inputs(record: VersionRecord) -> dict[str, Input]:
    """What a version was made from, by role, as its tags have it: digests without places."""
    prefix = "input."
    return {key.removeprefix(prefix): Input(path="", digest=tag) for key, tag in record.tags.items() if key.startswith(prefix)}


def relative(folder: Path, home: Path) -> str:
    """The folder's path in the home, or its whole path if it lies elsewhere."""
    return folder.relative_to(home).as_posix() if folder.is_relative_to(home) else str(folder)


def holders_of_record(home: Path, model: str) -> dict[int, tuple[str, ...]]:
    """What all moves of the model's aliases, one after the other, come to."""
    held = recorded_holders(history(home, model))
    return {number: tuple(sorted(alias for alias, one in held.items() if one == number)) for number in held.values()}


def trouble_with_request(thing: Thing) -> str:
    """Why what was asked for is not believed, in a sentence; empty where the manifest was made for this very request."""
    if thing.request is None:
        return f"what it was asked for is gone with {thing.stage}; only the registry's copy of its manifest is left"
    if thing.request.digest != thing.manifest.request_digest:
        return f"{thing.stage / 'request.json'} is not the request that it was made for; recipe and settings are not shown"
    return ""


def trouble_with_file(thing: Thing, name: str) -> str:
    """Why one of the thing's files is not believed, in a sentence; empty where it has the SHA-256 of the manifest."""
    path, expected = thing.folder / name, sha256_of(thing.manifest, name)
    if not path.is_file():
        return f"{path} is gone"
    if expected is None:
        return f"{path} is not listed in its manifest"
    return "" if file_sha256(path) == expected else f"{path} is not what its manifest says"
