"""The cut of the input into parts: by size, in the order of the sources, a part of one source; and what is passed over."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tasks.data.sources.compression import zstd
from tasks.record.errors import DataError
from tasks.record.parts import Part
from tests.kit.preparations import card_of, do_steps, kept_texts, manifest_of, sentences


def planned(preparation) -> list[list[dict]]:
    do_steps(preparation, "plan")
    return preparation.work.plan


def big(jsonl, name: str, megabytes: float) -> str:
    return str(jsonl([{"text": "x" * 1000}] * int(megabytes * 1000), name))


def test_small_files_of_a_source_share_a_part(requested, jsonl, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(5):
        big(jsonl, f"many/{number}.jsonl", 0.4)
    other = {"name": "other", "source": "jsonl", "path": big(jsonl, "other.jsonl", 0.1)}
    data = {"source": "jsonl", "path": str(tmp_path / "many"), "part_megabytes": 1, "mixture": [other]}
    parts = planned(requested(data))
    assert [[(unit["source"], unit["name"]) for unit in part] for part in parts] == [
        [(0, "0.jsonl"), (0, "1.jsonl")],
        [(0, "2.jsonl"), (0, "3.jsonl")],
        [(0, "4.jsonl")],
        [(1, "other.jsonl")],
    ]


def test_a_large_file_is_cut(requested, jsonl):
    path = big(jsonl, "large.jsonl", 3.5)
    parts = planned(requested({"source": "jsonl", "path": path, "part_megabytes": 1}))
    spans = [(unit["start"], unit["end"]) for part in parts for unit in part]
    assert len(parts) == len(spans) == 4
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == Path(path).stat().st_size


def test_a_number_of_documents_is_read_in_one_part(requested, jsonl):
    path = big(jsonl, "large.jsonl", 3.5)
    parts = planned(requested({"source": "jsonl", "path": path, "part_megabytes": 1, "max_documents": 5}))
    assert [len(part) for part in parts] == [4]


def test_the_sample_is_one_part(requested):
    assert [[unit["kind"] for unit in part] for part in planned(requested({"source": "sample"}))] == [["sample"]]


def test_earlier_data_sets_come_first_a_shard_each(prepared, requested, jsonl):
    path = str(jsonl([{"text": text} for text in sentences(60)]))
    earlier, manifest = manifest_of(prepared({"source": "jsonl", "path": path}))
    data = {"source": "jsonl", "path": path, "duplicates": {"against": [str(earlier.path)]}}
    preparation = requested(data)
    parts = planned(preparation)
    shards = [name for split in ("train", "heldout") for name in manifest.details["shards"][split]]
    assert parts[:-1] == [[{"source": -1, "dataset": str(earlier.path), "shard": name}] for name in shards]
    assert parts[-1][0]["source"] == 0
    assert preparation.work.parts("extract") == [Part("extract", n) for n in range(3)]


def test_what_is_not_read_is_named_in_the_card_and_the_log(prepared, tmp_path, caplog):
    texts = sentences(60)
    folder = tmp_path / "mixed"
    (folder / ".cache").mkdir(parents=True)
    rows = ["".join(json.dumps({"text": text}) + "\n" for text in texts[n : n + 20]).encode() for n in (0, 20, 40)]
    (folder / "a.jsonl").write_bytes(rows[0])
    (folder / "b.json").write_text('{"text": "from the json file"}')
    (folder / "c.jsonl.zst").write_bytes(zstd.compress(rows[1]))
    (folder / "d.JSONL.GZ").write_bytes(gzip.compress(rows[2]))
    (folder / "door").symlink_to(tmp_path)
    result = manifest_of(prepared({"source": "jsonl", "path": str(folder), "heldout_fraction": 0.2}))
    assert kept_texts(result) == set(texts)
    card = card_of(result[0])
    for name, why in (("b.json", "its ending is none"), (".cache/", "hidden"), ("door/", "a link to a folder")):
        assert f"| `sample` | `{name}` | {why}" in card
        assert f"sample: not read: {name} ({why}" in caplog.text


def test_other_splits_of_a_hub_layout_are_never_trained_on(prepared, tmp_path):
    (tmp_path / "data").mkdir()
    for name, texts in (
        ("train-00000-of-00002", sentences(60)[:30]), ("train-00001-of-00002", sentences(60)[30:]),
        ("test-00000-of-00001", ["the test"]), ("validation-00000-of-00001", ["the validation"]),
    ):  # fmt: skip
        pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "data" / f"{name}.parquet")
    for path in (tmp_path, tmp_path / "data", tmp_path / "data" / "*.parquet"):
        result = manifest_of(prepared({"source": "parquet", "path": str(path), "heldout_fraction": 0.2}))
        assert kept_texts(result) == set(sentences(60))
        assert "test-00000-of-00001.parquet` | the test split, which is not trained on;" in card_of(result[0])
    (tmp_path / "only").mkdir()
    (tmp_path / "data" / "test-00000-of-00001.parquet").rename(tmp_path / "only" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"has nothing to train on: test-00000-of-00001\.parquet are test or validation splits"):
        prepared({"source": "parquet", "path": str(tmp_path / "only")})
