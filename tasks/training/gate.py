"""May a candidate take the champion's place? The rule, pure; what it judges was measured by `tasks.training.evaluate`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.config.gate import GateConfig


class Measured(BaseModel):
    """What was measured on the frozen examples; `score` is higher-is-better: accuracy, or minus the answer loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["classification", "instruction"]
    num_examples: int
    candidate: float
    baseline: float
    """Classification: accuracy of the majority class. Instruction: score of the model before fine-tuning."""
    random_init: float | None = None
    """Score of the same model fine-tuned from random weights."""
    champion: float | None = None
    champion_name: str | None = None
    difference_low: float | None = None
    """Lower and upper confidence bound of the paired difference candidate - champion."""
    difference_high: float | None = None


class Decision(BaseModel):
    """`promote` only if every rule holds; `reasons` has one sentence per rule, kept or broken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Literal["promote", "reject"]
    reasons: tuple[str, ...]


def decide(measured: Measured, gate: GateConfig) -> Decision:
    """Apply every rule; a rule that does not apply (no champion yet, no random-init comparison asked for) is named as such."""
    rules = [above_baseline(measured, gate), above_random_init(measured, gate), no_regression(measured, gate)]
    kept = all(ok for ok, _ in rules)
    return Decision(
        decision="promote" if kept else "reject", reasons=tuple(f"{'✓' if ok else '✗'} {text}" for ok, text in rules)
    )


def above_baseline(measured: Measured, gate: GateConfig) -> tuple[bool, str]:
    gain = measured.candidate - measured.baseline
    ok = gain >= gate.min_above_baseline
    if measured.kind == "classification":
        subject = f"accuracy {measured.candidate:.4f} is {gain:+.4f} from the majority class's {measured.baseline:.4f}"
    else:
        subject = (
            f"answer loss {-measured.candidate:.4f} is {-gain:+.4f} nats/token from {-measured.baseline:.4f} before tuning"
        )
    return ok, f"{subject}; at least {gate.min_above_baseline} better was asked for"


def above_random_init(measured: Measured, gate: GateConfig) -> tuple[bool, str]:
    if not gate.beat_random_init:
        return True, "no comparison with random initial weights was asked for"
    if measured.random_init is None:
        return False, "the comparison with random initial weights was asked for and is missing"
    ok = measured.candidate > measured.random_init
    return ok, f"score {measured.candidate:.4f} against {measured.random_init:.4f} for the same model from random weights"


def no_regression(measured: Measured, gate: GateConfig) -> tuple[bool, str]:
    if measured.champion is None or measured.difference_low is None or measured.difference_high is None:
        return True, "there is no champion to compare with; the absolute rules decide"
    ok = measured.difference_low >= -gate.max_regression
    return ok, (
        f"against {measured.champion_name} ({measured.champion:.4f}) the paired difference is "
        f"{measured.candidate - measured.champion:+.4f} [{measured.difference_low:+.4f}, {measured.difference_high:+.4f}]; "
        f"its lower bound must not be below {-gate.max_regression:+.4f}"
    )
