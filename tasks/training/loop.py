"""The one training loop: pre-training and every kind of fine-tuning are a `Recipe` for it."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.errors import DivergedError, StoppedError
from tasks.journal import Journal, chain
from tasks.run_layout import StageLayout
from tasks.training.checkpoint import TrainState, clear_leftovers, load_newest, retain, save_checkpoint
from tasks.training.model import autocast
from tasks.training.optimizer import FlatGradients, build_optimizer, set_learning_rate
from tasks.training.ranks import Ranks
from tasks.training.schedule import Schedule

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """What is trained on, towards what, and how it is measured."""

    request_digest: str
    seed: int
    schedule: Schedule
    max_steps: int
    global_batch_size: int
    micro_batch_size: int
    max_grad_norm: float | None
    weight_decay: float
    betas: tuple[float, float]
    precision: str
    evaluate_every_steps: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    sample_ids: Callable[[int], np.ndarray]
    """Step -> ids of its global batch, (global_batch_size,), the same on every rank."""
    read: Callable[[np.ndarray], Batch]
    """Ids of a micro-batch -> tensors on the CPU."""
    num_targets: Callable[[np.ndarray], int]
    """Ids -> number of predictions that their summed loss is divided by."""
    num_tokens: Callable[[np.ndarray], int]
    """Ids -> tokens that the model reads."""
    loss: Callable[[PreTrainedModel, Batch], Tensor]
    """Summed loss of a micro-batch, nats."""
    evaluate: Callable[[PreTrainedModel], dict[str, float]]
    """Held-out metrics, `heldout_loss` among them; all ranks call it and get the same."""
    on_evaluation: Callable[["Trainer"], None] | None = None
    """Called after each evaluation on all ranks; may start the decay."""


class Trainer:
    """State of one run on one rank. All public methods are called by all ranks."""

    def __init__(self, recipe: Recipe, model: PreTrainedModel, ranks: Ranks, stage: StageLayout, attempt: int) -> None:
        self.recipe, self.model, self.ranks, self.stage, self.attempt = recipe, model.to(ranks.device), ranks, stage, attempt
        self.optimizer = build_optimizer(model, recipe.schedule.peak, recipe.weight_decay, recipe.betas)
        self.gradients = FlatGradients(model)
        self.journal = Journal(stage.journal, attempt) if ranks.is_first else None
        self.state = TrainState()
        self._stop_asked = False
        self._step_seconds: list[float] = []

    def resume(self) -> None:
        """Take up the newest intact checkpoint, if there is one."""
        if self.ranks.is_first:
            clear_leftovers(self.stage)
        self.ranks.barrier()
        state, damaged = load_newest(self.stage, self.recipe.request_digest, self.model, self.optimizer)
        for sentence in damaged:
            self.note("event", event="damaged_checkpoint", message=sentence)
        self.state = state or self.state
        self.note(
            "start",
            durable=True,
            step=self.state.step,
            max_steps=self.last_step,
            world_size=self.ranks.world_size,
            phase=self.phase,
        )

    @property
    def last_step(self) -> int:
        """The step that training ends with: the cap, or the end of the decay that a verdict started."""
        start = self.state.decay_start
        return self.recipe.max_steps if start is None else start + self.recipe.schedule.decay_steps

    @property
    def phase(self) -> str:
        return self.recipe.schedule.phase(self.state.step, self.state.decay_start)

    def train(self) -> None:
        """Run to the last step. Raises StoppedError after a checkpoint if a stop was asked for, DivergedError on NaN."""
        self.model.train()
        if self.state.step == 0 and not self.state.evaluations:
            self.evaluate()
        while self.state.step < self.last_step:
            self.train_step()
            step = self.state.step
            ends = step == self.last_step
            if step % self.recipe.evaluate_every_steps == 0 or ends:
                self.evaluate()
            if step % self.recipe.checkpoint_every_steps == 0 or ends or self._stop_asked:
                self.save()
            if self._stop_asked:
                raise StoppedError(f"stopped after step {step}")

    def train_step(self) -> None:
        """One optimizer step over the global batch, whatever the number of ranks."""
        began, recipe, state = time.perf_counter(), self.recipe, self.state
        ids = recipe.sample_ids(state.step)
        loss_sum = self.accumulate_gradients(ids, recipe.num_targets(ids))
        self.ranks.sum_(self.gradients.buffer)
        stop = float(self.ranks.is_first and self.stage.stop.exists())
        loss_sum, stop = self.ranks.sums([loss_sum, stop])
        loss = loss_sum / recipe.num_targets(ids)
        grad_norm = self.gradients.clip(recipe.max_grad_norm)
        learning_rate = recipe.schedule.learning_rate(state.step, state.decay_start)
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()
        state.step += 1
        state.tokens_seen += recipe.num_tokens(ids)
        state.chain = chain(state.chain, state.step, hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(), loss)
        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
        self._stop_asked = stop > 0
        self.log_step(loss, float(grad_norm), learning_rate, recipe.num_tokens(ids), time.perf_counter() - began)
        for name, value in (("training loss", loss), ("norm of the gradients", float(grad_norm))):
            if not math.isfinite(value):
                raise DivergedError(
                    f"the {name} at step {state.step} is {value}; lower the learning rate or raise warmup_steps"
                )

    def accumulate_gradients(self, ids: np.ndarray, num_targets: int) -> float:
        """Gradients of this rank's micro-batches into the buffer; returns its summed loss.

        Micro-batch j of a step holds the same samples and draws the same random numbers whichever rank computes it.
        """
        recipe, device = self.recipe, self.ranks.device
        self.gradients.zero()
        micro_batches = ids.reshape(-1, recipe.micro_batch_size)
        total = torch.zeros((), device=device)
        for j in range(self.ranks.rank, len(micro_batches), self.ranks.world_size):
            torch.manual_seed(random_seed(recipe.seed, self.state.step, j))
            batch = to_device(recipe.read(micro_batches[j]), device)
            with autocast(device, recipe.precision):
                loss = recipe.loss(self.model, batch)
            (loss / num_targets).backward()
            total += loss.detach()
        return total.item()

    def log_step(self, loss: float, grad_norm: float, learning_rate: float, tokens: int, seconds: float) -> None:
        """One journal line; the rate is the median of the last steps, the first step of an attempt left out."""
        self.state.training_seconds += seconds
        self._step_seconds = [*self._step_seconds, seconds][-20:]
        typical = float(np.median(self._step_seconds[1:] or self._step_seconds))
        self.note(
            "step", step=self.state.step, max_steps=self.last_step, phase=self.phase, tokens_seen=self.state.tokens_seen,
            loss=loss, grad_norm=grad_norm, learning_rate=learning_rate, tokens_per_second=round(tokens / typical, 1),
            seconds_left=round((self.last_step - self.state.step) * typical, 1), chain=self.state.chain,
        )  # fmt: skip

    def evaluate(self) -> None:
        """Measure, record, and let the recipe judge."""
        state = self.state
        self.model.eval()
        with torch.no_grad(), autocast(self.ranks.device, self.recipe.precision):
            metrics = self.recipe.evaluate(self.model)
        self.model.train()
        train_loss = state.loss_sum / state.loss_steps if state.loss_steps else metrics["heldout_loss"]
        record = {"step": state.step, "tokens_seen": state.tokens_seen, "train_loss": train_loss} | metrics
        state.evaluations.append(record)
        state.loss_sum, state.loss_steps = 0.0, 0
        self.note("evaluation", **record)
        if self.recipe.on_evaluation is not None:
            self.recipe.on_evaluation(self)

    def save(self) -> None:
        """Commit a checkpoint and delete what retention lets go."""
        best = min(
            (e for e in self.state.evaluations if e["step"] % self.recipe.checkpoint_every_steps == 0 and e["step"] > 0),
            key=lambda e: e["heldout_loss"],
            default=None,
        )
        self.state.best_step = best["step"] if best else None
        if self.ranks.is_first:
            began = time.perf_counter()
            path = save_checkpoint(self.stage, self.recipe.request_digest, self.state, self.model, self.optimizer, self.attempt)
            retain(self.stage, self.recipe.keep_checkpoints, self.state.best_step)
            seconds = round(time.perf_counter() - began, 3)
            self.note("checkpoint", durable=True, step=self.state.step, path=relative(path, self.stage), seconds=seconds)
        self.ranks.barrier()

    def note(self, kind: str, durable: bool = False, **values: Any) -> None:
        """A journal line, on rank 0."""
        if self.journal is not None:
            self.journal.append(kind, durable, **values)


def random_seed(seed: int, step: int, micro_batch: int) -> int:
    """Seed of everything random in one micro-batch (dropout): a function of nothing that ran before."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{micro_batch}".encode()).digest()[:7], "little")


def to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


def relative(path: Path, stage: StageLayout) -> str:
    return path.relative_to(stage.path).as_posix()
