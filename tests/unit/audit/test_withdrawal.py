"""What a withdrawal costs, and when a fine-tune can be made again without what was withdrawn."""

import json
from pathlib import Path

import pytest

from tasks.audit.lineage import lineage_of_dataset, lineage_of_document, lineage_of_source
from tasks.audit.withdrawal import containing, hindrance, only_it_is_missing, withdrawal
from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import load_config
from tasks.record.files import file_sha256, write_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout, bases_folder, dataset_stage
from tasks.record.manifest import Input, Manifest, Request
from tasks.stages.work import examples_work
from tests.kit.datasets import pretraining, written_dataset
from tests.kit.lineage_homes import done, listing

TEXT = "A page about {n} rivers and the towns beside them."


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A folder with two files of labelled rows."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for name, start in (("first", 0), ("second", 40)):
        rows = [{"text": TEXT.format(n=n), "label": ("odd", "even")[n % 2]} for n in range(start, start + 40)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    path = tmp_path / "zoo.txt"
    path.write_text("the zoo")
    return path


@pytest.fixture
def base(home: Path, zoo: Path) -> Input:
    """A finished pre-training, run `demo`, on a data set made from zoo.txt."""
    stage = RunLayout(home, "demo").pretrain()
    dataset = written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": zoo})
    write_json(RunLayout(home, "demo").config, load_config(["demo"]).model_dump(mode="json"))
    return done(stage, Request(kind="pretrain", identity={"run": 1}, inputs={"dataset": dataset}), [], step=9).as_input(
        stage.path
    )


def tuned(home: Path, base: Input, labels: Path, name: str = "topic") -> StageLayout:
    """An attempt of a fine-tune on both files."""
    request = Request(kind="examples", identity={"kind": "classification", "examples": {"source": "jsonl"}, "name": name})
    folder = dataset_stage(home, name, request.digest)
    folder.path.mkdir(parents=True)
    listing(folder.path, {"examples": sorted(labels.iterdir())})
    examples = done(folder, request, [folder.path / "sources.json"], details={"source": {"files": 2}}).as_input(folder.path)
    own = Request(
        kind="finetune", identity={"finetune": {"seed": 1}, "init": "base"}, inputs={"base": base, "examples": examples}
    )
    stage = FinetuneLayout(home, name).attempt(own.digest).candidate
    done(stage, own, [], step=3)
    return stage


def settings(labels: Path, base: str = "run:demo", **more: object) -> FinetuneFile:
    examples = {"source": "jsonl", "path": str(labels), "test_fraction": 0.3, "min_test_examples": 1}
    return FinetuneFile.model_validate({"name": "topic", "base": base, "examples": examples} | more)


def test_the_list_goes_from_the_data_to_what_stands_on_it(home, zoo, base, labels):
    first = tuned(home, base, labels)
    again = first.path.parent.with_name("another") / "finetune"
    request = Request.model_validate_json(first.request.read_bytes())
    done(StageLayout(again), request.model_copy(update={"identity": {"finetune": {"seed": 2}, "init": "base"}}), [])
    found = withdrawal(home, lineage_of_source(home, str(zoo)))
    assert [(one.kind, one.name) for one in found.redo] == [
        ("prepare", f"datasets/{next((home / 'datasets').glob('animals-*')).name}"),
        ("pretrain", "runs/demo/02-pretrain"),
        ("finetune", "topic"),
    ]
    data, trained, tuning = found.redo
    assert data.why == ("holds it as zoo: zoo.txt",) and tuning.why == ("starts from runs/demo/02-pretrain",)
    assert trained.how.startswith("run demo --name demo-2 --set ") and (data.how, tuning.how) == ("", "")
    assert len(tuning.folders) == 2 and found.finetunes == ("topic",)


def test_a_fine_tune_of_a_fine_tune_comes_after_it(home, zoo, base, labels):
    first = tuned(home, base, labels, "zebra")
    tuned(home, Manifest.read(first.manifest).as_input(first.path), labels, "ant")
    found = withdrawal(home, lineage_of_source(home, str(zoo)))
    assert [one.name for one in found.redo][-2:] == ["zebra", "ant"]


def test_what_was_only_measured_on_it_need_not_be_made_again(home, zoo, tmp_path):
    data = written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": zoo})
    pretraining(home, "run", data)
    page = tmp_path / "page"
    page.write_text("An owl.")
    found = withdrawal(home, lineage_of_document(home, str(page)))
    assert [one.kind for one in found.redo] == ["prepare"]
    assert found.only_measured == ("runs/run/02-pretrain",)


def test_what_is_not_finished_is_listed_as_that(home, zoo):
    pretraining(home, "run", written_dataset(home, "animals", ["The cat sat."], ["An owl."], {"zoo": zoo}))
    found = withdrawal(home, lineage_of_source(home, str(zoo)))
    assert [(one.kind, one.done) for one in found.redo] == [("prepare", True), ("pretrain", False)]


def test_a_base_that_was_taken_in_from_the_file_is_found_with_what_began_there(home, labels, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    identity = {"source": {"kind": "folder", "files": {"model.safetensors": file_sha256(weights)}}}
    stage = StageLayout(bases_folder(home) / "taken-1")
    taken = done(stage, Request(kind="base", identity=identity), [], details={"source": "org/model", "licence": "mit"})
    tuned(home, taken.as_input(stage.path), labels)
    found = lineage_of_source(home, str(weights))
    (use,) = found.bases
    assert (use.kind, use.places, [one.use for one in use.stages]) == ("base", ("model.safetensors",), ["starts from it"])
    assert (found.datasets, found.num_bases) == ((), 1)
    listed = withdrawal(home, found)
    assert [(one.kind, one.name) for one in listed.redo] == [("base", "bases/taken-1"), ("finetune", "topic")]
    assert containing(home, found) >= {taken.digest}


def test_a_base_on_the_hub_is_found_by_a_file_that_it_kept_as_it_was(home, tmp_path):
    stage = StageLayout(bases_folder(home) / "taken-1")
    stage.export.mkdir(parents=True)
    weights = stage.export / "model.safetensors"
    weights.write_bytes(b"weights")
    identity = {"source": {"kind": "hub", "name": "org/model", "commit": "c0ffee"}}
    done(stage, Request(kind="base", identity=identity), [weights], details={"source": "org/model", "licence": "mit"})
    (use,) = lineage_of_source(home, str(weights)).bases
    assert use.places == ("export/model.safetensors",)


def test_nothing_can_be_made_again_while_the_file_is_still_read(home, base, labels):
    tuned(home, base, labels)
    file = labels / "second.jsonl"
    found = lineage_of_source(home, str(file))
    sentence = f"{file} is still there, in examples.path={str(labels)!r}; remove it, then ask again"
    assert hindrance(home, settings(labels), found) == sentence
    file.unlink()
    assert hindrance(home, settings(labels), found) == ""


def test_nothing_can_be_made_again_while_a_document_is_still_in_a_file(home, base, labels, tmp_path):
    tuned(home, base, labels)
    page = tmp_path / "page"
    page.write_text(TEXT.format(n=41))
    found = lineage_of_document(home, str(page))
    assert hindrance(home, settings(labels), found).endswith("still has the document; remove it there, then ask again")
    by_digest = lineage_of_document(home, "0" * 64)
    assert hindrance(home, settings(labels), by_digest) == ""
    rows = (labels / "second.jsonl").read_text().splitlines(keepends=True)
    (labels / "second.jsonl").write_text("".join(row for row in rows if " 41 " not in row))
    assert hindrance(home, settings(labels), found) == ""


def test_nothing_can_be_made_again_from_a_base_that_contains_it(home, zoo, base, labels):
    tuned(home, base, labels)
    found = lineage_of_source(home, str(zoo))
    sentence = "its base 'run:demo' contains it; make the base again, or set another one in its file, then ask again"
    assert hindrance(home, settings(labels), found) == sentence
    other = RunLayout(home, "other").pretrain()
    done(other, Request(kind="pretrain", identity={"run": 2}), [])
    assert hindrance(home, settings(labels, "run:other"), found) == ""
    assert "there is no run 'nowhere'" in hindrance(home, settings(labels, "run:nowhere"), found)


def test_nothing_can_be_made_again_while_the_same_data_set_comes_out(home, base, labels):
    work = examples_work(home, settings(labels))
    done(work.stage, work.request, [])
    found = lineage_of_dataset(home, work.stage.path.name)
    assert hindrance(home, settings(labels), found).startswith(f"examples.path={str(labels)!r} still gives topic-")
    (labels / "second.jsonl").unlink()
    assert hindrance(home, settings(labels), found) == ""


def test_missing_data_are_said(home, base, labels):
    tuned(home, base, labels)
    found = lineage_of_source(home, str(labels / "second.jsonl"))
    for path in labels.iterdir():
        path.unlink()
    assert "examples.path=" in hindrance(home, settings(labels), found)


def test_fewer_examples_are_meant_only_where_nothing_else_went_away(home, base, labels):
    tuned(home, base, labels)
    second = labels / "second.jsonl"
    found = lineage_of_source(home, str(second))
    second.unlink()
    assert only_it_is_missing(home, settings(labels), found)
    (labels / "first.jsonl").write_text((labels / "first.jsonl").read_text()[:200] + '"}\n')
    assert not only_it_is_missing(home, settings(labels), found)
    assert not only_it_is_missing(home, settings(labels), found.model_copy(update={"asked": "document"}))
