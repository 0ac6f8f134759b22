"""Training state on disk: which checkpoints there are, which are kept, and how one is verified and loaded on any layout."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tasks.record.errors import IntegrityError
from tasks.record.files import FileEntry, file_sha256, read_json
from tasks.record.journal import CHAIN_START
from tasks.record.layout import StageLayout, step_folder
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint.files import DTYPES, INDEX_NAME, BoxReader, Index
from tasks.training.model.pieces import box_of, local_values
from tasks.training.model.ranks import Ranks

T = TypeVar("T")
MANIFEST_HASH_NAME = "manifest.json.sha256"
"""What `sha256sum --check` reads: the manifest has the hashes of all other files, and this file that of the manifest."""
OTHER_MODEL_REMEDY = "move it away or choose another --name"


@dataclass
class TrainState:
    """All of training that is neither weights nor moments. Data order and dropout are functions of (seed, step)."""

    step: int = 0
    """Optimizer steps completed."""
    tokens_seen: int = 0
    chain: str = CHAIN_START
    """Hash chain over (step, sample ids, tokens read, loss)."""
    decay_start: int | None = None
    """Step at which the decay phase starts, once it is known."""
    verdict: dict[str, Any] | None = None
    """The verdict that started the decay."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: float = 0.0
    """Sum of step losses since the last evaluation, over `loss_steps` steps."""
    loss_steps: int = 0
    best_step: int | None = None
    """Step of the evaluation with the lowest held-out loss."""
    training_seconds: float = 0.0
    """Time spent in steps over all attempts."""


def committed_checkpoints(stage: StageLayout) -> list[Path]:
    """Complete checkpoints, newest first."""
    return sorted(stage.checkpoints.glob("step_*"), reverse=True)


def load_checkpoint(
    path: Path, request_digest: str, ranks: Ranks, tensors: Mapping[str, Tensor], tokenizer_digest: str | None = None
) -> TrainState:
    """Fill the tensors, in place, and return the state. All ranks call it, on any layout and with any number of ranks.

    `tensors` are this rank's weights by name and its optimizer's state by `parameter:key`, DTensors where they are sharded;
    those of all ranks together must be those of the checkpoint. Every file is verified, by one rank each, before anything is
    filled. Raises IntegrityError, the same on all ranks, if a file is not what the manifest says or the checkpoint is of
    another request, model or tokenizer.
    """
    said = gathered(ranks, refusal(path, request_digest, ranks, tensors, tokenizer_digest))
    if sentence := next((one for one in said if one is not None), None):
        raise IntegrityError(sentence)
    index = Index.read(path / INDEX_NAME)
    held = ranks.sum_(torch.tensor([float(name in tensors) for name in index], device=ranks.device)).tolist()
    if missing := [name for name, count in zip(index, held, strict=True) if count == 0]:
        raise IntegrityError(
            f"{path} holds another model: {missing[0]} {index[missing[0]].shape} is there and not in this model; "
            f"{OTHER_MODEL_REMEDY}"
        )
    with BoxReader(path, index) as reader:
        for name, tensor in tensors.items():
            values = local_values(tensor)
            if values.numel() > 0:
                reader.read_into(values, name, box_of(tensor)[0])
    return TrainState(**read_json(path / "state.json"))


def refusal(
    path: Path, request_digest: str, ranks: Ranks, tensors: Mapping[str, Tensor], tokenizer_digest: str | None
) -> str | None:
    """Why this rank cannot load the checkpoint, if so. Reads this rank's share of its files from end to end."""
    try:
        manifest = read_manifest(path)
        if manifest.request_digest != request_digest:
            raise IntegrityError(f"{path} belongs to another request; {OTHER_MODEL_REMEDY}")
        other = manifest.details.get("tokenizer_digest")
        if tokenizer_digest is not None and other is not None and tokenizer_digest != other:
            raise IntegrityError(
                f"{path} was trained with the tokenizer {other[:12]} and this run has {tokenizer_digest[:12]}; "
                f"{OTHER_MODEL_REMEDY}"
            )
        if INDEX_NAME not in {entry.path for entry in manifest.files}:
            raise IntegrityError(f"{path} has no {INDEX_NAME}, another version of pretune wrote it; continue with that version")
        verify(path, manifest.model_copy(update={"files": share_of_files(manifest, ranks)}))
        check_model(path, tensors)
        check_state(path)
    except IntegrityError as error:
        return str(error)
    return None


