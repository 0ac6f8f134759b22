"""Each rule of the gate, kept and broken, required, informative and off, and what the decision says about it."""

from typing import Any

import pytest

from tasks.config.gate import GateConfig
from tasks.training.gate import RULES, Compared, Decision, Forgetting, Measured, Overlap, decide

NAN = float("nan")
FORGETTING = Forgetting(base=2.0, candidate=2.25)


def other(name: str, score: float, difference: float, p_value: float, reach: float = 0.02) -> Compared:
    low, high = difference - reach, difference + reach
    return Compared(name=name, score=score, difference=difference, low=low, high=high, p_value=p_value)


CHAMPION = other("version 3", 0.57, 0.03, 0.004)
NO_BETTER = other("version 3", 0.59, 0.01, 0.2345, reach=0.015)
WORSE = other("version 2, the best champion so far", 0.61, -0.01, 0.8)


def measured(**changes: Any) -> Measured:
    values: dict[str, Any] = {
        "kind": "classification", "metric": "accuracy", "num_examples": 500, "candidate": 0.6,
        "majority": other("the majority class", 0.4, 0.2, 0.0), "tfidf": other("TF-IDF", 0.58, 0.02, 0.06),
        "random_init": other("the same model from random weights", 0.5, 0.1, 0.0001), "champion": CHAMPION,
        "overlap": Overlap(exact=0, near=2),
    }  # fmt: skip
    return Measured(**values | changes)


def answers(**changes: Any) -> Measured:
    values: dict[str, Any] = {
        "kind": "instruction", "metric": "answer_loss", "num_examples": 500, "candidate": -2.0,
        "base": other("the model before tuning", -2.5, 0.5, 0.0), "random_init": other("the same from noise", -3.0, 1.0, 0.0),
        "overlap": Overlap(exact=0, near=0), "forgetting": FORGETTING,
    }  # fmt: skip
    return Measured(**values | changes)


def broken(decision: Decision) -> list[str]:
    return [rule.rule for rule in decision.rules if rule.outcome == "broken" and rule.weight == "required"]


def strict(**settings: Any) -> GateConfig:
    """Where the comparison with random weights is asked for too."""
    return GateConfig(above_random_init="required", **settings)


def said(decision: Decision, rule: str) -> str:
    (reason,) = [text for one, text in zip(decision.rules, decision.reasons, strict=True) if one.rule == rule]
    return reason


def test_a_candidate_that_keeps_every_rule_is_promoted_and_told_why() -> None:
    decision = decide(measured(), strict())
    assert decision.decision == "promote"
    assert decision.reasons == (
        "✓ n = 500 test examples",
        "✓ accuracy 0.6000 against 0.4000 of the majority class: a gain of +0.2000 [+0.1800, +0.2200] (94% interval), "
        "p = 0.0000; better at the level of 0.03 was asked for",
        "· accuracy 0.6000 against 0.5800 of TF-IDF: a gain of +0.0200 [+0.0000, +0.0400] (94% interval), p = 0.0600; "
        "better at the level of 0.03 was asked for (not kept, and informative only)",
        "✓ accuracy 0.6000 against 0.5000 of the same model from random weights: a gain of +0.1000 [+0.0800, +0.1200] "
        "(94% interval), p = 0.0001; better at the level of 0.03 was asked for",
        "✓ accuracy 0.6000 against 0.5700 of version 3: a gain of +0.0300 [+0.0100, +0.0500] (94% interval), p = 0.0040; "
        "better at the level of 0.03 was asked for",
        "✓ the text of 0 of 500 test examples (0.0%) is in the training examples too, at most 0.0% was asked for; 2 more share "
        "13 words in a row with one",
    )
    assert [(rule.rule, rule.outcome, rule.weight) for rule in decision.rules] == [
        ("examples", "kept", "required"), ("majority", "kept", "required"), ("tfidf", "broken", "informative"),
        ("random_init", "kept", "required"), ("champion", "kept", "required"), ("overlap", "kept", "required"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"num_examples": 29}, ["examples"]),
        ({"majority": other("the majority class", 0.59, 0.01, 0.3)}, ["majority"]),
        ({"random_init": other("noise", 0.6, 0.0, 0.5)}, ["random_init"]),
        ({"random_init": None}, ["random_init"]),
        ({"champion": NO_BETTER}, ["champion"]),
        ({"overlap": Overlap(exact=1, near=0)}, ["overlap"]),
        (
            {"champion": NO_BETTER, "majority": NO_BETTER, "overlap": Overlap(exact=9, near=0)},
            ["majority", "champion", "overlap"],
        ),
        ({"champion": other("version 3", NAN, NAN, NAN)}, ["champion"]),
    ],
)
def test_one_broken_rule_rejects(changes: dict, rules: list[str]) -> None:
    decision = decide(measured(**changes), strict())
    assert decision.decision == "reject"
    assert broken(decision) == rules
    assert [text[0] for text in decision.reasons].count("✗") == len(rules)


