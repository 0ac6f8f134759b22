"""Settings of the gate that contradict each other or the kind of the fine-tune, in one sentence each."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.config.finetuning import FinetuneConfig
from tasks.config.gate import ASKING, GateConfig
from tasks.config.presets import parse_config
from tasks.record.errors import ConfigError


def finetune(kind: str = "classification", **gate: Any) -> FinetuneConfig:
    return FinetuneConfig(name="topic", kind=kind, gate=gate)


TEXT, ANSWERS = "classification", "instruction"


@pytest.mark.parametrize(
    ("kind", "gate", "sentence"),
    [
        (
            TEXT, {"metric": "answer_loss"},
            "metric='answer_loss' is not measured for classification; set accuracy or macro_f1, or leave it empty",
        ),
        (
            ANSWERS, {"metric": "macro_f1"},
            "metric='macro_f1' is not measured for instruction; set answer_loss, or leave it empty",
        ),
        (
            TEXT, {"rule": "non-inferiority"},
            "rule='non-inferiority' needs finetune[topic].gate.margin; give how much worse than the best champion is good "
            "enough, such as 0.005",
        ),
        (TEXT, {"margin": 0.1}, "margin=0.1 has no effect with finetune[topic].gate.rule='superiority'; leave it empty"),
        (TEXT, {"max_answer_loss": 2.0}, "max_answer_loss=2.0 has no effect with kind='classification'; leave it empty"),
        (TEXT, {"max_forgetting": 0.1}, "max_forgetting=0.1 has no effect with kind='classification'; leave it empty"),
        (TEXT, {"above_base": "off"}, "above_base='off' has no effect with kind='classification'; leave it at 'required'"),
        (ANSWERS, {"min_score": 0.5}, "min_score=0.5 has no effect with kind='instruction'; leave it empty"),
        (
            ANSWERS, {"above_tfidf": "required"},
            "above_tfidf='required' has no effect with kind='instruction'; leave it at 'informative'",
        ),
        (
            TEXT, {"threshold": "off"},
            "threshold='off' has no effect with neither min_score nor max_answer_loss; leave it at 'required'",
        ),
        (
            TEXT, {"threshold": "off", "min_score": 0.5},
            "min_score=0.5 has no effect with finetune[topic].gate.threshold='off'; leave it empty",
        ),
        (
            TEXT, {"overlap": "off", "max_overlap": 0.1},
            "max_overlap=0.1 has no effect with finetune[topic].gate.overlap='off'; leave it at 0.0",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_means_nothing_is_refused(kind: str, gate: dict, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        finetune(kind, **gate)
    assert str(refused.value) == f"finetune[topic].gate.{sentence}"


@pytest.mark.parametrize(
    ("gate", "field"),
    [
        ({"level": 0.0}, "level"), ({"level": 0.5}, "level"), ({"min_examples": 0}, "min_examples"),
        ({"margin": -0.1}, "margin"),
        ({"min_score": 1.1}, "min_score"), ({"max_overlap": 1.1}, "max_overlap"), ({"above_majority": True}, "above_majority"),
        ({"above_random_init": "no"}, "above_random_init"), ({"rule": "better"}, "rule"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_bounds_is_named(gate: dict, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"finetune\.topic\.gate\.{field}"):
        parse_config({"finetune": [{"name": "topic", "gate": gate}]})


def test_the_metric_is_the_kinds_own_unless_another_is_chosen() -> None:
    assert GateConfig().metric_of("classification") == "accuracy"
    assert GateConfig().metric_of("instruction") == "answer_loss"
    assert finetune(metric="macro_f1").gate.metric_of("classification") == "macro_f1"


def test_random_weights_are_trained_where_the_rule_is_on() -> None:
    assert not GateConfig().trains_random_init
    assert GateConfig(above_random_init="required").trains_random_init
    assert GateConfig(above_random_init="informative").trains_random_init


def test_the_bounds_of_the_interval_are_one_sided_at_the_level() -> None:
    assert GateConfig().confidence == pytest.approx(0.94)
    assert GateConfig(level=0.025).confidence == pytest.approx(0.95)


def test_settings_of_either_kind_and_rule_are_taken() -> None:
    assert finetune(rule="non-inferiority", margin=0.005, min_score=0.8, threshold="informative").gate.margin == 0.005
    assert finetune("instruction", max_answer_loss=2.0, max_forgetting=0.1, above_base="informative").gate.max_forgetting == 0.1


def test_nobody_is_asked_unless_that_is_set():
    assert GateConfig().approval == "none"
    assert GateConfig(approval="required", approvers=("anna",)).approval_days == 14.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"approvers": ["anna"]}, "gate.approvers=['anna'] is set and gate.approval is \"none\", so nobody is asked; set"),
        (
            {"approval": "required", "approvers": [" "]},
            "gate.approvers=[' '] holds an empty name; give each the name of a person",
        ),
        ({"approval_days": 0.0}, "greater than 0"),
        ({"approval_days": 400.0}, "less than or equal to 365"),
    ],
)
def test_settings_of_the_approval_that_make_no_sense_are_refused(values, sentence):
    with pytest.raises(ValidationError) as refused:
        GateConfig.model_validate(values)

    assert sentence in str(refused.value)


def test_how_a_person_is_asked_is_no_part_of_what_is_measured():
    assert GateConfig.model_fields.keys() >= ASKING
    assert GateConfig(approval="required").model_dump(exclude=ASKING) == GateConfig().model_dump(exclude=ASKING)
