"""What a person can set about training: pre-training and its end, fine-tunes and their gate, the processes."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.cron import check_cron
from tasks.config.data import check_source
from tasks.config.places import Place
from tasks.config.section import NAME_PATTERN, Fraction, Section


class PretrainConfig(Section):
    model_config = ConfigDict(title="Pre-training")

    sequence_length: int = Field(256, ge=8)
    """Tokens per training sequence; at most model.max_position_embeddings."""
    micro_batch_size: int = Field(8, ge=1)
    """Sequences per rank and forward pass."""
    global_batch_tokens: int = Field(4096, ge=8)
    """Tokens per optimizer step over all ranks; a multiple of micro_batch_size x sequence_length x data-parallel ranks."""
    train_tokens: int = Field(2_000_000, ge=1)
    """Cap on the horizon, in tokens, decay included; training ends earlier when it has converged."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for the matrices of the layers and AdamW for the rest, at the same learning rate and weight decay."""
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    """Peak learning rate, held through the stable phase; at most 1."""
    min_learning_rate: float = Field(0.0, ge=0.0)
    """Learning rate at the end of the decay; below learning_rate."""
    warmup_steps: int = Field(20, ge=0)
    """Steps of linear warm-up."""
    decay_steps: int = Field(50, ge=1)
    """Steps of the decay phase that a verdict or the cap starts."""
    weight_decay: float = Field(0.1, ge=0.0, le=1.0)
    """AdamW weight decay of matrices; norms, biases and embeddings have none; 0 to 1."""
    beta1: Fraction = 0.9
    """AdamW decay of the first moment; between 0 and 1."""
    beta2: Fraction = 0.95
    """AdamW decay of the second moment; between 0 and 1."""
    max_grad_norm: float | None = Field(1.0, gt=0.0)
    """Gradients are clipped to this global norm; empty means off."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward and the backward pass."""
    state_precision: Literal["fp32", "bf16"] = "fp32"
    """Parameters, gradients and optimizer state; bf16 halves their memory, loses small updates, and needs precision="bf16"."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Initial weights, data order and dropout are functions of this number."""
    evaluate_every_steps: int = Field(50, ge=1)
    """Steps between measurements of the held-out loss."""
    heldout_tokens: int = Field(100_000, ge=256)
    """Held-out tokens measured each time (the first ones; all of them if fewer)."""
    checkpoint_every_steps: int = Field(50, ge=1)
    """Steps between checkpoints with optimizer state; a multiple of evaluate_every_steps."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints kept; the best and the newest verified one are never deleted."""
    milestone_every_steps: int | None = Field(None, ge=1)
    """Steps between milestones, which are exported and registered; a multiple of checkpoint_every_steps; empty means
    only at the verdict and at the end."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_learning_rate >= self.learning_rate:
            raise ValueError(
                f"pretrain.min_learning_rate={self.min_learning_rate} is not below "
                f"pretrain.learning_rate={self.learning_rate}; lower it, 0 is the usual value"
            )
        if self.state_precision == "bf16" and self.precision == "fp32":
            raise ValueError(
                "pretrain.state_precision='bf16' needs pretrain.precision='bf16' and has 'fp32', the cost of exact parameters "
                "for rounded ones; set both to bf16, or state_precision to fp32"
            )
        every = self.milestone_every_steps
        if every is not None and every % self.checkpoint_every_steps:
            raise ValueError(
                f"pretrain.milestone_every_steps={every} is not a multiple of "
                f"pretrain.checkpoint_every_steps={self.checkpoint_every_steps}; a milestone is made from a checkpoint"
            )
        if self.checkpoint_every_steps % self.evaluate_every_steps:
            raise ValueError(
                f"pretrain.checkpoint_every_steps={self.checkpoint_every_steps} is not a multiple of "
                f"pretrain.evaluate_every_steps={self.evaluate_every_steps}; a checkpoint is kept by its held-out loss"
            )
        if self.max_steps < self.warmup_steps + self.decay_steps:
            raise ValueError(
                f"pretrain.train_tokens={self.train_tokens} is {self.max_steps} steps of "
                f"{self.global_batch_tokens} tokens, fewer than warmup_steps + decay_steps = "
                f"{self.warmup_steps} + {self.decay_steps}; set train_tokens to at least "
                f"{(self.warmup_steps + self.decay_steps) * self.global_batch_tokens} or shorten the phases"
            )
        last_stable = self.max_steps - self.decay_steps
        if self.evaluate_every_steps > last_stable:
            raise ValueError(
                f"pretrain.evaluate_every_steps={self.evaluate_every_steps} is later than step {last_stable}, with which the "
                f"cap of {self.max_steps} steps - decay_steps={self.decay_steps} ends the stable phase, so that nothing would "
                "start the decay; evaluate more often or raise train_tokens"
            )
        return self

    @property
    def max_steps(self) -> int:
        """Optimizer steps within the cap."""
        return self.train_tokens // self.global_batch_tokens

    @property
    def global_batch_size(self) -> int:
        """Sequences per optimizer step over all ranks."""
        return self.global_batch_tokens // self.sequence_length

    @property
    def betas(self) -> tuple[float, float]:
        return self.beta1, self.beta2


class ConvergenceConfig(Section):
    model_config = ConfigDict(title="Convergence")

    min_gain: float = Field(0.02, gt=0.0)
    """Held-out nats/token that another round must promise to be worth training it."""
    round_tokens: int = Field(500_000, ge=1)
    """Length of the round in question, in tokens."""
    min_evaluations: int = Field(6, ge=4)
    """Held-out measurements after warm-up before a verdict other than `diverged` is given; from 4."""
    overfitting_margin: float = Field(0.05, gt=0.0)
    """Nats/token that the held-out loss may lie above its minimum while the training loss falls."""
    divergence_margin: float = Field(1.0, gt=0.0)
    """Nats/token that the held-out loss may lie above its minimum at all."""


class ExamplesConfig(Section):
    model_config = ConfigDict(title="Examples")

    source: Literal["sample", "jsonl", "parquet", "csv"] = "sample"
    """Where the examples come from: the embedded sample or local files of one kind."""
    path: Annotated[str | None, Place()] = None
    """File, folder or glob of the source."""
    text_column: str = "text"
    """Classification: column with the text."""
    label_column: str = "label"
    """Classification: column with the label."""
    labels: tuple[str, ...] | None = None
    """Classification: the permitted labels; empty means those that occur."""
    prompt_column: str = "prompt"
    """Instruction: column with the prompt."""
    answer_column: str = "answer"
    """Instruction: column with the answer, on which alone the loss is taken."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """Share of the examples frozen for evaluation, chosen by example hash; above 0 and below 0.5; of the embedded sample
    at most data.heldout_fraction, so that pre-training has not seen the test pages."""
    max_examples: int | None = Field(None, ge=10)
    """Train on at most this many examples, chosen by example hash; empty means all; the test set is not cut."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_source("examples", self)
        return self


