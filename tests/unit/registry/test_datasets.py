"""Each run has its data sets as inputs, with their cards; a version says where the cards are."""

import json
from pathlib import Path

import pytest

from tasks.record.layout import FinetuneLayout, StageLayout
from tasks.record.manifest import Request, read_request
from tasks.registry import versions as registry
from tasks.registry.datasets import MAX_NOTE, card_links, card_note, data_of
from tasks.registry.tracking import connect, sync
from tests.kit.datasets import METRICS, finetuning, pretraining, written_dataset, written_examples
from tests.kit.registered_stages import finished_training, new_version, run_of


@pytest.fixture
def stages(home, tmp_path):
    """A data set, examples, a pre-training on the one and a fine-tune on the other."""
    file = tmp_path / "zoo.txt"
    file.write_text("the zoo")
    data = written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": file})
    examples = written_examples(home, "pages", ["A page."], ["Another."], file)
    base = pretraining(home, "run", data)
    tuned = finetuning(home, "run", finished_training(base).as_input(base.path), examples)
    random = finetuning(home, "run", finished_training(base).as_input(base.path), examples, init="random")
    found = {"data": StageLayout(Path(data.path)), "examples": StageLayout(Path(examples.path))}
    return found | {"base": base, "tuned": tuned, "random": random}


def synced(home, stage):
    return sync(home, stage)


def artifacts(home, run_id, folder=None):
    return sorted(item.path for item in connect(home).list_artifacts(run_id, folder))


def test_a_run_has_its_data_set_with_source_numbers_and_card(home, stages):
    run_id = synced(home, stages["base"])
    name = stages["data"].path.name
    found = run_of(home, run_id).inputs.dataset_inputs
    assert [(one.dataset.name, one.tags[0].value) for one in found] == [(name, "training")]
    assert json.loads(found[0].dataset.profile) == METRICS
    assert json.loads(found[0].dataset.source)["uri"] == str(stages["data"].path)
    assert artifacts(home, run_id, f"data/{name}") == [f"data/{name}/data_card.md", f"data/{name}/data_card.png"]
    picture = connect(home).download_artifacts(run_id, f"data/{name}/data_card.png")
    assert Path(picture).read_bytes() == (stages["data"].path / "data_card.png").read_bytes()


def test_a_fine_tune_has_the_data_of_its_base_too(home, stages):
    found = run_of(home, synced(home, stages["tuned"])).inputs.dataset_inputs
    used = {one.dataset.name: one.tags[0].value for one in found}
    assert used == {stages["examples"].path.name: "training", stages["data"].path.name: "pretraining"}


def test_random_weights_have_seen_nothing_of_the_base(home, stages):
    assert [(Path(entry.path), use) for entry, use in data_of(read_request(stages["random"]))] == [
        (stages["examples"].path, "training")
    ]


def test_an_evaluation_is_given_its_examples_only(home, stages):
    inputs = read_request(stages["tuned"]).inputs
    request = Request(kind="evaluate", identity={}, inputs=inputs)
    assert [(entry.digest, use) for entry, use in data_of(request)] == [(inputs["examples"].digest, "evaluation")]


def test_the_run_of_a_data_set_has_its_card_as_note_and_file(home, stages):
    run_id = synced(home, stages["data"])
    assert artifacts(home, run_id) == ["data_card.md", "data_card.png"]
    assert run_of(home, run_id).data.tags["mlflow.note.content"].startswith("# Data set `animals`")


def test_a_version_says_where_the_cards_are(home, stages):
    data, examples = (synced(home, stages[name]) for name in ("data", "examples"))
    links = card_links(home, read_request(stages["tuned"]))
    assert links == {"data_card": f"runs:/{examples}/data_card.md", "data_card.pretraining": f"runs:/{data}/data_card.md"}
    tuned = stages["tuned"]
    version = registry.register(home, new_version(tuned, finished_training(tuned), links=links))
    assert version.tags["data_card.pretraining"] == f"runs:/{data}/data_card.md"
    uri = version.tags["data_card"].removeprefix("runs:/")
    run_id, name = uri.split("/")
    assert Path(connect(home).download_artifacts(run_id, name)).read_text() == "# Examples\n"


def test_data_that_mlflow_does_not_know_are_not_linked(home, stages):
    assert card_links(home, read_request(stages["base"])) == {}


def test_missing_folders_do_no_harm(home, stages):
    request = read_request(stages["tuned"])
    gone = {role: entry.model_copy(update={"path": str(home / "gone")}) for role, entry in request.inputs.items()}
    stage = FinetuneLayout(home, "other-topic").attempt("0" * 64).candidate
    stage.path.mkdir(parents=True)
    stage.request.write_text(request.model_copy(update={"inputs": gone}).model_dump_json())
    found = run_of(home, synced(home, stage)).inputs.dataset_inputs
    assert [(one.dataset.name, one.dataset.profile) for one in found] == [("gone", "{}")]


def test_a_note_is_the_beginning_of_the_card_in_whole_sections():
    card = "# Data set\n\nwords\n\n![plot](data_card.png)\n\n## One\n\n" + "x" * 3000 + "\n\n## Two\n\n" + "y" * 3000 + "\n"
    note = card_note(card)
    assert note.startswith("# Data set\n\nwords\n\n") and "## One" in note and "x" * 3000 in note
    assert "## Two" not in note and "y" * 9 not in note and "](" not in note
    assert note.endswith("*The whole card and its picture: data_card.md among the artifacts.*")
    assert len(note) <= MAX_NOTE
    assert len(card_note("# x" + "z" * 9000)) == MAX_NOTE
