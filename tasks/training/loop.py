"""The one training loop: pre-training and every kind of fine-tuning are a `Recipe` for it."""

import hashlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.config.finetuning import FinetuneConfig
from tasks.config.training import PretrainConfig
from tasks.data.tokens.digest import MODULUS, digest_text
from tasks.record.errors import DivergedError, IntegrityError, StoppedError
from tasks.record.journal import Journal, chain
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.checkpoint import TrainState, clear_leftovers, load_newest
from tasks.training.checkpoint.saver import CheckpointSaver
from tasks.training.feed import Batch, Feed, HostNumbers, Reading, digest_of_rows, on_device, to_device
from tasks.training.gradients import FlatGradients, ShardedGradients
from tasks.training.input_check import InputCheck
from tasks.training.measure.profile import StepProfile
from tasks.training.measure.throughput import Meter, device_peak_flops, first_start, model_flops_per_token, peak_memory_bytes
from tasks.training.model.partition import Partition
from tasks.training.model.pieces import pieces_of
from tasks.training.optimizer import build_optimizer, optimizer_tensors, set_learning_rate
from tasks.training.passes import passes_of
from tasks.training.schedule import Schedule
from tasks.training.step_words import StepWords


@dataclass(frozen=True)
class Recipe:
    """What is trained on, towards what, and how it is measured."""

    config: PretrainConfig | FinetuneConfig
    """The stage's settings, which the loop reads where it needs them."""
    request_digest: str
    schedule: Schedule
    max_steps: int
    sample_ids: Callable[[int], np.ndarray]
    """Step -> ids of its global batch, (global_batch_size,), the same on every rank."""
    read: Callable[[np.ndarray], Batch]
    """Ids of a micro-batch -> tensors on the CPU."""
    num_targets: Callable[[np.ndarray], int]
    """Ids -> number of predictions that their summed loss is divided by."""
    num_tokens: Callable[[np.ndarray], int]
    """Ids -> tokens that the model reads."""
    evaluate: Callable[["Trainer"], dict[str, float]]
    """Held-out metrics, `heldout_loss` among them; all ranks call it and get the same."""
    tokenizer_digest: str | None = None
    """SHA-256 of the tokenizer, which a checkpoint must have been trained with."""
    profile_step: int | None = None
    """Step of which every rank writes a trace."""
    on_evaluation: Callable[["Trainer"], None] | None = None
    """Called after each evaluation on all ranks; may start the decay."""
    token_digest: Callable[[np.ndarray, np.ndarray, Batch], int] = digest_of_rows
    """Places in the global batch, ids and tensors of a micro-batch -> digest of what was read (`tasks.data.tokens.digest`)."""


@dataclass(frozen=True)
class Unsettled:
    """A step whose numbers may still be on their way from the device."""

    step: int
    tokens_seen: int
    numbers: HostNumbers
    """Summed loss over all ranks, their words (`StepWords`), norm of the gradients."""
    sample_digest: str
    num_targets: int
    tokens: int
    learning_rate: float
    began: float
    data_seconds: float


