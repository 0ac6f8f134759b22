"""A version is registered with a card and tags that lead to its data."""

from pathlib import Path

from tasks.registry.publish import final_version, publish
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