class GateConfig(Section):
    model_config = ConfigDict(title="Gate")

    min_above_baseline: float = 0.10
    """Classification: accuracy above the majority class (0 to 1). Instruction: nats/token of answer loss below the model
    that was fine-tuned."""
    beat_random_init: bool = True
    """The candidate must be better than the same model fine-tuned from random weights, which is trained for this."""
    max_regression: float = Field(0.01, ge=0.0)
    """The lower confidence bound of the paired difference to the champion must not lie further below zero than this."""
    confidence: Fraction = 0.95
    """Level of the paired bootstrap's interval."""
    bootstrap_samples: int = Field(2000, ge=100, le=100_000)
    """Resamples of the paired bootstrap."""


class FinetuneConfig(Section):
    model_config = ConfigDict(title="Fine-tuning")

    name: str = Field("topic", pattern=NAME_PATTERN)
    """Names the stage and the registered model: registry.model_name-NAME."""
    kind: Literal["classification", "instruction"] = "classification"
    """What is learned: one label for a text, or an answer to a prompt."""
    examples: ExamplesConfig = ExamplesConfig()
    """The labelled data."""
    gate: GateConfig = GateConfig()
    """What a candidate must show before it can be promoted."""
    epochs: int = Field(2, ge=1)
    """Passes over the training examples."""
    batch_size: int = Field(32, ge=1)
    """Examples per optimizer step over all ranks; a multiple of micro_batch_size x ranks."""
    micro_batch_size: int = Field(16, ge=1)
    """Examples per rank and forward pass."""
    max_length: int = Field(128, ge=8)
    """Longer examples are cut to so many tokens; at most model.max_position_embeddings."""
    learning_rate: float = Field(5e-4, gt=0.0, le=1.0)
    """Peak learning rate; decays linearly to zero; at most 1."""
    warmup_fraction: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the steps spent in linear warm-up."""
    weight_decay: float = Field(0.01, ge=0.0, le=1.0)
    """AdamW weight decay of matrices; 0 to 1."""
    max_grad_norm: float | None = Field(1.0, gt=0.0)
    """Gradients are clipped to this global norm; empty means off."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Example order, head initialisation and dropout are functions of this number."""
    evaluate_every_steps: int = Field(50, ge=1)
    """Steps between measurements on the test examples."""
    checkpoint_every_steps: int = Field(100, ge=1)
    """Steps between checkpoints with optimizer state."""
    schedule: str | None = None
    """Cron expression, in UTC, of a recurring run of this fine-tune, such as `0 3 * * 1`; empty means none."""

    # What the training loop reads of pre-training's settings too, and a fine-tune has under another name or as a constant.
    optimizer: ClassVar[Literal["adamw"]] = "adamw"
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    keep_checkpoints: ClassVar[int] = 1

    @property
    def global_batch_size(self) -> int:
        return self.batch_size

    @property
    def sequence_length(self) -> int:
        return self.max_length

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule is not None:
            check_cron(f"finetune[{self.name}].schedule", self.schedule)
        return self


class LaunchConfig(Section):
    model_config = ConfigDict(title="Launch")

    num_processes: int = Field(2, ge=1)
    """Ranks, the product of the mesh in `parallel`. Not part of a run's identity: it may change between attempts."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where ranks compute; `auto` takes a GPU per rank if there are enough."""
    max_restarts: int = Field(2, ge=0)
    """How often ranks that died are started again from the last good checkpoint without progress in between."""
    stall_timeout_seconds: float = Field(900.0, gt=0.0)
    """Ranks that write nothing to the journal for so long are ended and started again."""
    profile_step: int | None = Field(None, ge=1)
    """Step of which every rank writes a trace (Chrome's format) into the stage's `profile`; empty means none."""
