"""Each rule of the gate, kept and broken, and what the decision says about it."""

from typing import Any

import pytest

from tasks.config.gate import GateConfig
from tasks.training.gate import Decision, Measured, decide

NAN = float("nan")


def measured(**changes: Any) -> Measured:
    values: dict[str, Any] = {
        "kind": "classification", "num_examples": 500, "candidate": 0.6, "baseline": 0.4, "random_init": 0.5,
        "champion": 0.59, "champion_name": "version 3", "difference_low": -0.005, "difference_high": 0.025,
    }  # fmt: skip
    return Measured(**values | changes)


def broken(decision: Decision) -> list[int]:
    return [i for i, reason in enumerate(decision.reasons) if reason.startswith("✗")]


def test_a_candidate_that_keeps_every_rule_is_promoted_and_told_why() -> None:
    decision = decide(measured(), GateConfig())
    assert decision.decision == "promote"
    assert decision.reasons == (
        "✓ accuracy 0.6000 is +0.2000 from the majority class's 0.4000; at least 0.1 better was asked for",
        "✓ score 0.6000 against 0.5000 for the same model from random weights",
        "✓ against version 3 (0.5900) the paired difference is +0.0100 [-0.0050, +0.0250]; its lower bound must not be below "
        "-0.0100",
    )


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"baseline": 0.51}, [0]),
        ({"candidate": 0.3, "random_init": 0.2}, [0]),
        ({"random_init": 0.6}, [1]),
        ({"random_init": 0.7}, [1]),
        ({"random_init": None}, [1]),
        ({"difference_low": -0.0101}, [2]),
        ({"baseline": 0.6, "random_init": 0.9, "difference_low": -0.5}, [0, 1, 2]),
        ({"candidate": NAN}, [0, 1]),
        ({"difference_low": NAN}, [2]),
    ],
)
def test_one_broken_rule_rejects(changes: dict, rules: list[int]) -> None:
    decision = decide(measured(**changes), GateConfig())
    assert decision.decision == "reject"
    assert broken(decision) == rules
    assert len(decision.reasons) == 3


@pytest.mark.parametrize(
    ("changes", "gate"),
    [
        ({"candidate": 0.5, "baseline": 0.25, "random_init": 0.25}, {"min_above_baseline": 0.25}),
        ({"random_init": None}, {"beat_random_init": False}),
        ({"random_init": 0.9}, {"beat_random_init": False}),
        ({"difference_low": -0.0100}, {}),
        ({"difference_low": -0.2}, {"max_regression": 0.2}),
        ({"champion": None, "champion_name": None, "difference_low": None, "difference_high": None}, {}),
    ],
)
def test_the_edges_of_the_rules_are_kept(changes: dict, gate: dict) -> None:
    assert decide(measured(**changes), GateConfig(**gate)).decision == "promote"


def test_rules_that_do_not_apply_are_named() -> None:
    first = measured(champion=None, champion_name=None, difference_low=None, difference_high=None, random_init=None)
    decision = decide(first, GateConfig(beat_random_init=False))
    assert decision.reasons[1] == "✓ no comparison with random initial weights was asked for"
    assert decision.reasons[2] == "✓ there is no champion to compare with; the absolute rules decide"
    missing = decide(first, GateConfig())
    assert missing.reasons[1] == "✗ the comparison with random initial weights was asked for and is missing"


def test_instruction_tuning_is_told_in_nats_of_answer_loss() -> None:
    decision = decide(measured(kind="instruction", candidate=-2.0, baseline=-2.5, random_init=-3.0), GateConfig())
    assert decision.reasons[0] == (
        "✓ answer loss 2.0000 is -0.5000 nats/token from 2.5000 before tuning; at least 0.1 better was asked for"
    )
    worse = decide(measured(kind="instruction", candidate=-2.45, baseline=-2.5, random_init=-3.0), GateConfig())
    assert broken(worse) == [0]