PUT_RIGHT = {
    "majority": ("above_majority", {"majority": NO_BETTER}),
    "tfidf": ("above_tfidf", {"tfidf": NO_BETTER}),
    "random_init": ("above_random_init", {"random_init": NO_BETTER}),
    "base": ("above_base", {"base": other("the model before tuning", -2.0, 0.0, 0.5)}),
    "overlap": ("overlap", {"overlap": Overlap(exact=5, near=0)}),
    "threshold": ("threshold", {}),
}


@pytest.mark.parametrize("rule", PUT_RIGHT)
def test_a_rule_decides_or_only_speaks_or_is_silent(rule: str) -> None:
    setting, changes = PUT_RIGHT[rule]
    found = answers(**changes) if rule == "base" else measured(**changes)
    values = {"min_score": 0.7} if rule == "threshold" else {}
    assert broken(decide(found, GateConfig(**{setting: "required"} | values))) == [rule]
    informative = decide(found, GateConfig(**{setting: "informative"} | values))
    assert informative.decision == "promote"
    assert said(informative, rule).startswith("· ") and said(informative, rule).endswith(" (not kept, and informative only)")
    silent = decide(found, GateConfig(**{setting: "off"} | values))
    assert silent.decision == "promote" and rule not in [one.rule for one in silent.rules]


@pytest.mark.parametrize(
    ("number", "settings", "sentence"),
    [
        (12, {}, "✗ n = 12 test examples; at least 30 are needed (gate.min_examples), give more"),
        (29, {}, "✗ n = 29 test examples; at least 30 are needed (gate.min_examples), give more"),
        (30, {}, "✓ n = 30 test examples; with fewer than 200 only large differences can be shown"),
        (199, {}, "✓ n = 199 test examples; with fewer than 200 only large differences can be shown"),
        (200, {}, "✓ n = 200 test examples"),
        (12, {"min_examples": 10}, "✓ n = 12 test examples; with fewer than 200 only large differences can be shown"),
        (400, {"min_examples": 500}, "✗ n = 400 test examples; at least 500 are needed (gate.min_examples), give more"),
    ],
)
def test_few_examples_are_refused_or_said(number: int, settings: dict, sentence: str) -> None:
    decision = decide(measured(num_examples=number), GateConfig(**settings))
    assert decision.reasons[0] == sentence
    assert decision.decision == ("reject" if sentence[0] == "✗" else "promote")


@pytest.mark.parametrize(
    ("found", "settings", "sentence"),
    [
        (measured(), {"min_score": 0.6}, "✓ accuracy 0.6000; at least 0.6 was asked for"),
        (measured(), {"min_score": 0.61}, "✗ accuracy 0.6000; at least 0.61 was asked for"),
        (measured(metric="macro_f1"), {"min_score": 0.61}, "✗ macro-F1 0.6000; at least 0.61 was asked for"),
        (answers(), {"max_answer_loss": 2.0}, "✓ answer loss 2.0000 nats/token; at most 2.0 was asked for"),
        (answers(), {"max_answer_loss": 1.9}, "✗ answer loss 2.0000 nats/token; at most 1.9 was asked for"),
        (answers(candidate=NAN), {"max_answer_loss": 1.9}, "✗ answer loss nan nats/token; at most 1.9 was asked for"),
    ],
)
def test_an_absolute_threshold_is_in_the_chosen_metric(found: Measured, settings: dict, sentence: str) -> None:
    decision = decide(found, GateConfig(**settings))
    assert said(decision, "threshold") == sentence
    assert decision.decision == ("reject" if sentence[0] == "✗" else "promote")


@pytest.mark.parametrize(
    ("champion", "margin", "kept"),
    [
        (NO_BETTER, 0.006, True),
        (NO_BETTER, 0.004, False),
        (other("version 3", 0.6, 0.0, 0.5, 0.0), 0.0, True),
        (CHAMPION, 0.0, True),
    ],
)
def test_non_inferiority_holds_the_lower_bound_to_the_margin(champion: Compared, margin: float, kept: bool) -> None:
    decision = decide(measured(champion=champion), GateConfig(rule="non-inferiority", margin=margin))
    assert broken(decision) == ([] if kept else ["champion"])