def read_manifest(path: Path) -> Manifest:
    """The manifest of a checkpoint; raises IntegrityError if a bit of it is not as it was written."""
    file, hashes = path / "manifest.json", path / MANIFEST_HASH_NAME
    manifest = Manifest.read(file)
    if not hashes.is_file():
        raise IntegrityError(f"{hashes} does not exist, so {file} cannot be verified; restore it or make it again")
    if hashes.read_bytes() != manifest_hash(file):
        raise IntegrityError(f"{file} has not the SHA-256 that {hashes.name} says; it is damaged, restore it or make it again")
    return manifest


def manifest_hash(file: Path) -> bytes:
    return f"{file_sha256(file)}  {file.name}\n".encode()


def share_of_files(manifest: Manifest, ranks: Ranks) -> tuple[FileEntry, ...]:
    """The files that this rank verifies: about as many bytes as any other; the small ones that all read, on all."""
    loads = [0] * ranks.world_size
    mine = []
    for entry in sorted(manifest.files, key=lambda entry: (-entry.size_bytes, entry.path)):
        reader = loads.index(min(loads))
        loads[reader] += entry.size_bytes
        if reader == ranks.rank or entry.path.endswith(".json"):
            mine.append(entry)
    return tuple(mine)


def check_model(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises IntegrityError, naming the first tensor that differs, if the checkpoint is not of these tensors."""
    index = Index.read(path / INDEX_NAME)
    for name, tensor in tensors.items():
        here = f"{tuple(tensor.shape)} {DTYPES[tensor.dtype]}"
        there = f"{index[name].shape} {index[name].dtype}" if name in index else "missing"
        if here != there:
            raise IntegrityError(f"{path} holds another model: {name} is {there} there and {here} here; {OTHER_MODEL_REMEDY}")


def check_state(path: Path) -> None:
    """Raises IntegrityError if the state has values that this version does not know."""
    known = {one.name for one in fields(TrainState)}
    if unknown := sorted(read_json(path / "state.json").keys() - known):
        raise IntegrityError(
            f"{path / 'state.json'} has {unknown[0]!r}, which this version of pretune does not know; use a newer"
        )


def gathered(ranks: Ranks, value: T) -> list[T]:
    """The value of every rank, in their order, on all of them. All ranks call it."""
    if ranks.world_size == 1:
        return [value]
    values: list[Any] = [None] * ranks.world_size
    dist.all_gather_object(values, value)
    return values


def load_newest(
    stage: StageLayout,
    request_digest: str,
    ranks: Ranks,
    tensors: Mapping[str, Tensor],
    tokenizer_digest: str | None = None,
) -> tuple[TrainState | None, list[str]]:
    """The newest checkpoint that is intact, or None if there is none yet; and a sentence for each that is damaged.

    All ranks call it and take the same one. Raises IntegrityError if there are checkpoints and none is intact: starting over
    would hide the loss.
    """
    damaged: list[str] = []
    for path in gathered(ranks, committed_checkpoints(stage))[0]:
        try:
            return load_checkpoint(path, request_digest, ranks, tensors, tokenizer_digest), damaged
        except IntegrityError as error:
            damaged.append(str(error))
    if damaged:
        raise IntegrityError(f"no checkpoint in {stage.checkpoints} is intact: {damaged[0]}; restore one, or remove them all")
    return None, damaged


def retain(stage: StageLayout, keep: int, best_step: int | None) -> list[Path]:
    """Delete checkpoints but the `keep` newest and the best; returns what was deleted. Rank 0 calls it, after a commit."""
    kept_best = stage.checkpoints / step_folder(best_step) if best_step is not None else None
    surplus = [path for path in committed_checkpoints(stage)[keep:] if path != kept_best]
    for path in surplus:
        remove(path)
    return surplus


def discard_after(stage: StageLayout, step: int) -> None:
    """Delete the checkpoints after `step`, which a rollback has left behind. Rank 0 calls it."""
    for path in committed_checkpoints(stage):
        if path.name > step_folder(step):
            remove(path)


def clear_leftovers(stage: StageLayout) -> None:
    """Delete what a killed attempt left half-written or half-deleted. Rank 0 calls it, before anything is written."""
    for folder in (stage.checkpoints, stage.milestones):
        for path in folder.glob(".*"):
            shutil.rmtree(path)


def remove(path: Path) -> None:
    """Take the folder out of sight at once, then delete it: a kill in between leaves no half checkpoint."""
    hidden = path.with_name(f".deleted-{path.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)
