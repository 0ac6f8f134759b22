"""The tree that `pretune lineage` prints."""

import json

import pytest

from flows.__main__ import main
from flows.lineage import text_lineage
from tasks.audit.lineage import STARTED, TRAINED, DatasetUse, Lineage, StageUse, VersionUse
from tests.kit.lineage_homes import random_home

NOTHING = {"step": None, "tokens_seen": None, "digest": None, "milestones": (), "exported": False, "stages": ()}


def tuned() -> StageUse:
    versions = (VersionUse(model="demo-topic", version=3, label="candidate", aliases=("candidate", "champion")),)
    return StageUse(stage="runs/a/03", kind="finetune", use=STARTED, done=True, checkpoints=(), versions=versions, **NOTHING)


def trained() -> StageUse:
    values = NOTHING | {"stages": (tuned(),), "exported": True, "milestones": ("step_5",)}
    versions = (VersionUse(model="demo-base", version=1, label="converged step 5", aliases=()),)
    checkpoints = tuple(f"step_{n}" for n in range(9))
    return StageUse(
        stage="runs/a/02", kind="pretrain", use=TRAINED, done=False, checkpoints=checkpoints, versions=versions, **values
    )


def lineage(asked="source", stages=(), **changes) -> Lineage:
    dataset = DatasetUse(
        dataset="wiki-1", kind="prepare", digest="d" * 64, splits=("train",), places=("wiki: a.bz2",), stages=stages
    )
    values = {"asked": asked, "given": "a.bz2", "digest": "f" * 64, "num_datasets": 4, "datasets": (dataset,), "notes": ()}
    return Lineage(**values | changes)


def test_the_tree_goes_down_to_the_aliases():
    assert text_lineage(lineage(stages=(trained(),), notes=("MLflow is away", "x"))).splitlines() == [
        "File a.bz2 (SHA-256 ffffffffffff) is in 1 of the 4 finished data sets.",
        "",
        "data set wiki-1  (split train, digest dddddddddddd)",
        "  as wiki: a.bz2",
        "  pre-training runs/a/02: trained on it, not finished",
        "    checkpoints: step_0, step_1 ... step_7, step_8 (9 in all)",
        "    milestones: step_5",
        "    model: runs/a/02/export",
        "    registered: demo-base version 1 (converged step 5)",
        "    fine-tune runs/a/03: starts from it, done",
        "      registered: demo-topic version 3 (candidate)  <- candidate, champion",
        "",
        "Note: MLflow is away",
        "",
        "Note: x",
    ]


def test_a_data_set_without_trainings_says_so():
    assert text_lineage(lineage()).splitlines()[-1] == "  nothing was trained on it"


def test_nowhere_is_one_sentence():
    assert (
        text_lineage(lineage("document", datasets=(), digest=None)) == "Document a.bz2 is in none of the 4 finished data sets."
    )


def test_a_data_set_is_asked_for_by_name():
    said = text_lineage(lineage("dataset", stages=(trained(),), given="wiki", digest=None))
    assert said.startswith("Data set wiki: 1 training was given it.")
    assert text_lineage(lineage("dataset", given="wiki", digest=None)).startswith("Data set wiki: 0 trainings were given it.")


def test_a_base_that_was_taken_in_is_listed_after_the_data_sets():
    base = DatasetUse(
        dataset="model-1", kind="base", digest="b" * 64, splits=(), places=("model.safetensors",), stages=(tuned(),)
    )
    lines = text_lineage(lineage(datasets=(), num_bases=2, bases=(base,))).splitlines()
    assert lines[0].endswith(" is in none of the 4 finished data sets and in 1 of the 2 bases.")
    assert lines[2:5] == [
        "base model-1  (digest bbbbbbbbbbbb)",
        "  as model.safetensors",
        "  fine-tune runs/a/03: starts from it, done",
    ]
    unused = base.model_copy(update={"stages": ()})
    assert text_lineage(lineage(bases=(unused,))).splitlines()[-1] == "  nothing starts from it"


def test_a_training_whose_folder_is_gone_says_so():
    gone = tuned().model_copy(update={"gone": True})
    assert "  fine-tune runs/a/03: starts from it, done, its folder is gone" in text_lineage(lineage(stages=(gone,)))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "or --withdrawn FILE, and was given none; name one"),
        (
            ["m", "--withdrawn"],
            "lineage --withdrawn goes with a file, a document or a data set; add it, or leave --withdrawn out",
        ),
        (["m", "--retrain"], "lineage --retrain goes with --withdrawn; add it, or leave --retrain out"),
        (["--source", "a", "--withdrawn", "b"], "and was given two: 'a' and 'b'; name one"),
        (["--source", "a", "--html", "x"], "lineage --html goes with a model, such as demo-topic@champion; add it, or leave"),
        (["m"], "lineage of 'm': no model 'm' is registered in this home; there are: none"),
    ],
)
def test_what_is_no_question_is_refused_in_one_sentence(home, capsys, words, sentence):
    assert main(["lineage", *words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err


def test_a_model_is_answered_as_text_as_json_and_as_a_page(home, tmp_path, capsys):
    made = random_home(home, 0, finetunes=2)
    model, number = max(made.versions.items(), key=lambda item: item[0])
    assert main(["lineage", model]) == 0
    assert capsys.readouterr().out.startswith(f"{model} version {number} (candidate)  <- champion\n")
    assert main(["lineage", f"{model}/{number}", "--json", "--html", str(tmp_path / "page.html")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["version"]["model"], shown["made_by"]["kind"]) == (model, "finetune")
    page = (tmp_path / "page.html").read_text()
    assert f"<h1>{model}, version {number}</h1>" in page and shown["made_by"]["digest"] in page
    assert main(["lineage", model, "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert f"lies in no folder that there is; make {tmp_path / 'no'}" in capsys.readouterr().err
