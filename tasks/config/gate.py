"""What a person can set about the gate: what a candidate must show before it can be promoted."""

from pydantic import ConfigDict, Field

from tasks.config.section import Fraction, Section


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
