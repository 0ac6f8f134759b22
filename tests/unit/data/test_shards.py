"""Shards as one stream: sequences, labels, positions and bytes, against the same thing computed from the documents."""

import numpy as np
import pytest

from tasks.data.shard_writer import ShardWriter
from tasks.data.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.manifest import Manifest

VOCAB = 70_000
END = 0


def write(folder, documents: list[list[int]], dtype: str, shard_tokens: int) -> Manifest:
    writer = ShardWriter(folder, "train", dtype, shard_tokens)
    for document in documents:
        writer.add(np.array([END, *document]))
    writer.close()
    np.save(folder / TOKEN_BYTES_FILE, np.where(np.arange(VOCAB) == END, 0, np.arange(VOCAB) % 7 + 1).astype(np.uint16))
    assert writer.num_documents == len(documents)
    assert writer.num_tokens == sum(len(document) + 1 for document in documents)
    return Manifest(kind="prepare", request_digest="", details={"dtype": dtype, "shards": {"train": writer.shards}})


@pytest.fixture(params=[("uint16", 10**6), ("uint32", 10**6), ("uint16", 50)], ids=["uint16", "uint32", "many shards"])
def stream(request, tmp_path):
    dtype, shard_tokens = request.param
    random = np.random.default_rng(0)
    highest = 65_536 if dtype == "uint16" else VOCAB
    documents = [random.integers(1, highest, size=n).tolist() for n in [*random.integers(0, 40, size=60), 130, 3]]
    manifest = write(tmp_path, documents, dtype, shard_tokens)
    tokens = [token for document in documents for token in [END, *document]]
    places = [place for document in documents for place in range(len(document) + 1)]
    return tmp_path, manifest, np.array(tokens), np.array(places)


@pytest.mark.parametrize("length", [1, 8, 33])
def test_sequences_labels_and_positions(stream, length):
    folder, manifest, tokens, places = stream
    dataset = TokenDataset(folder, manifest, "train", length)
    assert dataset.num_tokens == len(tokens)
    assert dataset.num_sequences == (len(tokens) - 1) // length
    ids = np.random.default_rng(1).permutation(dataset.num_sequences)
    batch = dataset.read(ids)
    assert batch.input_ids.shape == batch.labels.shape == batch.position_ids.shape == (len(ids), length)
    assert batch.input_ids.dtype == batch.labels.dtype == batch.position_ids.dtype == np.int64
    for row, sample in enumerate(ids):
        start, end = sample * length, (sample + 1) * length
        assert batch.input_ids[row].tolist() == tokens[start:end].tolist()
        assert batch.labels[row].tolist() == tokens[start + 1 : end + 1].tolist()
        expected = [min(int(places[place]), place - start) for place in range(start, end)]
        assert batch.position_ids[row].tolist() == expected


def test_a_shard_ends_at_a_document_boundary(stream):
    folder, manifest, tokens, _ = stream
    shards = manifest.details["shards"]["train"]
    read = [np.fromfile(folder / name, dtype=manifest.details["dtype"]) for name in shards]
    assert np.concatenate(read).tolist() == tokens.tolist()
    starts = [np.load(folder / name.replace(".bin", ".documents.npy")) for name in shards]
    assert all(index.dtype == np.uint64 and index[0] == 0 for index in starts)
    assert all(shard[index.astype(np.int64)].tolist() == [END] * len(index) for shard, index in zip(read, starts, strict=True))
    assert sum(len(index) for index in starts) == (tokens == END).sum()
    if len(shards) > 1:
        assert all(len(shard) <= 50 or len(index) == 1 for shard, index in zip(read, starts, strict=True))


@pytest.mark.parametrize("length", [1, 8, 33])
def test_bytes_are_those_of_the_target_tokens(stream, length, monkeypatch):
    monkeypatch.setattr("tasks.data.shards.COUNT_TOKENS", 7)
    folder, manifest, tokens, _ = stream
    dataset = TokenDataset(folder, manifest, "train", length)
    for count in (0, 1, 5, dataset.num_sequences, dataset.num_sequences + 100):
        targets = tokens[1 : min(count, dataset.num_sequences) * length + 1]
        assert dataset.byte_count(count) == sum(0 if token == END else token % 7 + 1 for token in targets)


def test_a_sample_that_is_not_there_is_refused(stream):
    folder, manifest, *_ = stream
    dataset = TokenDataset(folder, manifest, "train", 8)
    for wrong in (-1, dataset.num_sequences):
        with pytest.raises(IndexError, match=rf"\[0, {dataset.num_sequences}\)"):
            dataset.read(np.array([0, wrong]))


def test_a_text_shorter_than_a_sequence_has_none(tmp_path):
    manifest = write(tmp_path, [[1, 2, 3]], "uint16", 100)
    assert TokenDataset(tmp_path, manifest, "train", 4).num_sequences == 0
    assert TokenDataset(tmp_path, manifest, "train", 3).num_sequences == 1
