"""What changes a stage's identity, what does not, and what is refused before anything starts."""

from typing import Any

import pytest

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig, FinetuneFile
from tasks.config.presets import load_config, parse_config
from tasks.data.inputs.request import PREPARE_FORMAT, examples_request, prepare_request, prepare_settings
from tasks.record.errors import ConfigError
from tasks.record.manifest import Input, Manifest, Request
from tasks.stages.requests import evaluate_request, finetune_request, pretrain_request

DATASET = Input(path="/data", digest="d" * 64)
BASE, EXAMPLES = Input(path="/base", digest="b" * 64), Input(path="/examples", digest="e" * 64)


def dataset(vocab_size: int = 8192, train_tokens: int = 10**6, heldout_tokens: int = 10**5) -> Manifest:
    metrics = {"vocab_size": vocab_size, "train_tokens": train_tokens, "heldout_tokens": heldout_tokens}
    return Manifest(kind="prepare", request_digest="p", metrics=metrics)


def pretrain(*assignments: str) -> Request:
    return pretrain_request(load_config([], assignments), DATASET, dataset())


def test_how_and_where_training_runs_is_no_part_of_its_identity() -> None:
    base = pretrain()
    for assignment in (
        "launch.device=cpu", "launch.max_restarts=9", "launch.stall_timeout_seconds=5", "registry.model_name=other",
        "description=words", "data.max_documents=5", "tokenizer.training_characters=5000",
    ):  # fmt: skip
        assert pretrain(assignment).digest == base.digest, assignment
    assert pretrain("launch.num_processes=1").digest == base.digest


@pytest.mark.parametrize(
    "assignment",
    [
        "pretrain.seed=1",
        "pretrain.precision=fp32",
        "model.num_hidden_layers=2",
        "convergence.min_gain=0.5",
        "model.extra={a=1}",
    ],
)
def test_what_changes_the_model_changes_the_identity(assignment: str) -> None:
    assert pretrain(assignment).digest != pretrain().digest


def test_the_data_is_known_by_its_digest() -> None:
    config = Config()
    there = pretrain_request(config, Input(path="/elsewhere", digest="d" * 64), dataset())
    other = pretrain_request(config, Input(path="/data", digest="c" * 64), dataset())
    assert there.digest == pretrain().digest != other.digest


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({"model": {"vocab_size": 8192}}, dataset(vocab_size=8193),
         "model.vocab_size=8192 is smaller than the tokenizer's vocabulary of 8193; leave model.vocab_size empty or set it to "
         "at least 8193"),
        ({}, dataset(heldout_tokens=256),
         "pretrain.sequence_length=256 needs more than 256 tokens in the heldout split, which has 256; give more text or set a "
         "shorter sequence"),
        ({}, dataset(train_tokens=10),
         "pretrain.sequence_length=256 needs more than 256 tokens in the train split, which has 10; give more text or set a "
         "shorter sequence"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_the_model_is_refused(values: dict, found: Manifest, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        pretrain_request(parse_config(values), DATASET, found)
    assert str(error.value) == expected


def test_data_that_just_fits_is_taken() -> None:
    config = parse_config({"model": {"vocab_size": 8192}})
    request = pretrain_request(config, DATASET, dataset(train_tokens=257, heldout_tokens=257))
    assert request.identity["model"]["vocab_size"] == 8192
    assert request.inputs == {"dataset": DATASET}


def prepared(path: str, source: str = "1", against: dict[str, Input] | None = None, **data: Any) -> Request:
    values = {"data": {"source": "text", "path": path, **data}}
    return prepare_request(parse_config(values), {"sources": [{"sha256": source}], "evaluations": []}, None, against or {})


def test_prepared_text_is_known_by_its_content_not_its_path() -> None:
    base = prepared("/a.txt")
    assert prepared("/b.txt").digest == base.digest
    assert prepared("/b.txt").execution["paths"] == ["/b.txt"]
    assert prepared("/a.txt", "2").digest != base.digest
    assert prepared("/a.txt", min_characters=5).digest != base.digest
    assert base.identity["format"] == PREPARE_FORMAT


OTHER = {"name": "other", "source": "text", "path": "/o.txt"}
QUIZ = {"name": "quiz", "path": "/quiz.jsonl"}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"mixture": [OTHER]}, {"mixture": [OTHER | {"path": "/p.txt"}]}, True),
        ({"mixture": [OTHER]}, {"mixture": [OTHER | {"weight": 2.0}], "weight": 1.0}, True),
        ({"mixture": [OTHER]}, {"mixture": [OTHER | {"max_epochs": 2.0}], "max_epochs": 5.0}, True),
        ({"mixture": [OTHER]}, {"mixture": [OTHER | {"name": "more"}]}, False),
        ({"mixture": [OTHER]}, {"mixture": [OTHER | {"max_documents": 2}]}, False),
        ({"mixture": [OTHER, OTHER | {"name": "b"}]}, {"mixture": [OTHER | {"name": "b"}, OTHER]}, False),
        ({"decontamination": {"evaluations": [QUIZ]}}, {"decontamination": {"evaluations": [QUIZ | {"path": "/q"}]}}, True),
        ({"decontamination": {"evaluations": [QUIZ]}}, {"decontamination": {"evaluations": [QUIZ], "ngram": 8}}, False),
        ({"duplicates": {"near": True}}, {"duplicates": {"near": False}}, False),
        ({"part_megabytes": 64}, {"part_megabytes": 1}, False),
    ],
)
def test_what_a_mixture_is_made_of_counts_and_not_how_it_is_mixed(first: dict, second: dict, same: bool) -> None:
    assert (prepared("/a.txt", **first).digest == prepared("/a.txt", **second).digest) is same


