"""What one rank writes of a checkpoint: a file of weights, one of the optimizer's state, and one of frozen weights, once."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from tasks.record.errors import IntegrityError
from tasks.record.files import FileEntry, file_sha256, fsync_folder
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.checkpoint import committed_checkpoints, read_manifest
from tasks.training.checkpoint.commit import Part
from tasks.training.checkpoint.files import INDEX_NAME, Index, box_rows, key_of, write_tensors
from tasks.training.model.pieces import Piece

log = logging.getLogger(__name__)


def file_name(kind: str, rank: int) -> str:
    return f"{kind}_{rank:05d}.safetensors"


def write_part(folder: Path, rank: int, shares: Mapping[str, Sequence[Piece]], copies: Sequence[Tensor]) -> Part:
    """Write this rank's shares, by kind of file; `copies` are their values on the CPU, in the same order."""
    values = iter(copies)
    files, boxes = [], []
    for kind, pieces in shares.items():
        if pieces:
            name = file_name(kind, rank)
            files.append(write_tensors(folder / name, {key_of(piece): next(values) for piece in pieces}))
            boxes += box_rows(name, pieces)
    fsync_folder(folder)
    return Part(files, boxes)


class FrozenPart:
    """Weights that are not trained: the file is written once, and the checkpoints after it get one name more for it."""

    def __init__(self, stage: StageLayout, request_digest: str, rank: int) -> None:
        self._stage, self._request_digest = stage, request_digest
        self._name = file_name("frozen", rank)
        self._intact: set[tuple[int, int]] = set()
        """Device and inode of files whose bytes this process has written or verified."""

    def write(self, folder: Path, pieces: Sequence[Piece]) -> Part:
        """The part of the checkpoint in `folder`; empty without pieces."""
        if not pieces:
            return Part([], [])
        path, boxes = folder / self._name, box_rows(self._name, pieces)
        entry = self._linked(path, boxes)
        if entry is None:
            entry = write_tensors(path, {key_of(piece): piece.tensor for piece in pieces})
        self._intact.add(inode(path))
        fsync_folder(folder)
        return Part([entry], boxes)

    def _linked(self, path: Path, boxes: list[list]) -> FileEntry | None:
        """Link to the same boxes in an earlier checkpoint, as this rank or one of an earlier attempt wrote them."""
        for earlier in committed_checkpoints(self._stage):
            try:
                manifest = read_manifest(earlier)
                entry = next((entry for entry in manifest.files if entry.path == self._name), None)
                if entry is None or manifest.request_digest != self._request_digest:
                    continue
                if sorted(Index.read(earlier / INDEX_NAME).rows(self._name)) != sorted(boxes):
                    continue
                if inode(earlier / self._name) in self._intact or file_sha256(earlier / self._name) == entry.sha256:
                    os.link(earlier / self._name, path)
                    return entry
            except (OSError, IntegrityError) as error:
                log.info("frozen weights are not taken from %s: %s", earlier, error)
        return None


def inode(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
