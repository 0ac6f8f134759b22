"""What a person can set about the gate: what a candidate must show before it can be promoted."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tasks.config.section import Section
from tasks.record.errors import ConfigError

Kind = Literal["classification", "instruction"]
Metric = Literal["accuracy", "macro_f1", "answer_loss"]
Weight = Literal["required", "informative", "off"]
"""What a rule does: decide, only say what it found, or nothing."""
METRICS: dict[Kind, tuple[Metric, ...]] = {"classification": ("accuracy", "macro_f1"), "instruction": ("answer_loss",)}
"""What each kind can be judged by; the first is the default."""
OF_ONE_KIND: dict[Kind, tuple[str, ...]] = {
    "classification": ("min_score", "above_majority", "above_tfidf"),
    "instruction": ("max_answer_loss", "above_base", "max_forgetting"),
}
"""Settings that mean nothing for the other kind."""


class GateConfig(Section):
    model_config = ConfigDict(title="Gate")

    rule: Literal["superiority", "non-inferiority"] = "superiority"
    """What is asked of a candidate where there is a champion: to be better than it, or not to be worse by more than margin
    than it and than the best champion so far."""
    metric: Metric | None = None
    """What is compared: accuracy or macro_f1 for classification, answer_loss for instruction; empty means the first."""
    level: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.03
    """How often a candidate that is no better may pass by luck: the level of each one-sided paired test; above 0, below 0.5.
    At 3 % one that is half a standard error worse passes in under 1 % of cases, one that is three better in 86 %."""
    margin: float | None = Field(None, ge=0.0)
    """Non-inferiority: how much worse than the best champion is good enough, in the metric (0.01 accuracy is a point)."""
    min_examples: int = Field(30, ge=1)
    """A candidate that was measured on fewer test examples is rejected; at least 1."""
    threshold: Weight = "required"
    """What reaching min_score or max_answer_loss is."""
    min_score: float | None = Field(None, ge=0.0, le=1.0)
    """Classification: the least accuracy or macro-F1, 0 to 1; empty means none."""
    max_answer_loss: float | None = Field(None, gt=0.0)
    """Instruction: the highest answer loss, in nats/token; empty means none."""
    above_majority: Weight = "required"
    """Classification: being better than naming the most frequent training label always."""
    above_tfidf: Weight = "informative"
    """Classification: being better than logistic regression on TF-IDF of the same training texts."""
    above_random_init: Weight = "off"
    """Being better than the same model fine-tuned from random weights, which is trained for this unless it is off."""
    above_base: Weight = "required"
    """Instruction: being better than the model before it was tuned."""
    overlap: Weight = "required"
    """What keeping max_overlap is."""
    max_overlap: float = Field(0.0, ge=0.0, le=1.0)
    """The largest share of test examples whose text is in the training examples too, 0 to 1."""
    max_forgetting: float | None = Field(None, ge=0.0)
    """Instruction: by how much bits/byte of the base's held-out text may rise; empty means that it is measured only."""

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

    @property
    def confidence(self) -> float:
        """Of the two-sided intervals whose bounds are the one-sided ones at `level`."""
        return 1.0 - 2.0 * self.level

    @property
    def trains_random_init(self) -> bool:
        """Whether the fine-tune is done from random weights too."""
        return self.above_random_init != "off"

    def metric_of(self, kind: Kind) -> Metric:
        return self.metric or METRICS[kind][0]


ASKING = {"approval", "approvers", "approval_days"}
"""Settings of the gate that do not decide what an evaluation finds."""


def check_gate(where: str, kind: Kind, gate: GateConfig) -> None:
    """Raises ConfigError for settings that contradict each other or the kind; `where` is the gate's place among them."""
    if gate.metric_of(kind) not in METRICS[kind]:
        raise ConfigError(
            f"{where}.metric={gate.metric!r} is not measured for {kind}; set {' or '.join(METRICS[kind])}, or leave it empty"
        )
    if gate.rule == "non-inferiority" and gate.margin is None:
        raise ConfigError(
            f"{where}.rule='non-inferiority' needs {where}.margin; give how much worse than the best champion is good enough, "
            "such as 0.005"
        )
    if gate.threshold != "required" and gate.min_score is None and gate.max_answer_loss is None:
        raise no_effect(where, "threshold", gate.threshold, "neither min_score nor max_answer_loss")
    if gate.rule == "superiority" and gate.margin is not None:
        raise no_effect(where, "margin", gate.margin, f"{where}.rule='superiority'")
    other: Kind = "instruction" if kind == "classification" else "classification"
    for name in OF_ONE_KIND[other]:
        if (value := getattr(gate, name)) != GateConfig.model_fields[name].default:
            raise no_effect(where, name, value, f"kind={kind!r}")
    for rule, name in (("threshold", "min_score"), ("threshold", "max_answer_loss"), ("overlap", "max_overlap")):
        if getattr(gate, rule) == "off" and (value := getattr(gate, name)) != GateConfig.model_fields[name].default:
            raise no_effect(where, name, value, f"{where}.{rule}='off'")


def no_effect(where: str, name: str, value: Any, cause: str) -> ConfigError:
    default = GateConfig.model_fields[name].default
    remedy = "leave it empty" if default is None else f"leave it at {default!r}"
    return ConfigError(f"{where}.{name}={value!r} has no effect with {cause}; {remedy}")
