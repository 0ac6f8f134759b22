"""What a person can set about a fine-tune."""

from typing import ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.cron import check_cron
from tasks.config.examples import ExamplesConfig
from tasks.config.gate import GateConfig, check_gate
from tasks.config.section import NAME_PATTERN, Section


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
        check_gate(f"finetune[{self.name}].gate", self.kind, self.gate)
        if self.schedule is not None:
            check_cron(f"finetune[{self.name}].schedule", self.schedule)
        return self
