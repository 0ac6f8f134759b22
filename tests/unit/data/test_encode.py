"""A part of the encoding: shards of both splits, what is in them, and what training shares with the held-out text."""

import numpy as np
import pytest

from tasks.data import extract
from tasks.data.documents.cleaning import is_held_out, text_digest
from tasks.record.parts import Part
from tests.kit.preparations import do_steps, documents_of, manifest_of, sentences, stories

FIRST = Part("encode", 0)


@pytest.fixture
def encoded(requested, jsonl):
    def run(texts: list[str], **data):
        given = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "heldout_fraction": 0.3} | data
        preparation = requested(given)
        do_steps(preparation, "encode")
        return preparation.work

    return run


def test_a_part_says_what_it_wrote(encoded):
    texts = sentences(80)
    work = encoded([*texts, texts[0]])
    result, folder = work.result(FIRST), work.folder(FIRST)
    held_out = [text for text in texts if is_held_out(text_digest(text), 0.3)]
    assert result["splits"]["heldout"]["documents"] == len(held_out)
    assert result["splits"]["heldout"]["characters"] == sum(map(len, held_out))
    assert result["splits"]["train"]["bytes"] == sum(len(text.encode()) for text in texts if text not in held_out)
    assert result["table_bytes"] == sum(len(text.encode()) for text in texts)
    assert result["shards"] == {"train": ["train-00000.bin"], "heldout": ["heldout-00000.bin"]}
    assert (folder / "train-00000.bin").stat().st_size == 2 * result["splits"]["train"]["tokens"]
    digests = np.load(folder / "heldout-00000.digests.npy")
    assert [row.tobytes() for row in digests] == [text_digest(text)[:16] for text in held_out]
    assert len(np.load(folder / "heldout-00000.documents.npy")) == len(held_out)
    assert result["blank"] == 0
    assert sum(result["lengths"].values()) == sum(result["languages"].values()) == 80


def test_a_part_of_one_split_has_no_shard_of_the_other(encoded):
    train = [text for text in sentences(60) if not is_held_out(text_digest(text), 0.3)]
    work = encoded(train)
    assert work.result(FIRST)["shards"] == {"train": ["train-00000.bin"], "heldout": []}
    assert work.result(FIRST)["splits"]["heldout"].get("documents", 0) == 0
    assert not list(work.folder(FIRST).glob("heldout-*"))


def test_held_out_ngrams_are_looked_for_in_training_text_alone(encoded):
    work = encoded(stories(60))
    seen = np.load(work.folder(FIRST) / "heldout_seen.npy")
    assert seen.shape == np.load(work.folder(Part("tokenizer", 0)) / "heldout_ngrams.npy").shape
    assert seen.size
    assert not seen.any(), "no sentence is in two documents"


def test_what_paragraphs_leave_nothing_of_is_counted_and_not_written(encoded):
    texts = [text for text in stories(90, 2) if len(text) >= 100][:40]
    work = encoded([*texts, f"{texts[3]}\n\n{texts[9]}"], duplicates={"near": False, "paragraphs": True})
    result = work.result(FIRST)
    assert result["blank"] == 1
    assert sum(split["documents"] for split in result["splits"].values()) == 40


def test_every_document_file_is_a_part_whose_shards_are_numbered_on(prepared, jsonl, monkeypatch):
    monkeypatch.setattr(extract, "MEGABYTE", 1800)
    texts = sentences(100)
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "heldout_fraction": 0.3, "part_megabytes": 1}
    result = stage, manifest = manifest_of(prepared(data))
    shards = manifest.details["shards"]["train"]
    assert len(shards) == 4
    assert shards == [f"train-{n:05d}.bin" for n in range(4)]
    held_out = [text for text in texts if is_held_out(text_digest(text), 0.3)]
    assert documents_of(result, "heldout") == held_out
    assert documents_of(result, "train") == [text for text in texts if text not in held_out]
    monkeypatch.undo()
    whole = manifest_of(prepared(data | {"name": "whole"}))
    for split in ("train", "heldout"):
        names = manifest.details["shards"][split]
        assert b"".join((stage.path / name).read_bytes() for name in names) == b"".join(
            (whole[0].path / name).read_bytes() for name in whole[1].details["shards"][split]
        )
