"""What a person can set about training: pre-training and its end, and the processes."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.section import Fraction, Section


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
