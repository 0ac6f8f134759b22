"""May a candidate take the champion's place? The rules, pure; what they judge was measured by `tasks.training.evaluate`."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.config.gate import GateConfig, Kind, Metric, Weight

FEW_EXAMPLES = 200
"""With fewer, a sentence says how little can be seen: an accuracy of 0.8 is known to within 0.05 only."""
NAMES: dict[Metric, str] = {"accuracy": "accuracy", "macro_f1": "macro-F1", "answer_loss": "answer loss"}


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compared(Frozen):
    """Another model on the same examples; `difference` is candidate - other in the score, above zero where it is better."""

    name: str
    """As it is called in a sentence, such as `version 3`."""
    score: float
    difference: float
    low: float
    high: float
    """Bounds of the two-sided interval of confidence 1 - 2 x level."""
    p_value: float
    """One-sided, of the candidate being no better."""


class Overlap(Frozen):
    """Test examples that are in the training examples too, and others that share a long passage with one."""

    exact: int
    near: int


class Forgetting(Frozen):
    """Bits per byte of the base's held-out text, before the fine-tune and after."""

    base: float
    candidate: float


class Measured(Frozen):
    """What was measured on the frozen examples; a score is higher-is-better: accuracy, macro-F1, or minus the answer loss."""

    kind: Kind
    metric: Metric
    num_examples: int
    candidate: float
    """Its score."""
    champion: Compared | None = None
    """The version that holds the alias."""
    best: Compared | None = None
    """The best champion that these examples have seen, where that is another one."""
    majority: Compared | None = None
    tfidf: Compared | None = None
    random_init: Compared | None = None
    """The same model fine-tuned from random weights."""
    base: Compared | None = None
    """The model before it was tuned."""
    overlap: Overlap | None = None
    forgetting: Forgetting | None = None
    forgetting_missing: str = ""
    """Why forgetting was not measured."""


class Rule(Frozen):
    """What came of one rule."""

    rule: str
    outcome: Literal["kept", "broken", "not applicable"]
    weight: Literal["required", "informative"]
    sentence: str

    @property
    def mark(self) -> str:
        if self.weight == "informative" or self.outcome == "not applicable":
            return "·"
        return "✓" if self.outcome == "kept" else "✗"


class Decision(Frozen):
    """`promote` only if no required rule is broken; `reasons` has the sentence of each rule behind its mark."""

    decision: Literal["promote", "reject"]
    reasons: tuple[str, ...]
    rules: tuple[Rule, ...]


def decide(measured: Measured, gate: GateConfig) -> Decision:
    """Apply every rule; one that does not apply (no champion yet, text that is not there) is named as such."""
    rules = tuple(rule for judge in RULES if (rule := judge(measured, gate)) is not None)
    rejected = any(rule.outcome == "broken" and rule.weight == "required" for rule in rules)
    reasons = tuple(f"{rule.mark} {rule.sentence}" for rule in rules)
    return Decision(decision="reject" if rejected else "promote", reasons=reasons, rules=rules)


def judged(rule: str, weight: Weight, kept: bool, sentence: str) -> Rule | None:
    """None where the rule is off. A comparison with NaN is false, so that what was not measured is never kept."""
    if weight == "off":
        return None
    said = sentence if kept or weight == "required" else f"{sentence} (not kept, and informative only)"
    return Rule(rule=rule, outcome="kept" if kept else "broken", weight=weight, sentence=said)


def not_applicable(rule: str, weight: Weight, sentence: str) -> Rule | None:
    return None if weight == "off" else Rule(rule=rule, outcome="not applicable", weight=weight, sentence=sentence)


def shown(metric: Metric, score: float) -> str:
    """The metric as people know it: a loss is positive."""
    return f"{-score:.4f}" if metric == "answer_loss" else f"{score:.4f}"


def against(measured: Measured, other: Compared, gate: GateConfig) -> str:
    metric = measured.metric
    unit = " nats/token" if metric == "answer_loss" else ""
    return (
        f"{NAMES[metric]} {shown(metric, measured.candidate)} against {shown(metric, other.score)} of {other.name}: a gain of "
        f"{other.difference:+.4f}{unit} [{other.low:+.4f}, {other.high:+.4f}] ({gate.confidence:.0%} interval), "
        f"p = {other.p_value:.4f}"
    )


def enough_examples(measured: Measured, gate: GateConfig) -> Rule | None:
    number = measured.num_examples
    if number < gate.min_examples:
        sentence = f"n = {number} test examples; at least {gate.min_examples} are needed (gate.min_examples), give more"
        return judged("examples", "required", False, sentence)
    few = f"; with fewer than {FEW_EXAMPLES} only large differences can be shown" if number < FEW_EXAMPLES else ""
    return judged("examples", "required", True, f"n = {number} test examples{few}")


