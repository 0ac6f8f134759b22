"""The rules between sections, each with its numbers and its remedy."""

import pytest

from tasks.config.data import DataConfig, TextSource, check_mixture, check_source
from tasks.config.presets import parse_config
from tasks.config.section import nearest
from tasks.record.errors import ConfigError

OTHER = {"name": "other", "source": "text", "path": "x.txt"}

WRONG = [
    ({"pretrain": {"sequence_length": 600, "micro_batch_size": 1, "global_batch_tokens": 1200}},
     "pretrain.sequence_length=600 is longer than model.max_position_embeddings=512; set it to at most 512 or give the model "
     "more positions"),
    ({"finetune": [{"name": "ok"}, {"name": "long", "max_length": 513}]},
     "finetune[long].max_length=513 is longer than model.max_position_embeddings=512; set it to at most 512 or give the model "
     "more positions"),
    ({"pretrain": {"global_batch_tokens": 10_000}},
     "pretrain.global_batch_tokens=10000 is not a multiple of micro_batch_size x sequence_length x data-parallel ranks = "
     "8 x 256 x 2 = 4096; nearest: 8192, 12288"),
    ({"launch": {"num_processes": 3}},
     "pretrain.global_batch_tokens=4096 is not a multiple of micro_batch_size x sequence_length x data-parallel ranks = "
     "8 x 256 x 3 = 6144; nearest: 6144"),
    ({"finetune": [{"name": "topic", "batch_size": 40}]},
     "finetune[topic].batch_size=40 is not a multiple of micro_batch_size x data-parallel ranks = 16 x 2 = 32; nearest: "
     "32, 64"),
    ({"model": {"vocab_size": 8000}},
     "model.vocab_size=8000 is smaller than tokenizer.vocab_size=8192; leave model.vocab_size empty or set it to at least "
     "8192"),
    ({"data": {"source": "jsonl"}}, "data.path is not set, and data.source='jsonl' needs it; set data.path"),
    ({"data": {"path": "x.txt"}}, "data.path='x.txt' has no effect with data.source='sample'; remove the path"),
    ({"finetune": [{"examples": {"source": "csv"}}]},
     "finetune.0: examples.path is not set, and examples.source='csv' needs it; set examples.path"),
    ({"finetune": [{"name": "topic", "examples": {"test_fraction": 0.2}}]},
     "finetune[topic].examples.test_fraction=0.2 is larger than data.heldout_fraction=0.05, so that pre-training would see "
     "test pages; set it to at most 0.05 or hold out more"),
    ({"data": {"source": "text", "path": "x.txt", "mixture": [{"name": "pages", "source": "sample"}]},
      "finetune": [{"name": "topic", "examples": {"test_fraction": 0.2}}]},
     "finetune[topic].examples.test_fraction=0.2 is larger than data.heldout_fraction=0.05, so that pre-training would see "
     "test pages; set it to at most 0.05 or hold out more"),
    ({"data": {"mixture": [OTHER, OTHER]}},
     "data.mixture.name='other' is used twice (data.name counts too); choose another name"),
    ({"data": {"mixture": [OTHER | {"name": "sample"}]}},
     "data.mixture.name='sample' is used twice (data.name counts too); choose another name"),
    ({"data": {"weight": 2}}, "data.weight=2.0 has no effect without data.mixture; remove it or add sources"),
    ({"data": {"mixture": [OTHER | {"weight": 1}]}},
     "weight is not set for source 'sample' and is for others; give every source a weight, or none"),
    ({"data": {"weight": 1, "mixture": [OTHER]}},
     "weight is not set for source 'other' and is for others; give every source a weight, or none"),
    ({"data": {"mixture": [{"name": "other", "source": "mediawiki"}]}},
     "data.mixture[other].path is not set, and data.mixture[other].source='mediawiki' needs it; set data.mixture[other].path"),
    ({"preparation": {"num_processes": 2, "ray_address": "ray://host:10001"}},
     "preparation.num_processes=2 has no effect with preparation.ray_address='ray://host:10001', whose cluster knows its own "
     "CPUs; remove one of the two"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "expected"), WRONG, ids=range(len(WRONG)))
def test_rules_between_settings_say_the_numbers_and_the_remedy(values: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_config(values)
    assert str(found.value) == expected


RIGHT = [
    {"pretrain": {"sequence_length": 512, "micro_batch_size": 4}},
    {"launch": {"num_processes": 3}, "pretrain": {"global_batch_tokens": 6144}},
    {"finetune": [{"name": "topic", "batch_size": 64, "max_length": 512}]},
    {"model": {"vocab_size": 8192}},
    {"model": {"vocab_size": 400}, "tokenizer": {"path": "tokenizer.json"}},
    {"data": {"source": "jsonl", "path": "x.jsonl"}},
    {"data": {"source": "jsonl", "path": "x.jsonl"}, "finetune": [{"examples": {"test_fraction": 0.2}}]},
    {"data": {"heldout_fraction": 0.2}, "finetune": [{"examples": {"test_fraction": 0.2}}]},
    {"data": {"max_epochs": 3.0}, "preparation": {"num_processes": 2}},
]


@pytest.mark.parametrize("values", RIGHT, ids=range(len(RIGHT)))
def test_what_keeps_the_rules_is_taken(values: dict) -> None:
    taken = parse_config(values).model_dump(mode="json")
    for section, settings in values.items():
        if isinstance(settings, dict):
            assert {key: taken[section][key] for key in settings} == settings


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(10, 4, "8, 12"), (3, 4, "4"), (4, 4, "4, 8"), (1, 1000, "1000"), (500_000, 4096, "499712, 503808")],
)
def test_nearest_gives_the_multiples_on_both_sides_and_never_zero(value: int, unit: int, expected: str) -> None:
    assert nearest(value, unit) == expected


def test_the_remedies_that_a_message_names_work() -> None:
    for tokens in (8192, 12288):
        parse_config({"pretrain": {"global_batch_tokens": tokens}})
    check_source("data", TextSource())
    check_source("data", TextSource(source="csv", path="x.csv"))
    check_source("data", TextSource(source="huggingface", path="name", huggingface_config="en"))
    check_mixture(DataConfig(weight=2.0, mixture=({**OTHER, "weight": 1.0},)))
