"""How the parts that ranks wrote become one checkpoint: agreed on through files, since a thread must not use collectives."""

import functools
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.record.errors import IntegrityError, LockedError, StageError
from tasks.record.files import FileEntry, file_entries, fsync_folder, read_json, write_atomically, write_json
from tasks.record.layout import StageLayout, step_folder
from tasks.record.lock import token_on_disk
from tasks.record.manifest import Manifest, environment, verify
from tasks.training.checkpoint.checkpoint import MANIFEST_HASH_NAME, manifest_hash, read_manifest, remove
from tasks.training.checkpoint.files import INDEX_NAME, Index

POLL_SECONDS = 0.02
DEADLINE_SECONDS = 600.0
"""How long after its own part rank 0 waits for those of the others."""


@dataclass(frozen=True)
class Part:
    """What one rank wrote."""

    files: list[FileEntry]
    boxes: list[list[Any]]

    def joined(self, other: "Part") -> "Part":
        return Part(self.files + other.files, self.boxes + other.boxes)

    def leave(self, folder: Path, rank: int) -> None:
        """Tell rank 0; the files are on disk by now."""
        files = [entry.model_dump() for entry in self.files]
        write_json(folder / part_name(rank), {"files": files, "boxes": self.boxes})


@dataclass(frozen=True)
class Commit:
    """One checkpoint of which all ranks write a part. Rank 0 completes it."""

    stage: StageLayout
    request_digest: str
    attempt: int
    world_size: int
    state: Mapping[str, Any]
    details: Mapping[str, Any]
    deadline_seconds: float = DEADLINE_SECONDS

    @property
    def step(self) -> int:
        return self.state["step"]

    @property
    def target(self) -> Path:
        return self.stage.checkpoints / step_folder(self.step)

    @property
    def folder(self) -> Path:
        """Where the ranks write, of this attempt alone: ranks of an older one may still be writing."""
        return self.target.with_name(f".{self.target.name}.attempt_{self.attempt}")

    def complete(self) -> Manifest:
        """Wait for all parts and give the checkpoint its name. Returns what is on disk then. Rank 0 calls it.

        Raises StageError if a part does not come, LockedError if a newer attempt has taken over the stage: its checkpoints must
        not be mixed with ours.
        """
        folder, index, files = self.folder, Index(), []
        for rank in range(self.world_size):
            part = self.wait_for(rank, time.monotonic() + self.deadline_seconds)
            files += part.files
            index.add(part.boxes)
            (folder / part_name(rank)).unlink()
        index.write(folder / INDEX_NAME)
        write_json(folder / "state.json", dict(self.state))
        own = file_entries(folder, [folder / INDEX_NAME, folder / "state.json"])
        manifest = Manifest(
            kind="checkpoint",
            request_digest=self.request_digest,
            files=tuple(sorted([*files, *own], key=lambda entry: entry.path)),
            step=self.step,
            tokens_seen=self.state["tokens_seen"],
            details=dict(self.details),
            environment=this_environment(),
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        manifest.write(folder / "manifest.json")
        write_atomically(folder / MANIFEST_HASH_NAME, manifest_hash(folder / "manifest.json"))
        if (newest := token_on_disk(self.stage)) > self.attempt:
            raise LockedError(f"attempt {newest} has taken over {self.stage.path}; attempt {self.attempt} must not write there")
        if self.is_there():
            shutil.rmtree(folder)
            return read_manifest(self.target)
        folder.rename(self.target)
        fsync_folder(self.stage.checkpoints)
        return manifest

    def wait_for(self, rank: int, deadline: float) -> Part:
        path = self.folder / part_name(rank)
        while not path.exists():
            if not self.folder.exists():
                raise StageError(f"{self.folder} was given up: another rank could not write its part")
            if time.monotonic() > deadline:
                raise StageError(
                    f"rank {rank} of {self.world_size} has not left {path} within {self.deadline_seconds:.0f} s; "
                    "look into that rank's log, and put $PRETUNE_HOME on a file system that all machines share"
                )
            time.sleep(POLL_SECONDS)
        content = read_json(path)
        return Part([FileEntry(**entry) for entry in content["files"]], content["boxes"])

    def is_there(self) -> bool:
        """Whether this step has an intact checkpoint already; a damaged one is removed."""
        if not self.target.exists():
            return False
        try:
            verify(self.target, read_manifest(self.target))
        except IntegrityError:
            remove(self.target)
            return False
        return True


def part_name(rank: int) -> str:
    return f"rank_{rank:05d}.json"


@functools.cache
def this_environment() -> dict[str, Any]:
    """Versions, commit and hardware, asked for once: it takes longer than writing a small checkpoint."""
    return environment()