def threshold(measured: Measured, gate: GateConfig) -> Rule | None:
    name, found = NAMES[measured.metric], shown(measured.metric, measured.candidate)
    if measured.kind == "instruction" and (most := gate.max_answer_loss) is not None:
        asked = f"{name} {found} nats/token; at most {most} was asked for"
        return judged("threshold", gate.threshold, -measured.candidate <= most, asked)
    if measured.kind == "classification" and (least := gate.min_score) is not None:
        return judged(
            "threshold", gate.threshold, measured.candidate >= least, f"{name} {found}; at least {least} was asked for"
        )
    return None


def better(rule: str, weight: Weight, measured: Measured, other: Compared, gate: GateConfig) -> Rule | None:
    """The one-sided paired test: at most `level` of the candidates that are no better pass."""
    sentence = f"{against(measured, other, gate)}; better at the level of {gate.level} was asked for"
    return judged(rule, weight, other.p_value <= gate.level, sentence)


def not_worse(rule: str, measured: Measured, other: Compared, gate: GateConfig) -> Rule | None:
    margin = gate.margin or 0.0
    sentence = f"{against(measured, other, gate)}; its lower bound must not be below {-margin:+.4f}"
    return judged(rule, "required", other.low >= -margin, sentence)


def above(rule: str, weight: Weight, measured: Measured, other: Compared | None, name: str, gate: GateConfig) -> Rule | None:
    if other is not None:
        return better(rule, weight, measured, other, gate)
    sentence = f"the comparison with {name} was asked for and is missing"
    return judged(rule, weight, False, sentence) if weight == "required" else not_applicable(rule, weight, sentence)


def above_majority(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.kind == "instruction":
        return None
    return above("majority", gate.above_majority, measured, measured.majority, "the majority class", gate)


def above_tfidf(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.kind == "instruction":
        return None
    return above("tfidf", gate.above_tfidf, measured, measured.tfidf, "TF-IDF", gate)


def above_random_init(measured: Measured, gate: GateConfig) -> Rule | None:
    return above("random_init", gate.above_random_init, measured, measured.random_init, "random initial weights", gate)


def above_base(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.kind == "classification":
        return None
    return above("base", gate.above_base, measured, measured.base, "the model before tuning", gate)


def above_champion(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.champion is None:
        return not_applicable("champion", "required", "there is no champion to compare with; the absolute rules decide")
    if gate.rule == "superiority":
        return better("champion", "required", measured, measured.champion, gate)
    return not_worse("champion", measured, measured.champion, gate)


def near_best(measured: Measured, gate: GateConfig) -> Rule | None:
    """Were each retrain only held to the last one, many small losses would add up: what was once reached stays the bar."""
    if measured.best is None:
        return None
    if gate.rule == "superiority":
        return better("best", "informative", measured, measured.best, gate)
    return not_worse("best", measured, measured.best, gate)


def little_overlap(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.overlap is None:
        return None
    exact, number, what = measured.overlap.exact, measured.num_examples, "text"
    if measured.kind == "instruction":
        what = "prompt"
    sentence = (
        f"the {what} of {exact} of {number} test examples ({exact / number:.1%}) is in the training examples too, at most "
        f"{gate.max_overlap:.1%} was asked for; {measured.overlap.near} more share 13 words in a row with one"
    )
    return judged("overlap", gate.overlap, exact / number <= gate.max_overlap, sentence)


def little_forgotten(measured: Measured, gate: GateConfig) -> Rule | None:
    if measured.kind == "classification":
        return None
    most, found = gate.max_forgetting, measured.forgetting
    weight: Weight = "informative" if most is None else "required"
    if found is None:
        return not_applicable("forgetting", weight, f"forgetting was not measured: {measured.forgetting_missing}")
    rise = found.candidate - found.base
    asked = "no limit was asked for" if most is None else f"at most {most:+.4f} was asked for"
    sentence = (
        f"forgetting: {found.base:.4f} bits/byte of the base's held-out text before tuning, {found.candidate:.4f} after, "
        f"{rise:+.4f}; {asked}"
    )
    return judged("forgetting", weight, most is None or rise <= most, sentence)


RULES: tuple[Callable[[Measured, GateConfig], Rule | None], ...] = (
    enough_examples, threshold, above_majority, above_tfidf, above_random_init, above_base, above_champion, near_best,
    little_overlap, little_forgotten,
)  # fmt: skip
"""In the order in which their sentences are read; one that is off, or of another kind, returns None."""