def test_non_inferiority_is_to_the_best_champion_too() -> None:
    gate = GateConfig(rule="non-inferiority", margin=0.01)
    decision = decide(measured(champion=NO_BETTER, best=WORSE), gate)
    assert broken(decision) == ["best"]
    assert said(decision, "best") == (
        "✗ accuracy 0.6000 against 0.6100 of version 2, the best champion so far: a gain of -0.0100 [-0.0300, +0.0100] "
        "(94% interval), p = 0.8000; its lower bound must not be below -0.0100"
    )
    assert decide(measured(champion=NO_BETTER, best=NO_BETTER), gate).decision == "promote"


def test_a_candidate_that_is_better_than_the_champion_is_only_told_about_an_earlier_one() -> None:
    decision = decide(measured(best=WORSE), strict())
    assert decision.decision == "promote"
    assert said(decision, "best").startswith("· accuracy 0.6000 against 0.6100 of version 2, the best champion so far")


def test_the_level_is_the_one_that_is_set() -> None:
    assert broken(decide(measured(), GateConfig(level=0.001))) == ["champion"]
    found = decide(measured(champion=NO_BETTER), GateConfig(level=0.25))
    assert found.decision == "promote"
    assert "(50% interval), p = 0.2345; better at the level of 0.25 was asked for" in said(found, "champion")


def test_rules_that_do_not_apply_are_named() -> None:
    first = decide(measured(champion=None, tfidf=None), strict())
    assert first.decision == "promote"
    assert said(first, "champion") == "· there is no champion to compare with; the absolute rules decide"
    assert said(first, "tfidf") == "· the comparison with TF-IDF was asked for and is missing"
    assert {rule.rule for rule in first.rules if rule.outcome == "not applicable"} == {"champion", "tfidf"}
    missing = decide(measured(random_init=None), strict())
    assert said(missing, "random_init") == "✗ the comparison with random initial weights was asked for and is missing"


def test_instruction_tuning_is_told_in_nats_of_answer_loss() -> None:
    decision = decide(answers(), strict())
    assert decision.decision == "promote"
    assert said(decision, "base") == (
        "✓ answer loss 2.0000 against 2.5000 of the model before tuning: a gain of +0.5000 nats/token [+0.4800, +0.5200] "
        "(94% interval), p = 0.0000; better at the level of 0.03 was asked for"
    )
    assert said(decision, "overlap").startswith("✓ the prompt of 0 of 500 test examples (0.0%) is in the training examples too")
    assert [rule.rule for rule in decision.rules] == ["examples", "random_init", "base", "champion", "overlap", "forgetting"]


@pytest.mark.parametrize(
    ("settings", "mark", "asked"),
    [
        ({}, "·", "no limit was asked for"),
        ({"max_forgetting": 0.25}, "✓", "at most +0.2500 was asked for"),
        ({"max_forgetting": 0.2}, "✗", "at most +0.2000 was asked for"),
    ],
)
def test_forgetting_is_said_and_held_to_a_limit_where_there_is_one(settings: dict, mark: str, asked: str) -> None:
    decision = decide(answers(), GateConfig(**settings))
    assert said(decision, "forgetting") == (
        f"{mark} forgetting: 2.0000 bits/byte of the base's held-out text before tuning, 2.2500 after, +0.2500; {asked}"
    )
    assert broken(decision) == (["forgetting"] if mark == "✗" else [])


def test_forgetting_that_was_not_measured_is_said_and_does_not_decide() -> None:
    found = answers(forgetting=None, forgetting_missing="the base was not pre-trained here")
    decision = decide(found, GateConfig(max_forgetting=0.1))
    assert said(decision, "forgetting") == "· forgetting was not measured: the base was not pre-trained here"
    assert decision.decision == "promote"


def test_a_share_of_the_test_set_may_be_in_training_where_that_is_set() -> None:
    found = measured(overlap=Overlap(exact=5, near=1))
    assert decide(found, GateConfig(max_overlap=0.01)).decision == "promote"
    decision = decide(found, GateConfig(max_overlap=0.009))
    assert said(decision, "overlap") == (
        "✗ the text of 5 of 500 test examples (1.0%) is in the training examples too, at most 0.9% was asked for; 1 more share "
        "13 words in a row with one"
    )


def test_every_rule_has_one_record_at_most_and_was_seen_above() -> None:
    everything = measured(best=WORSE), answers(best=WORSE)
    names = {rule.rule for found in everything for rule in decide(found, strict(min_score=0.1, max_answer_loss=9.0)).rules}
    assert len(names) == len(RULES) == 10
