"""Shards as one stream: sequences, labels, positions and bytes, against the same thing computed from the documents."""

from pathlib import Path

import numpy as np
import pytest

from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.manifest import Manifest

VOCAB = 70_000
END = 0


def write_shards(folder: Path, split: str, documents: list[list[int]], dtype: str, shard_tokens: int) -> list[str]:
    """Names of the shards, each of which ends before the document that would make it too long."""
    shards: list[list[list[int]]] = []
    for document in documents:
        if not shards or sum(map(len, shards[-1])) + len(document) + 1 > shard_tokens:
            shards.append([])
        shards[-1].append([END, *document])
    for number, shard in enumerate(shards):
        np.concatenate(shard).astype(np.dtype(dtype).newbyteorder("<")).tofile(folder / f"{split}-{number:05d}.bin")
        starts = np.cumsum([0, *map(len, shard)])[:-1]
        np.save(folder / f"{split}-{number:05d}.documents.npy", starts.astype("<u8"))
    return [f"{split}-{number:05d}.bin" for number in range(len(shards))]


def write(folder: Path, documents: list[list[int]], dtype: str, shard_tokens: int) -> Manifest:
    shards = write_shards(folder, "train", documents, dtype, shard_tokens)
    write_token_bytes(folder)
    return Manifest(kind="prepare", request_digest="", details={"dtype": dtype, "shards": {"train": shards}})


def write_token_bytes(folder: Path) -> None:
    np.save(folder / TOKEN_BYTES_FILE, np.where(np.arange(VOCAB) == END, 0, np.arange(VOCAB) % 7 + 1).astype(np.uint16))


@pytest.fixture(params=[("uint16", 10**6), ("uint32", 10**6), ("uint16", 50)], ids=["uint16", "uint32", "many shards"])
def stream(request, tmp_path):
    dtype, shard_tokens = request.param
    random = np.random.default_rng(0)
    highest = 65_536 if dtype == "uint16" else VOCAB
    documents = [random.integers(1, highest, size=n).tolist() for n in [*random.integers(0, 40, size=60), 130, 3]]
    manifest = write(tmp_path, documents, dtype, shard_tokens)
    tokens = [token for document in documents for token in [END, *document]]
    places = [place for document in documents for place in range(len(document) + 1)]
    assert len(manifest.details["shards"]["train"]) > 10 or shard_tokens > 50
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


@pytest.mark.parametrize("length", [1, 8, 33])
def test_bytes_are_those_of_the_target_tokens(stream, length, monkeypatch):
    monkeypatch.setattr("tasks.data.tokens.shards.COUNT_TOKENS", 7)
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


@pytest.mark.parametrize("length", [1, 7, 60])
def test_a_row_that_reaches_over_several_shards_is_whole(tmp_path, length):
    documents = [[n + 1] * (n % 5) for n in range(100)]
    tokens = np.concatenate([[END, *document] for document in documents])
    dataset = TokenDataset(tmp_path, write(tmp_path, documents, "uint16", 6), "train", length)
    batch = dataset.read(np.arange(dataset.num_sequences))
    assert batch.input_ids.reshape(-1).tolist() == tokens[: dataset.num_sequences * length].tolist()
    assert batch.labels.reshape(-1).tolist() == tokens[1 : dataset.num_sequences * length + 1].tolist()
    for ids, positions in zip(batch.input_ids.tolist(), batch.position_ids.tolist(), strict=True):
        for column, (token, position) in enumerate(zip(ids, positions, strict=True)):
            assert position == (0 if token == END or column == 0 else positions[column - 1] + 1)


def test_a_batch_is_the_callers_own_and_may_be_empty(stream):
    folder, manifest, tokens, _ = stream
    dataset = TokenDataset(folder, manifest, "train", 8)
    batch = dataset.read(np.array([1, 1]))
    batch.input_ids[:] = -1
    assert dataset.read(np.array([1])).input_ids.tolist() == [tokens[8:16].tolist()]
    assert dataset.read(np.array([], dtype=np.int64)).labels.shape == (0, 8)


SOURCES = {"books": [21, 0, 30, 4], "web": [3, 9, 50, 2, 2], "notes": [12]}


@pytest.fixture
def sources(tmp_path):
    """Documents of three sources; each token tells its source, and one source has nothing held out."""
    entries, concatenated = [], []
    for number, (name, lengths) in enumerate(SOURCES.items()):
        documents = [[100 * (number + 1) + place for place in range(length)] for length in lengths]
        shards = write_shards(tmp_path, f"train-{name}", documents, "uint16", 30)
        concatenated += shards
        entries.append({"name": name, "weight": None, "max_epochs": None, "shards": {"train": shards}})
    heldout = write_shards(tmp_path, "heldout-books", [[7] * 20], "uint16", 30)
    entries[0]["shards"]["heldout"] = heldout
    write_token_bytes(tmp_path)
    details = {"dtype": "uint16", "shards": {"train": concatenated, "heldout": heldout}, "sources": entries}
    return tmp_path, Manifest(kind="prepare", request_digest="", details=details)


@pytest.mark.parametrize("length", [3, 8])
def test_a_sequence_does_not_reach_from_one_source_into_the_next(sources, length):
    folder, manifest = sources
    dataset = TokenDataset(folder, manifest, "train", length, by_source=True)
    lengths = [sum(n + 1 for n in documents) for documents in SOURCES.values()]
    assert dataset.sizes == [(tokens - 1) // length for tokens in lengths]
    assert dataset.num_tokens == sum(lengths)
    batch = dataset.read(np.arange(dataset.num_sequences)[::-1])
    for row, (ids, labels) in enumerate(zip(batch.input_ids, batch.labels, strict=True)):
        source = int(np.searchsorted(np.cumsum(dataset.sizes), dataset.num_sequences - 1 - row, side="right"))
        own = {END, *range(100 * (source + 1), 100 * (source + 2))}
        assert set(ids.tolist()) | set(labels.tolist()) <= own
    whole = TokenDataset(folder, manifest, "train", length)
    assert whole.sizes == [(sum(lengths) - 1) // length]
    first = TokenDataset(folder, manifest, "train", length, by_source=True).read(np.arange(dataset.sizes[0]))
    assert first.input_ids.tolist() == whole.read(np.arange(dataset.sizes[0])).input_ids.tolist()


@pytest.mark.parametrize("count", [0, 1, 20, 24, 1000])
def test_bytes_are_those_of_the_sequences_of_each_source(sources, count):
    folder, manifest = sources
    dataset = TokenDataset(folder, manifest, "train", 4, by_source=True)
    labels = dataset.read(np.arange(min(count, dataset.num_sequences))).labels.reshape(-1).tolist()
    assert dataset.byte_count(count) == sum(0 if token == END else token % 7 + 1 for token in labels)


def test_a_source_may_have_nothing_in_a_split(sources):
    folder, manifest = sources
    assert TokenDataset(folder, manifest, "heldout", 4, by_source=True).sizes == [5, 0, 0]
    assert TokenDataset(folder, manifest, "heldout", 4).sizes == [5]


def test_without_several_sources_there_is_one_stream(stream):
    folder, manifest, *_ = stream
    one, same = (TokenDataset(folder, manifest, "train", 8, by_source=apart) for apart in (False, True))
    assert one.sizes == same.sizes == [one.num_sequences]
