"""Training state on disk: committed by rename, described by a manifest with SHA-256, verified before it is loaded."""

import dataclasses
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tasks.errors import IntegrityError, LockedError
from tasks.journal import CHAIN_START
from tasks.launch.lock import token_on_disk
from tasks.manifest import Manifest, file_entries, fsync_folder, read_json, verify, write_json, write_manifest
from tasks.run_layout import StageLayout, step_folder
from tasks.training.model import weights
from tasks.training.optimizer import load_optimizer_tensors, optimizer_tensors


@dataclass
class TrainState:
    """All of training that is neither weights nor moments. Data order and dropout are functions of (seed, step)."""

    step: int = 0
    """Optimizer steps completed."""
    tokens_seen: int = 0
    chain: str = CHAIN_START
    """Hash chain over (step, sample ids, loss)."""
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


def save_checkpoint(
    stage: StageLayout, request_digest: str, state: TrainState, model: nn.Module, optimizer: torch.optim.AdamW, attempt: int
) -> Path:
    """Write `checkpoints/step_N`, complete or not at all. Rank 0 calls it.

    Raises LockedError if a newer attempt has taken over the stage: its checkpoints must not be mixed with ours.
    """
    target = stage.checkpoints / step_folder(state.step)
    if target.exists():
        return target
    temporary = stage.checkpoints / f".{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in weights(model).items()}, temporary / "model.safetensors")
    save_file({k: v.contiguous() for k, v in optimizer_tensors(model, optimizer).items()}, temporary / "optimizer.safetensors")
    write_json(temporary / "state.json", dataclasses.asdict(state))
    files = [temporary / name for name in ("model.safetensors", "optimizer.safetensors", "state.json")]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    manifest = Manifest(
        kind="checkpoint",
        request_digest=request_digest,
        files=file_entries(temporary, files),
        step=state.step,
        tokens_seen=state.tokens_seen,
    )
    write_manifest(temporary, manifest)
    if (newest := token_on_disk(stage)) > attempt:
        raise LockedError(f"attempt {newest} has taken over {stage.path}; attempt {attempt} must not write there")
    temporary.rename(target)
    fsync_folder(stage.checkpoints)
    return target


def committed_checkpoints(stage: StageLayout) -> list[Path]:
    """Complete checkpoints, newest first."""
    return sorted(stage.checkpoints.glob("step_*"), reverse=True)


def load_checkpoint(path: Path, request_digest: str, model: nn.Module, optimizer: torch.optim.AdamW) -> TrainState:
    """Fill model and optimizer and return the state. All ranks call it.

    Raises IntegrityError if a file is not what the manifest says or the checkpoint belongs to another request.
    """
    manifest = Manifest.read(path / "manifest.json")
    if manifest.request_digest != request_digest:
        raise IntegrityError(f"{path} belongs to another request; move it away or choose another --name")
    verify(path, manifest)
    fill(model, load_file(path / "model.safetensors"), path)
    load_optimizer_tensors(model, optimizer, load_file(path / "optimizer.safetensors"))
    return TrainState(**read_json(path / "state.json"))


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Copy the tensors into the model; raises IntegrityError unless names and shapes are exactly the model's."""
    own = weights(model)
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in tensors.items()}:
        odd = sorted(own.keys() ^ tensors.keys()) or [k for k in own if own[k].shape != tensors[k].shape]
        raise IntegrityError(f"{path} holds another model: {odd[0]} differs; move it away or choose another --name")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)


def load_newest(
    stage: StageLayout, request_digest: str, model: nn.Module, optimizer: torch.optim.AdamW
) -> tuple[TrainState | None, list[str]]:
    """The newest checkpoint that is intact, or None if there is none yet; and a sentence for each that is damaged.

    Raises IntegrityError if there are checkpoints and none is intact: starting over would hide the loss.
    """
    damaged = []
    for path in committed_checkpoints(stage):
        try:
            return load_checkpoint(path, request_digest, model, optimizer), damaged
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