def test_how_text_is_prepared_is_no_part_of_what_is_prepared() -> None:
    identity = {"sources": [{"sha256": "1"}], "evaluations": []}
    config = parse_config({"preparation": {"num_processes": 3}})
    requests = [prepare_request(given, identity, None, {}) for given in (Config(), config)]
    assert requests[0].digest == requests[1].digest
    assert requests[1].execution["preparation"]["num_processes"] == 3


def test_an_earlier_data_set_counts_by_its_digest() -> None:
    requests = [
        prepared("/a.txt", against=found, duplicates={"against": [name]})
        for name, found in (
            ("one", {"against-00": DATASET}),
            ("two", {"against-00": Input(path="/moved", digest=DATASET.digest)}),
            ("one", {"against-00": BASE}),
        )
    ]
    assert requests[0].digest == requests[1].digest != requests[2].digest
    assert prepared("/a.txt").digest != requests[0].digest


def test_the_settings_of_a_request_are_those_it_was_made_from() -> None:
    values = {
        "data": {
            "source": "text", "path": "/a.txt", "weight": 3.0, "mixture": [OTHER | {"weight": 2.0}],
            "decontamination": {"evaluations": [QUIZ]}, "duplicates": {"against": ["earlier"]},
        },
        "tokenizer": {"path": "/tok"},
    }  # fmt: skip
    config = parse_config(values)
    request = prepare_request(config, {"sources": [{}, {}], "evaluations": [{}]}, {"sha256": "t"}, {"against-00": DATASET})
    data, tokenizer = prepare_settings(request)
    assert tokenizer == config.tokenizer
    assert data.duplicates.against == ("/data",), "the folder that was found"
    assert [source.path for source in data.sources] == ["/a.txt", "/o.txt"]
    assert data.decontamination == config.data.decontamination
    assert data.source_names == ("sample", "other")
    assert [source.weight for source in data.sources] == [None, None], "the training's business"


def test_the_commit_of_a_hub_data_set_is_what_it_is_and_no_setting() -> None:
    commits = ["1" * 40, None]
    mixture = [OTHER | {"source": "huggingface", "huggingface_revision": "v2"}]
    config = parse_config(
        {"data": {"source": "huggingface", "path": "a/b", "huggingface_revision": "main", "mixture": mixture}}
    )
    found = [{"revision": commits[0]}, {"sha256": "folder"}]
    request = prepare_request(config, {"sources": found, "evaluations": []}, None, {})
    assert "huggingface_revision" not in str(request.identity["data"])
    assert [source.huggingface_revision for source in prepare_settings(request)[0].sources] == commits


