"""Is it pre-trained? A verdict from the held-out curve of the stable phase. Pure: the same curve gives the same verdict.

The curve is fitted with a power law with an offset, L(t) = E + A t^-a (the form of Hestness et al. 2017, arXiv:1712.00409, and
Hoffmann et al. 2022, arXiv:2203.15556, in one variable, t = tokens seen). For a fixed exponent a, E and A are a linear
least-squares problem; the exponent is averaged over a grid, each value weighted by its marginal likelihood under unknown
noise. So the expected gain of the next round carries both the noise of the curve and the doubt about its shape.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.config.training import ConvergenceConfig

VerdictName = Literal["improving", "converged", "diverged", "overfitting"]
EXPONENTS = tuple(0.05 * 1.03**i for i in range(139))
"""0.05 to about 3, evenly spaced in the logarithm; published loss curves lie between 0.05 and 1."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(Frozen):
    """One held-out measurement."""

    step: int
    tokens_seen: int
    heldout_loss: float
    """nats/token"""
    train_loss: float
    """nats/token, mean over the steps since the measurement before"""


class Fit(Frozen):
    """The power law of the most likely exponent."""

    offset: float
    coefficient: float
    exponent: float
    residual: float
    """Root mean square distance of the points, nats/token."""


class Verdict(Frozen):
    verdict: VerdictName
    reason: str
    expected_gain: float | None = None
    """Held-out nats/token that the next round is expected to bring."""
    uncertainty: float | None = None
    """Standard deviation of the expected gain."""
    fit: Fit | None = None
    num_evaluations: int


def judge(evaluations: Sequence[Evaluation], config: ConvergenceConfig) -> Verdict:
    """The verdict on a curve, evaluations in the order of their steps, warm-up excluded."""
    count = len(evaluations)
    if broken := divergence(evaluations, config):
        return Verdict(verdict="diverged", reason=broken, num_evaluations=count)
    if count < config.min_evaluations:
        reason = f"{count} of at least {config.min_evaluations} evaluations"
        return Verdict(verdict="improving", reason=reason, num_evaluations=count)
    if lost := overfitting(evaluations, config):
        return Verdict(verdict="overfitting", reason=lost, num_evaluations=count)
    gain, uncertainty, fit = expected_gain(
        [e.tokens_seen for e in evaluations], [e.heldout_loss for e in evaluations], config.round_tokens
    )
    promise = f"another {config.round_tokens:,} tokens promise {gain:.4f} ± {uncertainty:.4f} nats/token"
    if gain + uncertainty < config.min_gain:
        reason = f"{promise}, below the {config.min_gain} that a round must be worth"
        verdict: VerdictName = "converged"
    else:
        reason = f"{promise}, which may reach the {config.min_gain} that a round must be worth"
        verdict = "improving"
    return Verdict(verdict=verdict, reason=reason, expected_gain=gain, uncertainty=uncertainty, fit=fit, num_evaluations=count)


def divergence(evaluations: Sequence[Evaluation], config: ConvergenceConfig) -> str | None:
    """Why the curve has diverged, or None."""
    for e in evaluations:
        if not math.isfinite(e.heldout_loss) or not math.isfinite(e.train_loss):
            return f"the loss at step {e.step} is not a finite number; lower pretrain.learning_rate"
    if not evaluations:
        return None
    best, last = min(evaluations, key=lambda e: e.heldout_loss), evaluations[-1]
    if last.heldout_loss > best.heldout_loss + config.divergence_margin:
        return (
            f"held-out loss {last.heldout_loss:.4f} at step {last.step} is more than {config.divergence_margin} above "
            f"{best.heldout_loss:.4f} at step {best.step}; lower pretrain.learning_rate"
        )
    return None


def overfitting(evaluations: Sequence[Evaluation], config: ConvergenceConfig) -> str | None:
    """Why the curve shows overfitting, or None: the last two measurements lie above the minimum by the margin while the
    training loss is lower than it was there."""
    best, last = min(evaluations, key=lambda e: e.heldout_loss), evaluations[-1]
    above = all(e.heldout_loss > best.heldout_loss + config.overfitting_margin for e in evaluations[-2:])
    if above and last.train_loss < best.train_loss:
        return (
            f"held-out loss rose from {best.heldout_loss:.4f} at step {best.step} to {last.heldout_loss:.4f} at step "
            f"{last.step} while training loss fell from {best.train_loss:.4f} to {last.train_loss:.4f}"
        )
    return None


def expected_gain(tokens: Sequence[int], losses: Sequence[float], round_tokens: int) -> tuple[float, float, Fit]:
    """Mean and standard deviation of the loss that the next `round_tokens` take off, and the likeliest fit.

    Needs at least four points with different `tokens`, all above 0.
    """
    n, scale = len(tokens), float(tokens[-1])
    times = [t / scale for t in tokens]
    after = 1.0 + round_tokens / scale
    weights, gains, variances, fits = [], [], [], []
    for exponent in EXPONENTS:
        basis = [t**-exponent for t in times]
        mean_basis, mean_loss = sum(basis) / n, sum(losses) / n
        spread = sum((b - mean_basis) ** 2 for b in basis)
        slope = sum((b - mean_basis) * (y - mean_loss) for b, y in zip(basis, losses, strict=True)) / spread
        offset = mean_loss - slope * mean_basis
        squares = sum((y - offset - slope * b) ** 2 for b, y in zip(basis, losses, strict=True)) + 1e-12
        factor = 1.0 - after**-exponent
        gains.append(slope * factor)
        variances.append(squares / (n - 3) / spread * factor**2)
        # Marginal likelihood of the exponent, offset, slope and noise integrated out under flat priors.
        weights.append(-0.5 * math.log(spread) - (n - 2) / 2 * math.log(squares))
        fits.append(Fit(offset=offset, coefficient=slope * scale**exponent, exponent=exponent, residual=math.sqrt(squares / n)))
    top = max(weights)
    likelihood = [math.exp(w - top) for w in weights]
    total = sum(likelihood)
    gain = sum(p * g for p, g in zip(likelihood, gains, strict=True)) / total
    # Each exponent stands for all of its cell of the grid, over which the gain is about uniform: width squared / 12.
    ahead, behind = [*gains[1:], gains[-1]], [gains[0], *gains[:-1]]
    variances = [v + ((a - b) / 2) ** 2 / 12 for v, a, b in zip(variances, ahead, behind, strict=True)]
    second = sum(p * (v + (g - gain) ** 2) for p, g, v in zip(likelihood, gains, variances, strict=True)) / total
    return gain, math.sqrt(second), fits[weights.index(top)]
