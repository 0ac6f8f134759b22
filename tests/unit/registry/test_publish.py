"""A version is registered with a card and tags that lead to its data."""

from pathlib import Path

import pytest

from tasks.record.layout import FinetuneLayout
from tasks.record.manifest import Input, Manifest
from tasks.registry.names import registered_version
from tasks.registry.publish import final_version, publish, publish_candidate
from tasks.registry.tracking import connect
from tasks.registry.versions import versions
from tasks.stages.work import Result
from tests.kit.datasets import finetuning, pretraining, written_dataset, written_examples
from tests.kit.registered_stages import finished_training, forget


def test_a_version_leads_to_the_card_of_its_data(home, tmp_path):
    (tmp_path / "zoo.txt").write_text("the zoo")
    stage = pretraining(
        home, "run", written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": tmp_path / "zoo.txt"})
    )
    manifest = finished_training(stage)

    version = publish(final_version(Result(stage, manifest), "demo-base", "pretrained"), {"seed": 1})

    assert version.tags["data_card"].startswith("runs:/") and version.tags["data_card"].endswith("/data_card.md")
    card = (Path(version.path) / "README.md").read_text()
    assert f"- Data card in MLflow: {version.tags['data_card']}" in card.splitlines()
    assert "| train_documents | 2 |" in card.splitlines()


def test_a_fine_tune_is_registered_where_the_data_of_its_base_are_gone(home, tmp_path):
    file = tmp_path / "zoo.txt"
    file.write_text("the zoo")
    data, examples = (
        written_dataset(home, "animals", ["A cat."], ["An owl."], {"zoo": file}),
        written_examples(home, "pages", ["x"], ["y"], file),
    )
    base = pretraining(home, "run", data)
    tuned = finetuning(home, "run", finished_training(base).as_input(base.path), examples)
    forget(Path(data.path))

    version = publish(final_version(Result(tuned, finished_training(tuned)), "demo-topic", "candidate"), {})

    assert {key for key in version.tags if key.startswith("data_card")} == {"data_card"}


@pytest.fixture
def chosen(home, monkeypatch):
    monkeypatch.setenv("PRETUNE_HOME", str(home))
    return home


def finetuned(home, run: str, base: Result, examples: Input) -> Result:
    stage = finetuning(home, run, base.input, examples)
    return Result(stage, finished_training(stage))


def test_the_parent_of_a_candidate_is_found_by_its_manifest_whatever_model_it_is_a_version_of(chosen, tmp_path):
    (tmp_path / "zoo.txt").write_text("the zoo")
    examples = written_examples(chosen, "pages", ["x"], ["y"], tmp_path / "zoo.txt")
    data = written_dataset(chosen, "animals", ["A cat."], ["An owl."], {"zoo": tmp_path / "zoo.txt"})
    trained = pretraining(chosen, "run", data)
    base = Result(trained, finished_training(trained))

    first = publish_candidate("topic", {"finetune": {"epochs": 1}}, finetuned(chosen, "run", base, examples), base)
    assert "parent" not in first.tags, "its base is not registered"
    assert "| finetune.epochs | 1 |" in (Path(first.path) / "README.md").read_text().splitlines()

    publish(final_version(base, "another-name", "pretrained"), {})
    second = publish_candidate("topic", {}, finetuned(chosen, "again", base, examples), base)
    assert second.tags["parent"] == "another-name/1"
    tuned = Result(FinetuneLayout(chosen, "again-topic").attempt("0" * 64).candidate, second_manifest(chosen))
    third = publish_candidate("topic-two", {}, finetuned(chosen, "on-top", tuned, examples), tuned)
    assert third.tags["parent"] == "topic/2", "a fine-tune of a fine-tune"


def second_manifest(home):
    return Manifest.read(FinetuneLayout(home, "again-topic").attempt("0" * 64).candidate.manifest)


def test_a_candidate_that_was_deleted_in_mlflow_is_registered_again_when_it_is_asked_for_again(chosen, tmp_path, caplog):
    (tmp_path / "zoo.txt").write_text("the zoo")
    examples = written_examples(chosen, "pages", ["x"], ["y"], tmp_path / "zoo.txt")
    trained = pretraining(chosen, "run", examples)
    base = Result(trained, finished_training(trained))
    candidate = finetuned(chosen, "run", base, examples)
    first = publish_candidate("topic", {}, candidate, base)
    assert publish_candidate("topic", {}, candidate, base).version == first.version
    connect(chosen).delete_model_version("topic", str(first.version))

    again = publish_candidate("topic", {}, candidate, base)

    assert (again.version, again.digest, again.model_id, again.aliases) == (2, first.digest, first.model_id, ("candidate",))
    assert [version.version for version in versions(chosen, "topic")] == [2]
    assert registered_version(chosen, candidate.stage, "topic", "candidate") == 2