def test_shares_of_the_sources_are_part_of_the_training() -> None:
    def trained(**data: Any) -> Request:
        mixture = [OTHER | data.pop("other", {})]
        config = parse_config({"data": {"source": "text", "path": "/a.txt", "name": "first", "mixture": mixture, **data}})
        return pretrain_request(config, DATASET, dataset())

    assert "mixture" not in trained().identity
    weighted = trained(weight=3.0, other={"weight": 1.0, "max_epochs": 4.0})
    assert weighted.identity["mixture"] == [
        {"name": "first", "weight": 3.0, "max_epochs": None},
        {"name": "other", "weight": 1.0, "max_epochs": 4.0},
    ]
    assert trained(max_epochs=1.0).identity["mixture"][0]["max_epochs"] == 1.0
    assert weighted.digest != trained().digest != trained(max_epochs=1.0).digest


def file(**settings: Any) -> FinetuneFile:
    return FinetuneFile.model_validate({"base": "run:demo"} | settings)


def finetune(random_init: bool = False, **settings: Any) -> Request:
    return finetune_request(file(**settings), BASE, EXAMPLES, random_init)


@pytest.mark.parametrize(
    "settings",
    [
        {"gate": {"level": 0.1}}, {"schedule": [{"cron": "0 3 * * 1"}]}, {"name": "other"}, {"base": "models:/demo/2"},
        {"examples": {"test_fraction": 0.01}}, {"min_new_examples": 9}, {"max_shrinkage": 0.5}, {"overlap": "skip"},
        {"launch": {"max_restarts": 9}}, {"launch": {"num_processes": 1}},
    ],
)  # fmt: skip
def test_what_does_not_decide_the_weights_does_not_retrain_a_fine_tune(settings: dict) -> None:
    assert finetune(**settings).digest == finetune().digest


def test_recipe_base_and_examples_name_a_fine_tune() -> None:
    base = finetune()
    for recipe in ({"epochs": 3}, {"learning_rate": 1e-3}, {"kind": "instruction"}, {"seed": 1}, {"max_length": 64}):
        assert finetune(**recipe).digest != base.digest, recipe
    other = Input(path="/base", digest="c" * 64)
    assert len({finetune_request(file(), *inputs, False).digest for inputs in ((other, EXAMPLES), (BASE, other))}) == 2
    assert finetune(random_init=True).digest != base.digest
    assert finetune(random_init=True).identity["init"] == "random"
    assert base.execution["launch"]["num_processes"] == 2


def test_labels_and_test_share_belong_to_the_examples() -> None:
    def examples(**settings: Any) -> Request:
        return examples_request(FinetuneConfig.model_validate(settings), {"sha256": "1"})

    base = examples()
    assert examples(epochs=9, name="other").digest == base.digest, "two fine-tunes share their examples"
    assert examples(examples={"test_fraction": 0.2}).digest != base.digest
    assert examples(kind="instruction").digest != base.digest


def test_an_evaluation_is_another_one_for_each_champion_and_each_gate() -> None:
    inputs = {"candidate": BASE, "examples": EXAMPLES}
    champion = {"name": "demo-topic", "version": 3, "path": "/v3", "digest": "3" * 64}
    first = evaluate_request(file(), inputs, None, None)
    second = evaluate_request(file(), inputs, champion, None)
    moved = evaluate_request(file(), inputs, champion | {"path": "/elsewhere"}, None)
    anew = evaluate_request(file(), inputs, champion | {"version": 4}, None)
    third = evaluate_request(file(), inputs, champion | {"digest": "4" * 64}, None)
    assert len({one.digest for one in (first, second, third, anew)}) == 4
    assert moved.digest == second.digest
    assert (first.execution["champion"], second.execution["champion"]) == (None, champion)
    assert second.execution["launch"]["num_processes"] == 1
    stricter = evaluate_request(file(gate={"level": 0.01}), inputs, champion, None)
    assert stricter.digest != second.digest
    best = evaluate_request(file(), inputs, champion, champion | {"version": 2, "digest": "2" * 64})
    assert best.digest != second.digest and best.execution["best"]["version"] == 2
