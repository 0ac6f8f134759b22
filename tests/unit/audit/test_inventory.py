"""What the folders of a home say, and what only the registry still knows."""

import shutil

import pytest

from tasks.audit.inventory import Inventory, relative, trouble_with_file, trouble_with_request
from tasks.record.layout import RunLayout
from tests.kit.lineage_homes import LineageHome, random_home


@pytest.fixture
def made(home) -> LineageHome:
    return random_home(home, 1, finetunes=1)


def test_everything_that_was_made_is_found_by_its_digest(made):
    inventory = Inventory(made.home)
    assert inventory.notes == []
    for entry in (*made.datasets, *made.examples, *made.models):
        thing = inventory.things[entry.digest]
        assert (str(thing.folder), thing.manifest.digest) == (entry.path, entry.digest)
        assert trouble_with_request(thing) == ""
    milestone = next(entry for entry in made.models if "milestones" in entry.path)
    assert inventory.things[milestone.digest].inputs["dataset"].digest in {one.digest for one in made.datasets}


def test_a_training_whose_folder_is_gone_is_known_from_its_versions(made):
    whole = Inventory(made.home)
    lost = next(kept for kept in whole.kept if kept.stage.path == RunLayout(made.home, "run-2").pretrain().path)
    assert list(whole.only_registered()) == []
    shutil.rmtree(RunLayout(made.home, "run-2").path)
    inventory = Inventory(made.home)
    (known,) = inventory.only_registered()
    assert (known.stage, known.request.kind, known.made, known.manifest) == (lost.stage, "pretrain", lost.made, None)
    assert known.request.inputs["dataset"].digest == lost.request.inputs["dataset"].digest
    thing = inventory.things[next(iter(known.made))]
    assert "only the registry's copy of its manifest is left" in trouble_with_request(thing)


def test_what_cannot_be_read_is_left_out_and_said(made):
    manifest = made.home / "datasets" / made.datasets[0].path.rpartition("/")[2] / "manifest.json"
    manifest.write_text("{")
    copy = made.home / "mlflow" / "artifacts" / "run-0-1" / "manifest.json"
    copy.write_text("[")
    inventory = Inventory(made.home)
    assert made.datasets[0].digest not in inventory.things
    assert [str(path) for path in (manifest, copy) if any(str(path) in note for note in inventory.notes)] == [
        str(manifest), str(copy),
    ]  # fmt: skip


def test_a_data_set_without_its_request_is_said(made):
    request = made.home / "datasets" / made.datasets[1].path.rpartition("/")[2] / "request.json"
    request.unlink()
    inventory = Inventory(made.home)
    assert made.datasets[1].digest not in inventory.things
    assert f"{request} cannot be read" in inventory.notes[0]


def test_files_are_what_their_manifest_says_or_that_is_said(made):
    thing = Inventory(made.home).things[made.examples[0].digest]
    listing = thing.folder / "sources.json"
    assert trouble_with_file(thing, "sources.json") == ""
    listing.write_text("[]")
    assert trouble_with_file(thing, "sources.json") == f"{listing} is not what its manifest says"
    listing.unlink()
    assert trouble_with_file(thing, "sources.json") == f"{listing} is gone"
    (thing.folder / "other").touch()
    assert trouble_with_file(thing, "other") == f"{thing.folder}/other is not listed in its manifest"


def test_without_a_database_aliases_are_those_of_the_record_and_that_is_said_once(made):
    inventory = Inventory(made.home)
    model = next(name for name in made.versions if name.startswith("tuned"))
    assert inventory.aliases(model) is None and inventory.aliases(model) is None
    assert inventory.holders(model) == {1: ("champion",)}
    assert len(inventory.notes) == 1 and f"nobody knows which versions of {model} there are" in inventory.notes[0]


def test_a_folder_outside_of_the_home_keeps_its_whole_path(tmp_path):
    assert relative(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert relative(tmp_path, tmp_path / "a") == str(tmp_path)
