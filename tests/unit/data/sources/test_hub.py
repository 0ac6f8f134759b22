"""Hugging Face data sets: a saved one, a folder of files, one from the cache of the hub, and what can be wrong with them."""

import gzip
import json

import pytest
from datasets import Dataset, DatasetDict

from tasks.config.data import TextSource
from tasks.data.finish import SOURCES_FILE
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.read import read_unit
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import input_units
from tasks.record.errors import DataError
from tasks.record.files import read_json
from tasks.record.manifest import Manifest
from tests.kit.reading import read_all

TEXTS = [f"The {n}th text: naïve café" for n in range(100)]


def jsonl(path, texts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_a_saved_data_set_and_one_split_of_several(tmp_path):
    saved = Dataset.from_dict({"text": TEXTS, "n": range(100)})
    saved.save_to_disk(tmp_path / "one")
    found = read_all("huggingface", tmp_path / "one", max_documents=200)
    assert found.texts == TEXTS
    assert found.documents[6].where == "one row 7"
    assert (found.meter.done, found.meter.total) == (100, 200)
    DatasetDict({"validation": saved, "test": saved.select([0])}).save_to_disk(tmp_path / "both")
    assert read_all("huggingface", tmp_path / "both", huggingface_split="validation").texts == TEXTS
    with pytest.raises(DataError, match=r"data\.huggingface_split='train' is not in .*both, which has validation, test; name"):
        read_all("huggingface", tmp_path / "both")


def test_a_folder_of_files(tmp_path):
    jsonl(tmp_path / "files" / "validation.jsonl", TEXTS)
    jsonl(tmp_path / "files" / "train.jsonl", ["another"])
    assert read_all("huggingface", tmp_path / "files", huggingface_split="validation").texts == TEXTS


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Writes texts as a commit of someone/texts into the cache of the hub, which is then the newest one."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "datasets--someone--texts"

    def write(commit, texts):
        jsonl(folder / "blobs" / commit, texts)
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "train.jsonl").symlink_to(folder / "blobs" / commit)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)

    return write


def test_one_in_the_cache_of_the_hub(cached):
    cached("1" * 40, TEXTS)
    given = TextSource(source="huggingface", path="someone/texts", huggingface_revision="1" * 40)
    (unit,) = input_units(given)
    found = read_unit(unit, given, Limits(), Quarantine(None, "fail"), Meter(), {})
    assert [(document.text, document.where) for document in found][:1] == [(TEXTS[0], "someone/texts row 1")]


def test_a_preparation_reads_the_commit_that_it_was_asked_for(prepared, cached):
    cached("1" * 40, TEXTS)
    cached("2" * 40, TEXTS[:50])
    code, stage = prepared({"source": "huggingface", "path": "someone/texts", "huggingface_revision": "1" * 40})
    assert code == 0
    assert Manifest.read(stage.manifest).metrics["read_documents"] == 100
    (source,) = read_json(stage.path / SOURCES_FILE)
    assert [file["version"] for file in source["files"]] == ["1" * 40]


def test_rows_of_another_schema_are_refused_like_any_other(tmp_path):
    saved = Dataset.from_dict({"text": ["good", None, "also good"]})
    saved.save_to_disk(tmp_path / "one")
    found = read_all("huggingface", tmp_path / "one", tmp_path / "quarantine.jsonl")
    assert (found.texts, found.places) == (["good", "also good"], [("no_text", "row 2", None)])
    with pytest.raises(DataError, match=r"one row 2 column 'text' is NoneType None, which is no text"):
        read_all("huggingface", tmp_path / "one")


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        ('{"body": "a"}\n', {}, "row 1 has no column 'text' but 'body'"),
        ('{"text": 5}\n', {}, "row 1 column 'text' is int 5"),
        ('{"text": "a"}\n{"text": \n', {}, "cannot be read by datasets after row"),
        ('{"text": "a"}\n', {"huggingface_split": "gone"}, "cannot be read by datasets after row 0"),
        ('{"text": "a"}\n', {"huggingface_config": "gone"}, "cannot be read by datasets after row 0"),
    ],
)
def test_what_is_wrong_is_said_with_the_row(tmp_path, rows, settings, words):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_text(rows)
    with pytest.raises(DataError) as raised:
        read_all("huggingface", tmp_path / "files", **settings)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("secret", ["../secret.jsonl", "SECRET", "sub/../../secret.jsonl"])
def test_a_data_set_that_names_files_outside_of_itself_is_refused(tmp_path, secret):
    jsonl(tmp_path / "secret.jsonl", ["secret"])
    jsonl(tmp_path / "files" / "sub" / "train.jsonl", ["text"])
    named = secret.replace("SECRET", str(tmp_path / "secret.jsonl"))
    (tmp_path / "files" / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {named}\n---\n")
    with pytest.raises(DataError, match=r"names .*secret\.jsonl, which is no file of the data set; remove it from its README"):
        read_all("huggingface", tmp_path / "files")


def test_files_of_a_data_set_lie_below_the_data_root(tmp_path, monkeypatch):
    jsonl(tmp_path / "secret.jsonl", ["secret"])
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert read_all("huggingface", tmp_path / "files").texts == ["secret"]
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(tmp_path / "files"))
    with pytest.raises(DataError, match=r"train\.jsonl \(that is .*secret\.jsonl\) is a path that leaves the data root"):
        read_all("huggingface", tmp_path / "files")
    with pytest.raises(DataError, match=r"hf://datasets/someone/texts is a path that leaves the data root"):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        read_all("huggingface", "someone/texts")


def test_a_saved_data_set_with_files_elsewhere_is_refused(tmp_path):
    for name in ("one", "other"):
        Dataset.from_dict({"text": [name]}).save_to_disk(tmp_path / name)
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    state["_data_files"] = [{"filename": "../other/data-00000-of-00001.arrow"}]
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"names .*other/data-00000-of-00001\.arrow, which is no file of the data set"):
        read_all("huggingface", tmp_path / "one")


def test_archives_are_looked_at_before_datasets_opens_them(tmp_path):
    (tmp_path / "files").mkdir()
    packed = gzip.compress(b'{"text": "a"}\n' * 1000)
    (tmp_path / "files" / "train.jsonl.gz").write_bytes(packed)
    assert len(read_all("huggingface", tmp_path / "files").texts) == 1000
    with pytest.raises(DataError, match=r"train\.jsonl\.gz unpacks to more than 5000 bytes"):
        read_all("huggingface", tmp_path / "files", limits=Limits(max_unpacked_bytes=5000))
    (tmp_path / "files" / "train.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(DataError, match=r"train\.jsonl\.gz is cut off: its gzip data end in the middle at byte"):
        read_all("huggingface", tmp_path / "files")
