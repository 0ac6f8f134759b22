"""Learning rate over the steps."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Warm-up, stable, decay: the decay starts at a step that need not be known beforehand.

    The shape of the decay is `1-sqrt` for pre-training (Hägele et al. 2024, arXiv:2405.18392, section 4) or `linear`.
    """

    peak: float
    minimum: float
    warmup_steps: int
    decay_steps: int
    shape: Literal["1-sqrt", "linear"]

    def learning_rate(self, step: int, decay_start: int | None) -> float:
        """For the optimizer step that follows `step` completed ones."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        if decay_start is None or step < decay_start:
            return self.peak
        done = min(1.0, (step - decay_start + 1) / self.decay_steps)
        left = 1.0 - (math.sqrt(done) if self.shape == "1-sqrt" else done)
        return self.minimum + (self.peak - self.minimum) * left

    def phase(self, step: int, decay_start: int | None) -> str:
        """Name of the phase that the next step belongs to."""
        if step < self.warmup_steps:
            return "warm-up"
        return "stable" if decay_start is None or step < decay_start else "decay"