class Trainer:
    """State of one run on one rank. All public methods are called by all ranks."""

    def __init__(
        self, recipe: Recipe, partition: Partition, stage: StageLayout, attempt: int, inputs: InputCheck | None = None
    ) -> None:
        """`partition` has its values and its loss; parameters are given their optimizer here. `inputs` go on being verified."""
        self.recipe, self.partition, self.stage, self.attempt = recipe, partition, stage, attempt
        self.config = config = recipe.config
        self.mesh, self.ranks = partition.mesh, partition.mesh.ranks
        self.optimizer = build_optimizer(
            partition, recipe.schedule.peak, config.weight_decay, config.betas, config.optimizer, config.precision
        )
        flat = not self.mesh.layout.is_partitioned
        self.gradients = FlatGradients(partition) if flat else ShardedGradients(partition)
        self.passes = passes_of(partition, config.precision, self.num_micro_batches)
        self.journal = Journal(stage.journal, attempt) if self.ranks.is_first else None
        self.saver = CheckpointSaver(
            stage, recipe.request_digest, self.ranks, attempt, config.keep_checkpoints, recipe.tokenizer_digest
        )
        self._stalled_seconds = 0.0
        self.state = TrainState()
        self.inputs = inputs or InputCheck(self.ranks)
        self.feed = Feed(self.read_step)
        self._stop_asked = False
        self._unsettled: Unsettled | None = None
        self._settled_at = 0.0
        self.meter = self.new_meter()

    @property
    def model(self) -> PreTrainedModel:
        """This rank's part of the model, or all of it."""
        return self.partition.parts[0]

    def new_meter(self) -> Meter:
        """What measures the steps of this attempt."""
        whole, device = self.partition.whole, self.ranks.device
        flops = model_flops_per_token(whole, self.config.sequence_length) if whole is not None else None
        peak = device_peak_flops(device, self.config.precision)
        everyone = peak * self.ranks.world_size if peak is not None else None
        return Meter(first_start(self.stage.journal) or time.time(), flops, everyone, device)

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of this rank in one step."""
        return self.config.global_batch_size // (self.config.micro_batch_size * self.mesh.layout.data_parallel)

    def resume(self) -> None:
        """Take up the newest intact checkpoint, if there is one."""
        if self.ranks.is_first:
            clear_leftovers(self.stage)
        self.ranks.barrier()
        state, damaged = load_newest(
            self.stage, self.recipe.request_digest, self.ranks, self.tensors(), self.recipe.tokenizer_digest
        )
        for sentence in damaged:
            self.note("event", event="damaged_checkpoint", message=sentence)
        self.state = state or self.state
        self.note(
            "start",
            durable=True,
            step=self.state.step,
            max_steps=self.last_step,
            world_size=self.ranks.world_size,
            layout=str(self.mesh.layout),
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
        try:
            self.train_to_the_end()
            self.conclude_inputs()
        except (StoppedError, DivergedError):
            # All ranks come to the same decision in the same step. What one rank alone runs into must not wait for the others.
            self.finish_saving()
            raise
        self.finish_saving()

    def train_to_the_end(self) -> None:
        self.partition.train()
        if self.state.step == 0 and not self.state.evaluations:
            self.evaluate()
        while self.state.step < self.last_step:
            with self.profiled():
                self.train_step()
            step = self.state.step
            ends = step == self.last_step
            evaluates = step % self.config.evaluate_every_steps == 0 or ends
            if evaluates or step % self.config.checkpoint_every_steps == 0:
                self.settle()
            if evaluates:
                self.evaluate()
            if step % self.config.checkpoint_every_steps == 0 or ends or self._stop_asked:
                # A step is saved with its link of the chain, and not at all if its loss is no number.
                self.settle()
                self.save()
            if self._stop_asked:
                raise StoppedError(f"stopped after step {step}")

    def profiled(self) -> AbstractContextManager[object]:
        """A profile of the next step, if it is the one that was asked for."""
        step = self.state.step + 1
        if step != self.recipe.profile_step:
            return nullcontext()
        return StepProfile(step, self.stage.path / "profile", self.ranks.rank)

    def train_step(self) -> None:
        """One optimizer step over the global batch, whatever the layout. On a GPU its numbers are read a step later.

        All ranks make the same collective calls in the same order: for the gradients, their norm, the numbers. None may leave
        one out or raise an error by itself, since the others would wait for it in the next one: what a rank alone knows goes
        with the numbers to all (`StepWords`), and all act on it when they settle the step.
        """
        began, recipe, state = time.perf_counter(), self.recipe, self.state
        ids = recipe.sample_ids(state.step)
        reading, waited = self.feed.take(state.step, prepare_next=state.step + 1 < self.last_step)
        num_targets, num_tokens = recipe.num_targets(ids), recipe.num_tokens(ids)
        loss_sum, grad_norm = self.find_gradients(reading, num_targets)
        learning_rate = self.update_weights()
        self.note_saved()
        numbers = self.sum_numbers(loss_sum, reading.token_digest)
        state.step += 1
        state.tokens_seen += num_tokens
        self.settle_in_turn(Unsettled(
            step=state.step, tokens_seen=state.tokens_seen,
            numbers=HostNumbers(torch.cat([numbers, grad_norm.double().reshape(1)])),
            sample_digest=hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest(), num_targets=num_targets,
            tokens=num_tokens, learning_rate=learning_rate, began=began, data_seconds=waited,
        ))  # fmt: skip

    def find_gradients(self, reading: Reading, num_targets: int) -> tuple[Tensor, Tensor]:
        """Leave the clipped gradients of the global batch; returns this rank's share of the summed loss, and their norm."""
        self.gradients.zero()
        # Divided by the targets of all ranks and then summed: a mean of the ranks' means would depend on who reads what.
        loss_sum = self.passes.train(reading.batches, self.seed_of(self.state.step), num_targets)
        self.gradients.reduce()
        # After the sum, so that every rank scales by the norm of the whole gradient.
        return loss_sum, self.gradients.clip(self.config.max_grad_norm)

    def update_weights(self) -> float:
        """The optimizer's step; returns its learning rate."""
        learning_rate = self.recipe.schedule.learning_rate(self.state.step, self.state.decay_start)
        set_learning_rate(self.optimizer, learning_rate)
        # A checkpoint is copied while the passes only read: here is the first that would change what it copies.
        self.saver.wait_until_staged()
        self.optimizer.step()
        return learning_rate

    def sum_numbers(self, loss_sum: Tensor, token_digest: int) -> Tensor:
        """Of all ranks: the loss, and what they have to tell each other (`StepWords`). All ranks call it."""
        # Behind the update, which needs none of it. The sum tells everyone of a stop, so that one rank looks for its file.
        stop = self.ranks.is_first and self.stage.stop.exists()
        words = StepWords(stop, self.inputs.found_damage, self.saver.has_failed, token_digest).numbers(self.mesh)
        return self.ranks.sum_(torch.cat([loss_sum.double().reshape(1), on_device(words, loss_sum.device)]))

    def settle_in_turn(self, step: Unsettled) -> None:
        """Settle the step before this one, and on a CPU this one too."""
        previous, self._unsettled = self._unsettled, step
        # Reading a number waits for the device, which by now has this step to go on with.
        if previous is not None:
            self.settle_one(previous)
        if self.ranks.device.type == "cpu":
            self.settle()

    def settle(self) -> None:
        """Read the numbers of the last step, extend the chain, write the journal line; raises DivergedError on NaN."""
        if self._unsettled is not None:
            self.settle_one(self._unsettled)
            self._unsettled = None

    def settle_one(self, step: Unsettled) -> None:
        state = self.state
        loss_sum, *said, grad_norm = step.numbers.get()
        words = StepWords.heard(said, self.mesh)
        # Before the chain and the journal, which have no step that any rank has reason to doubt.
        self.raise_what_was_heard(words, step.step)
        loss, token_digest = loss_sum / step.num_targets, digest_text(words.token_digest)
        state.chain = chain(state.chain, step.step, step.sample_digest, token_digest, loss)
        state.loss_sum, state.loss_steps = state.loss_sum + loss, state.loss_steps + 1
        self._stop_asked = self._stop_asked or words.stop
        # The journal has the line of a step that diverged, from which a reader sees how.
        self.log_step(step, loss, grad_norm, token_digest)
        for name, value in (("training loss", loss), ("norm of the gradients", grad_norm)):
            if not math.isfinite(value):
                raise DivergedError(f"the {name} at step {step.step} is {value}; lower the learning rate or raise warmup_steps")

    def raise_what_was_heard(self, words: StepWords, step: int) -> None:
        """Raise what one rank or more have told: all have heard the same, so that all are here, in the same order."""
        if words.unsaved:
            self.saver.raise_failure()
        if words.damaged:
            self.inputs.raise_damage()
        if not words.agree:
            raise IntegrityError(
                f"ranks that share the samples of step {step} read different tokens of them: the data set's files differ "
                "between machines or were changed meanwhile; restore them and run the same command again"
            )

    def seed_of(self, step: int) -> Callable[[int], int]:
        """Seeds of this rank's micro-batches: micro-batch j of a step draws the same numbers whichever rank computes it."""
        place, width = self.mesh.data_rank, self.mesh.layout.data_parallel
        return lambda number: random_seed(self.config.seed, step, place + number * width)

    def read_step(self, step: int) -> Reading:
        """This rank's micro-batches of a step, on the device; micro-batch j holds the same samples on every layout."""
        ids = self.recipe.sample_ids(step)
        mine = slice(self.mesh.data_rank, None, self.mesh.layout.data_parallel)
        batches, digest = [], 0
        for places in np.arange(len(ids)).reshape(-1, self.config.micro_batch_size)[mine]:
            batch = self.recipe.read(ids[places])
            digest += self.recipe.token_digest(places, ids[places], batch)
            batches.append(to_device(batch, self.ranks.device))
        return Reading(batches, digest % MODULUS)

    def log_step(self, step: Unsettled, loss: float, grad_norm: float, token_digest: str) -> None:
        """One journal line with the numbers of the step and of the last steps (`Meter`)."""
        now = time.perf_counter()
        seconds, self._settled_at = now - max(step.began, self._settled_at), now
        self.state.training_seconds += seconds
        performance = self.meter.record(
            seconds, step.data_seconds, step.tokens, self.state.training_seconds, self._stalled_seconds
        )
        self.note(
            "step", step=step.step, max_steps=self.last_step, phase=self.phase, tokens_seen=step.tokens_seen,
            loss=loss, grad_norm=grad_norm, learning_rate=step.learning_rate, **performance,
            seconds_left=round((self.last_step - step.step) * self.meter.typical_step_seconds, 1),
            token_digest=token_digest, chain=self.state.chain,
        )  # fmt: skip

    def evaluate(self) -> None:
        """Measure, record, and let the recipe judge."""
        state = self.state
        self.partition.train(False)
        metrics = self.recipe.evaluate(self)
        self.partition.train()
        train_loss = state.loss_sum / state.loss_steps if state.loss_steps else metrics["heldout_loss"]
        record: dict[str, Any] = {"step": state.step, "tokens_seen": state.tokens_seen, "train_loss": train_loss} | metrics
        state.evaluations.append(record)
        state.loss_sum, state.loss_steps = 0.0, 0
        self.note("evaluation", **record)
        if self.recipe.on_evaluation is not None:
            self.recipe.on_evaluation(self)

    def tensors(self) -> dict[str, Tensor]:
        """All values of this rank's training state by name, as they are saved: weights, buffers, the optimizer's state."""
        return self.partition.weights() | optimizer_tensors(self.partition.parameters(), self.optimizer)

    def conclude_inputs(self) -> None:
        """Wait until the inputs are verified, before anything is committed that was learned from them."""
        self.inputs.conclude(lambda: self.note("event", event="verifying_inputs", step=self.state.step))

    def save(self) -> None:
        """Begin a checkpoint, which is written while training goes on."""
        self.conclude_inputs()
        best = min(
            (e for e in self.state.evaluations if e["step"] % self.config.checkpoint_every_steps == 0 and e["step"] > 0),
            key=lambda e: e["heldout_loss"],
            default=None,
        )
        self.state.best_step = best["step"] if best else None
        parameters, elsewhere = self.partition.parameters(), self.partition.written_elsewhere
        frozen = {name: p for name, p in parameters.items() if not p.requires_grad}
        weights = {name: tensor for name, tensor in self.partition.weights().items() if name not in frozen}
        moments = optimizer_tensors(parameters, self.optimizer)
        others = optimizer_tensors({name: parameters[name] for name in elsewhere}, self.optimizer).keys()
        self.saver.save(
            self.state, pieces_of(weights, self.mesh, elsewhere), pieces_of(moments, self.mesh, set(others)),
            pieces_of(frozen, self.mesh, elsewhere),
        )  # fmt: skip

    def finish_saving(self) -> None:
        """Wait until all checkpoints are committed, and note them."""
        self.saver.finish()
        self.note_saved()

    def note_saved(self) -> None:
        """A journal line for every checkpoint that was committed since the last look."""
        while self.saver.saved:
            record = self.saver.saved.popleft()
            self._stalled_seconds += record.stall_seconds
            self.note(
                "checkpoint", durable=True, step=record.step, path=relative(record.path, self.stage), seconds=record.seconds,
                stall_seconds=record.stall_seconds, size_bytes=record.size_bytes,
            )  # fmt: skip

    def environment(self) -> dict[str, Any]:
        """How it was trained and how fast, which is no part of what was made. All ranks call it."""
        peak = int(self.ranks.largest(peak_memory_bytes(self.ranks.device)))
        seconds = round(self.state.training_seconds, 1)
        performance = self.meter.latest | {"peak_memory_bytes": peak, "training_seconds": seconds}
        layout, device = str(self.mesh.layout), self.ranks.device.type
        return {"performance": performance, "layout": layout, "world_size": self.ranks.world_size, "device": device}

    def note(self, kind: str, durable: bool = False, **values: Any) -> None:
        """A journal line, on rank 0."""
        if self.journal is not None:
            self.journal.append(kind, durable, **values)


def random_seed(seed: int, step: int, micro_batch: int) -> int:
    """Seed of everything random in one micro-batch (dropout): a function of nothing that ran before."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{step}:{micro_batch}".encode()).digest()[:7], "little")


def relative(path: Path, stage: StageLayout) -> str:
    return path.relative_to(stage.path).as_posix()
