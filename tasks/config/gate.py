"""What a person can set about the gate: what a candidate must show before it can be promoted."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

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
    approval: Literal["none", "required"] = "none"
    """Whether a person is asked before a candidate that passed becomes champion; its run waits for the answer."""
    approvers: tuple[str, ...] = ()
    """Names that may answer; empty means anybody who can open the page."""
    approval_days: float = Field(14.0, gt=0.0, le=365.0)
    """How long the answer is waited for; after that the candidate is not promoted."""

    @model_validator(mode="after")
    def _check_approval(self) -> Self:
        if self.approvers and self.approval == "none":
            raise ValueError(
                f'gate.approvers={list(self.approvers)} is set and gate.approval is "none", so nobody is asked; '
                'set gate.approval = "required", or remove the names'
            )
        if any(not name.strip() for name in self.approvers):
            raise ValueError(f"gate.approvers={list(self.approvers)} holds an empty name; give each the name of a person")
        return self


ASKING = {"approval", "approvers", "approval_days"}
"""Settings of the gate that do not decide what an evaluation finds."""
