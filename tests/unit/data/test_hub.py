"""Hugging Face data sets: a saved one, a folder of files, one from the cache of the hub, and what can be wrong with them."""

import json

import pytest
from datasets import Dataset, DatasetDict

from tests.unit.data.prepared_stages import manifest_of, message_of, sentences

TEXTS = sentences(100)


def shards(result) -> dict[str, str]:
    _, manifest = manifest_of(result)
    return {f.path: f.sha256 for f in manifest.files if f.path.endswith((".bin", ".npy"))}


@pytest.fixture
def expected(prepared, jsonl):
    return shards(prepared({"source": "jsonl", "path": str(jsonl([{"text": text} for text in TEXTS]))}))


def test_a_saved_data_set_and_one_split_of_several(prepared, expected, tmp_path):
    saved = Dataset.from_dict({"text": TEXTS, "n": range(100)})
    saved.save_to_disk(tmp_path / "one")
    assert shards(prepared({"source": "huggingface", "path": str(tmp_path / "one")})) == expected
    DatasetDict({"validation": saved, "test": saved.select([0])}).save_to_disk(tmp_path / "both")
    data = {"source": "huggingface", "path": str(tmp_path / "both")}
    assert shards(prepared(data | {"huggingface_split": "validation"})) == expected
    message = message_of(prepared(data))
    assert "data.huggingface_split='train' is not in" in message
    assert "validation, test" in message


def test_a_folder_of_files(prepared, expected, jsonl, tmp_path):
    (tmp_path / "files").mkdir()
    jsonl([{"text": text} for text in TEXTS], "files/validation.jsonl")
    jsonl([{"text": "another"}], "files/train.jsonl")
    data = {"source": "huggingface", "path": str(tmp_path / "files"), "huggingface_split": "validation"}
    assert shards(prepared(data)) == expected


def test_one_in_the_cache_of_the_hub(prepared, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    cached, commit = tmp_path / "hub" / "datasets--someone--texts", "0123456789abcdef0123456789abcdef01234567"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots" / commit).mkdir(parents=True)
    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (cached / "snapshots" / commit / "train.jsonl").write_text(rows)
    result = prepared({"source": "huggingface", "path": "someone/texts"})
    assert shards(result) == expected
    card = (result[1].path / "data_card.md").read_text()
    assert "Hugging Face data set `someone/texts`" in card
    assert commit in card


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        ('{"body": "a"}\n', {}, "column 'text' is not in"),
        ('{"text": 5}\n', {}, "row 1 column 'text' is int 5"),
        ('{"text": "a"}\n{"text": \n', {}, "cannot be read by datasets after row"),
        ('{"text": "a"}\n', {"huggingface_split": "gone"}, "cannot be read by datasets after row 0"),
        ('{"text": "a"}\n', {"huggingface_config": "gone"}, "cannot be read by datasets after row 0"),
    ],
)
def test_what_is_wrong_is_said_with_the_row(prepared, tmp_path, rows, settings, words):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_text(rows)
    assert words in message_of(prepared({"source": "huggingface", "path": str(tmp_path / "files")} | settings))
