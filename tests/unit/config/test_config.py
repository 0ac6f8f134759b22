"""The configuration refuses what cannot work, in one sentence with field, value, rule and remedy, and changes nothing."""

import json
import re

import pytest
from pydantic import BaseModel, ValidationError

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig, FinetuneFile, ScheduleConfig
from tasks.config.presets import parse_config
from tasks.config.training import PretrainConfig
from tasks.record.errors import ConfigError


def message(values: dict) -> str:
    with pytest.raises(ConfigError) as found:
        parse_config(values)
    assert len(str(found.value).splitlines()) == 1
    return str(found.value)


WRONG = [
    ({"pretrain": {"learning_rate": 0.1, "min_learning_rate": 0.1}},
     "pretrain.min_learning_rate=0.1 is not below pretrain.learning_rate=0.1; lower it, 0 is the usual value"),
    ({"pretrain": {"train_tokens": 409_600}, "launch": {"profile_step": 101}},
     "launch.profile_step=101 is after step 100, with which pre-training ends at the latest; choose an earlier step"),
    ({"pretrain": {"precision": "fp32", "state_precision": "bf16"}},
     "pretrain.state_precision='bf16' needs pretrain.precision='bf16' and has 'fp32', the cost of exact parameters for rounded "
     "ones; set both to bf16, or state_precision to fp32"),
    ({"pretrain": {"milestone_every_steps": 60}},
     "pretrain.milestone_every_steps=60 is not a multiple of pretrain.checkpoint_every_steps=50; a milestone is made from a "
     "checkpoint"),
    ({"pretrain": {"checkpoint_every_steps": 70}},
     "pretrain.checkpoint_every_steps=70 is not a multiple of pretrain.evaluate_every_steps=50; a checkpoint is kept by its "
     "held-out loss"),
    ({"pretrain": {"train_tokens": 40_960}},
     "pretrain.train_tokens=40960 is 10 steps of 4096 tokens, fewer than warmup_steps + decay_steps = 20 + 50; set "
     "train_tokens to at least 286720 or shorten the phases"),
    ({"pretrain": {"train_tokens": 4096 * 99}},
     "pretrain.evaluate_every_steps=50 is later than step 49, with which the cap of 99 steps - decay_steps=50 ends the stable "
     "phase, so that nothing would start the decay; evaluate more often or raise train_tokens"),
    ({"model": {"hidden_size": 250}},
     "model.hidden_size=250 is not a multiple of model.num_attention_heads=4; nearest: 248, 252"),
    ({"model": {"num_attention_heads": 12, "hidden_size": 48, "num_key_value_heads": 5}},
     "model.num_key_value_heads=5 does not divide model.num_attention_heads=12; choose one of [1, 2, 3, 4, 6, 12]"),
    ({"tokenizer": {"path": "tok", "vocab_size": 500}},
     "tokenizer.vocab_size=500 has no effect with tokenizer.path='tok', whose vocabulary is taken as it is; remove one of the "
     "two"),
    ({"data": {"huggingface_config": "en"}},
     "data.huggingface_config='en' has no effect with data.source='sample'; remove it or set source='huggingface'"),
    ({"data": {"source": "text", "path": "a.txt", "huggingface_revision": "v1"}},
     "data.huggingface_revision='v1' has no effect with data.source='text'; remove it or set source='huggingface'"),
    ({"data": {"source": "text", "path": "a.txt", "formulas": "drop"}},
     "data.formulas='drop' has no effect with data.source='text', whose text has no markup; remove it or set "
     "source='mediawiki'"),
    ({"data": {"tables": "plain"}},
     "data.tables='plain' has no effect with data.source='sample', whose text has no markup; remove it or set "
     "source='mediawiki'"),
    ({"finetune": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
     "finetune.name='a' is used twice; choose another name"),
    ({"finetune": [{"schedule": [{}]}]}, "finetune.0: schedule has neither cron nor every_minutes; set one of them"),
    ({"finetune": [{"schedule": [{"cron": "0 3 * * *", "every_minutes": 5}]}]},
     "finetune.0: schedule has both cron and every_minutes; set one of them"),
    ({"finetune": [{"schedule": [{"cron": "0 3 * * *", "timezone": "Europe/Berln"}]}]},
     "finetune.0: schedule.timezone='Europe/Berln' is no time zone; did you mean 'Europe/Berlin'? write one as "
     "Europe/Berlin, or UTC"),
    ({"finetune": [{"name": "topic", "schedule": "0 3 * * 1"}]},
     'finetune.topic.schedule="0 3 * * 1" is not valid: give a list, such as ["a", "b"]; of tables, [[finetune.topic.schedule]]'
     " in a TOML file, where it holds several settings; see configs/README.md or --help"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), WRONG, ids=[text.split("=")[0] + str(i) for i, (_, text) in enumerate(WRONG)])
def test_settings_that_contradict_each_other_are_refused(values: dict, expected: str) -> None:
    assert message(values) == expected


OUT_OF_BOUNDS = [
    ("data.heldout_fraction", 0.5, "less than 0.5"), ("data.heldout_fraction", 0, "greater than 0"),
    ("data.name", "Has Spaces", "use small letters"), ("data.name", "../up", "use small letters"),
    ("data.source", "ftp", "'sample', 'text', 'jsonl', 'parquet', 'csv', 'mediawiki' or 'huggingface'"),
    ("tokenizer.vocab_size", 299, "greater than or equal to 300"), ("model.num_hidden_layers", 0, "greater than or equal to 1"),
    ("pretrain.precision", "fp16", "'bf16' or 'fp32'"), ("pretrain.optimizer", "sgd", "'adamw' or 'muon'"),
    ("pretrain.beta2", 1.0, "less than 1"), ("pretrain.seed", 2**31, "less than or equal to 2147483647"),
    ("pretrain.micro_batch_size", 2.5, "valid integer"),
    ("pretrain.learning_rate", float("nan"), "finite"), ("convergence.min_gain", float("inf"), "finite"),
    ("convergence.min_evaluations", 3, "greater than or equal to 4"), ("launch.num_processes", 0, "greater than or equal to 1"),
    ("launch.device", "tpu", "'auto', 'cpu' or 'gpu'"), ("registry.model_name", "", "use small letters"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "rule"), OUT_OF_BOUNDS)
def test_bounds_name_field_value_and_rule(field: str, value: object, rule: str) -> None:
    section, name = field.split(".")
    text = message({section: {name: value}})
    assert text.startswith(f"{field}={json.dumps(value)} is not valid: ")
    assert rule in text
    assert text.endswith("; see configs/README.md or --help")


def test_derived_numbers_follow_the_settings() -> None:
    pretrain = PretrainConfig(train_tokens=1_000_000, global_batch_tokens=4096, sequence_length=256)
    assert (pretrain.max_steps, pretrain.global_batch_size) == (244, 16)
    assert Config().tokenizer.trained_vocab_size == 8192
    assert parse_config({"tokenizer": {"vocab_size": 500}}).tokenizer.trained_vocab_size == 500


def test_what_the_loop_reads_of_both_kinds_is_a_setting_only_where_it_can_be_chosen() -> None:
    pretrain = PretrainConfig(beta1=0.8, keep_checkpoints=5, optimizer="muon")
    finetune = FinetuneConfig(batch_size=48, max_length=64)
    assert (pretrain.betas, pretrain.keep_checkpoints, pretrain.optimizer) == ((0.8, 0.95), 5, "muon")
    assert (finetune.betas, finetune.keep_checkpoints, finetune.optimizer) == ((0.9, 0.999), 1, "adamw")
    assert (finetune.global_batch_size, finetune.sequence_length) == (48, 64)
    constants = {"betas", "keep_checkpoints", "optimizer", "global_batch_size", "sequence_length"}
    assert constants & finetune.model_dump().keys() == set()
    for name in constants:
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            FinetuneConfig.model_validate({name: 2})


def test_a_configuration_is_frozen_and_survives_json() -> None:
    config = parse_config({"finetune": [{"name": "a", "examples": {"labels": ["x", "y"]}}], "model": {"extra": {"k": [1]}}})
    with pytest.raises(ValidationError, match="frozen"):
        config.pretrain.seed = 5
    again = Config.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.finetune[0].examples.labels == ("x", "y")


def test_validation_leaves_the_given_values_alone() -> None:
    values = {"finetune": [{"name": "a"}], "pretrain": {"seed": 3}}
    before = json.dumps(values)
    parse_config(values)
    assert json.dumps(values) == before


def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {model}
    for field in model.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= sections(part)
    return found


def test_bounds_are_in_the_help_text_of_the_form_where_they_are_not_obvious() -> None:
    """The Prefect form does not show bounds; it shows the sentence."""
    for field in ("learning_rate", "weight_decay", "beta1", "beta2"):
        assert re.search(r"\d", PretrainConfig.model_fields[field].description), field
    assert len(sections(Config)) == 20
    assert sections(FinetuneFile) - sections(Config) == {FinetuneFile}


def test_a_fine_tune_cannot_be_named_so_that_it_leaves_its_folder() -> None:
    for name in ("../x", "a/b", "", "-x", "A", "x" * 64):
        with pytest.raises(ValidationError, match="pattern"):
            FinetuneConfig(name=name)
    assert FinetuneConfig(name="x" * 63).name == "x" * 63


def test_a_fine_tune_of_a_run_is_as_one_that_stands_alone() -> None:
    values = {"finetune": [{"name": "a", "epochs": 7}, {"name": "b", "base": "models:/other/3"}], "launch": {"max_restarts": 9}}
    first, second = parse_config(values).finetunes("demo")
    assert (first.name, first.base, first.epochs, first.launch.max_restarts) == ("demo-a", "run:demo", 7, 9)
    assert (second.name, second.base) == ("demo-b", "models:/other/3")
    named = parse_config(values | {"registry": {"model_name": "zoo"}})
    assert [one.name for one in named.finetunes("demo")] == ["zoo-a", "zoo-b"]
    assert named.finetunes("demo")[0].base == "run:demo", "whose model is called otherwise"
    assert (named.model_name("demo"), parse_config(values).model_name("demo")) == ("zoo", "demo")


def test_a_name_that_gets_too_long_with_that_of_the_run_is_refused() -> None:
    config = parse_config({"finetune": [{"name": "x" * 60}]})
    assert len(config.finetunes("ab")[0].name) == 63
    with pytest.raises(ConfigError, match=r"finetune\[x+\] would be called 'abc-x+', longer than 63 letters; shorten it"):
        config.finetunes("abc")


def test_a_fine_tune_that_stands_alone_needs_a_base_and_whole_batches() -> None:
    with pytest.raises(ValidationError, match="base is not set, and there is no run whose model it is; set it, such as base"):
        FinetuneFile(name="a")
    with pytest.raises(ValidationError, match=r"batch_size=40 is not a multiple of .* = 16 x 2 = 32; nearest: 32, 64"):
        FinetuneFile(base="run:demo", batch_size=40)


def test_a_schedule_has_a_cron_expression_in_a_time_zone_or_an_interval() -> None:
    assert ScheduleConfig(cron="0 3 * * 1").timezone == "UTC"
    assert ScheduleConfig(cron="0 3 * * 1", timezone="Europe/Berlin").timezone == "Europe/Berlin"
    assert ScheduleConfig(every_minutes=1).cron is None
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ScheduleConfig(every_minutes=0)
