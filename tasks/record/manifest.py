"""Requests and manifests: what a stage was asked for, and what it made.

A manifest is written last, atomically and once; its existence means that the stage is done.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from tasks.record.errors import IntegrityError, RequestChangedError
from tasks.record.files import FileEntry, Record, canonical, check_size, digest_of, file_sha256, write_json
from tasks.record.layout import REPOSITORY, StageLayout, is_checkout

FORMAT_VERSION: Literal[1] = 1
LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "safetensors", "prefect", "mlflow")
Kind = Literal["prepare", "examples", "base", "pretrain", "finetune", "evaluate", "promote"]


class Input(Record):
    """An earlier stage's result, by place and by digest of its manifest."""

    path: str
    """Absolute; in a file, relative to the folder of that file, so that a home can be moved and copied as a whole."""
    digest: str


class MadeFrom(Record):
    """What names earlier results."""

    inputs: dict[str, Input] = Field(default_factory=dict)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        read = cls.model_validate_json(path.read_bytes())
        return read.with_paths(lambda written: os.path.normpath(path.parent.absolute() / written))

    def write(self, path: Path) -> None:
        write_json(path, self.with_paths(lambda place: os.path.relpath(place, path.parent.absolute())))

    def with_paths(self, change: Callable[[str], str]) -> Self:
        inputs = {role: entry.model_copy(update={"path": change(entry.path)}) for role, entry in self.inputs.items()}
        return self.model_copy(update={"inputs": inputs})


class Request(MadeFrom):
    """What a stage is asked to do. `execution` says how, and is not part of the identity."""

    kind: Kind
    identity: dict[str, Any]
    execution: dict[str, Any] = Field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of kind, identity and the digests of the inputs; paths and execution do not count."""
        return digest_of([self.kind, self.identity, {role: i.digest for role, i in sorted(self.inputs.items())}])


class Manifest(MadeFrom):
    """What a stage made."""

    format_version: Literal[1] = FORMAT_VERSION
    kind: str
    request_digest: str
    files: tuple[FileEntry, ...] = ()
    step: int | None = None
    tokens_seen: int | None = None
    metrics: dict[str, float | int | None] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)
    """What is no number: verdict, labels, names of baselines, decision."""
    environment: dict[str, Any] = Field(default_factory=dict)
    created_at: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the whole manifest but for where and when it was made."""
        return digest_of(
            self.model_dump(mode="json", exclude={"environment", "created_at", "inputs"})
            | {"inputs": {role: i.digest for role, i in sorted(self.inputs.items())}}
        )

    def as_input(self, folder: Path) -> Input:
        return Input(path=str(folder), digest=self.digest)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest at `path`; raises IntegrityError if it is missing, unreadable or of a newer version."""
        try:
            return cls.from_file(path)
        except FileNotFoundError:
            raise IntegrityError(f"{path} does not exist; the stage that makes it has not finished, run it again") from None
        except ValueError as error:
            raise IntegrityError(
                f"{path} cannot be read by this version ({str(error).splitlines()[0]}); restore it, or use the version of "
                "pretune that wrote it"
            ) from None


def sha256_of(manifest: Manifest, path: str) -> str | None:
    """SHA-256 of one of the manifest's files, by its path in the folder; None where it is not listed."""
    return next((entry.sha256 for entry in manifest.files if entry.path == path), None)


def verify(folder: Path, manifest: Manifest) -> None:
    """Read every file that the manifest lists; raises IntegrityError for the first that is not what it says."""
    for entry in manifest.files:
        path = folder / entry.path
        check_size(path, entry)
        try:
            found = file_sha256(path)
        except OSError as error:
            raise IntegrityError(f"{path} cannot be read ({error.strerror}); restore it or make it again") from None
        if found != entry.sha256:
            raise IntegrityError(
                f"{path} has SHA-256 {found[:12]}... and its manifest says {entry.sha256[:12]}...; it is damaged, "
                "restore it or make it again"
            )


def input_manifest(request: Request, role: str) -> Manifest:
    """The manifest of one of the request's inputs; raises IntegrityError if it is no longer the one that was meant."""
    path = Path(request.inputs[role].path) / "manifest.json"
    manifest = Manifest.read(path)
    if manifest.digest != request.inputs[role].digest:
        raise IntegrityError(f"{path} is not the {role} that was asked for; run the pipeline again")
    return manifest


def environment() -> dict[str, Any]:
    """Library versions, commit and hardware of this process, for the record only."""
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit(),
        "hardware": {"machine": platform.machine(), "cpu_count": os.cpu_count()},
    }


def commit() -> str | None:
    """The commit of the checkout; None where there is no git, and for a wheel, which may lie inside of another repository."""
    if not is_checkout():
        return None
    git = ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def stamp(manifest: Manifest) -> Manifest:
    """The manifest with where and when it was made."""
    return manifest.model_copy(
        update={
            "environment": environment() | manifest.environment,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def write_manifest(stage_path: Path, manifest: Manifest) -> Manifest:
    """Stamp the manifest and commit it as `manifest.json`; the stage is done with this."""
    stamped = stamp(manifest)
    stamped.write(stage_path / "manifest.json")
    return stamped


def read_request(stage: StageLayout) -> Request:
    try:
        return Request.from_file(stage.request)
    except (FileNotFoundError, ValueError) as error:
        raise IntegrityError(f"{stage.request} cannot be read ({str(error).splitlines()[0]}); run the stage again") from None


def finished(stage: StageLayout, request: Request) -> Manifest | None:
    """The manifest if the stage is done; None if it was not begun or not finished.

    Raises RequestChangedError, naming the field, if it was begun or finished with another request.
    """
    if not stage.request.exists():
        return None
    earlier = read_request(stage)
    if earlier.digest != request.digest and refused(stage):
        return None
    if earlier.digest != request.digest:
        raise RequestChangedError(
            f"{stage.path.name} was run with another request: {first_difference(earlier, request)}; "
            "choose another --name, or set it back"
        )
    return Manifest.read(stage.manifest) if stage.manifest.exists() else None


def refused(stage: StageLayout) -> bool:
    """Whether the stage ended with a user's mistake before it made anything: a corrected request may have its folder."""
    made = stage.manifest.exists() or any(stage.checkpoints.glob("step_*"))
    return stage.error.exists() and not made


def first_difference(earlier: Request, later: Request) -> str:
    """`field was X and is now Y` for the first field of the identity or input that differs."""
    sides = [
        flatten(json.loads(canonical({"identity": r.identity, "input": {k: v.digest[:12] for k, v in r.inputs.items()}})))
        for r in (earlier, later)
    ]
    for key in sorted(sides[0].keys() | sides[1].keys()):
        old, new = sides[0].get(key, "not set"), sides[1].get(key, "not set")
        if old != new:
            return f"{key.removeprefix('identity.')} was {old!r} and is now {new!r}"
    return f"kind was {earlier.kind!r} and is now {later.kind!r}"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots; a list of named ones by their names."""
    if isinstance(value, list) and value and all(isinstance(inner, dict) and "name" in inner for inner in value):
        value = {inner["name"]: {key: one for key, one in inner.items() if key != "name"} for inner in value}
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat
