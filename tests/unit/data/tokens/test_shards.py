"""Shards as one stream: sequences, labels, positions and bytes, against the same thing computed from the documents."""

import multiprocessing
import re
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.errors import IntegrityError
from tasks.record.files import file_entries
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


def made(folder: Path) -> Manifest:
    """Two shards of 60 tokens, with a manifest that lists every file."""
    manifest = write(folder, [[5] * 19] * 6, "uint16", 60)
    files = [path for path in folder.iterdir() if path.suffix in (".bin", ".npy")]
    return manifest.model_copy(update={"files": file_entries(folder, files)})


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("name", "size"),
    [("train-00001.bin", 60), ("train-00001.bin", 59), ("train-00001.bin", 0), ("train-00000.documents.npy", 140),
     ("train-00000.documents.npy", 20), ("train-00000.documents.npy", 0), ("token_bytes.npy", 1000)],
)  # fmt: skip
def test_a_file_that_was_cut_is_named_before_anything_is_read(tmp_path: Path, name: str, size: int, listed: bool) -> None:
    manifest = made(tmp_path)
    entry = next(entry for entry in manifest.files if entry.path == name)
    cut(tmp_path / name, size)
    with pytest.raises(IntegrityError) as error:
        TokenDataset(tmp_path, manifest if listed else manifest.model_copy(update={"files": ()}), "train", 8)
    sentence = str(error.value)
    assert sentence.endswith("; it is damaged, restore it or make it again")
    if listed:
        assert sentence.startswith(f"{tmp_path / name} has {size} bytes and its manifest says {entry.size_bytes}")
    elif (name, size) == ("train-00001.bin", 60):
        assert sentence.startswith(
            f"{tmp_path}/train-00001.documents.npy begins a document at place 40 of 30 in train-00001.bin"
        )
    else:
        assert sentence.startswith(f"{tmp_path / name} cannot be read as an array (")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.documents.npy", "token_bytes.npy"])
def test_a_file_that_is_gone_is_named(tmp_path: Path, name: str, listed: bool) -> None:
    manifest = made(tmp_path)
    (tmp_path / name).unlink()
    reason = (
        "is listed in the manifest and does not exist" if listed else "cannot be read as an array (No such file or directory)"
    )
    with pytest.raises(IntegrityError, match=re.escape(f"{tmp_path / name} {reason}; ")):
        TokenDataset(tmp_path, manifest if listed else manifest.model_copy(update={"files": ()}), "train", 8)


@pytest.mark.parametrize("values", [np.zeros((2, 2), dtype="<u8"), np.zeros(2, dtype="<u4"), np.array([0, 2**63], dtype="<u8")])
def test_an_index_of_something_else_is_refused(tmp_path: Path, values: np.ndarray) -> None:
    manifest = made(tmp_path).model_copy(update={"files": ()})
    np.save(tmp_path / "train-00001.documents.npy", values)
    with pytest.raises(
        IntegrityError,
        match=r"train-00001\.documents\.npy (is an array of|begins a document at place 9223372036854775808 of \d+ in)",
    ):
        TokenDataset(tmp_path, manifest, "train", 8)


def test_no_bit_of_an_index_header_ends_in_anything_but_its_name(tmp_path: Path) -> None:
    manifest, path = made(tmp_path).model_copy(update={"files": ()}), tmp_path / "train-00000.documents.npy"
    intact, refused = path.read_bytes(), 0
    for bit in range(8 * 128):
        content = bytearray(intact)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            TokenDataset(tmp_path, manifest, "train", 8).read(np.array([0, 7]))
        except IntegrityError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 500


def read_after_a_cut(folder: str, name: str, answer: Connection) -> None:
    """In a process of its own: reading what is gone from a mapped file would end it."""
    path = Path(folder)
    dataset = TokenDataset(path, made(path), "train", 8)
    whole = dataset.read(np.array([9])).input_ids.tolist()
    cut(path / name, 0)
    try:
        dataset.read(np.array([9]))
    except IntegrityError as error:
        answer.send((whole, str(error)))


@pytest.mark.parametrize("name", ["train-00001.bin", "train-00001.documents.npy"])
def test_a_file_that_is_cut_while_it_is_mapped_ends_in_a_sentence_and_no_bus_error(tmp_path: Path, name: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=read_after_a_cut, args=(str(tmp_path), name, theirs))
    process.start()
    theirs.close()
    process.join(60)
    assert process.exitcode == 0
    whole, sentence = ours.recv()
    assert whole == [[5] * 8]
    assert re.fullmatch(
        re.escape(str(tmp_path / name)) + r" has 0 bytes and had \d+ when it was opened; it is damaged, .*", sentence
    )


def test_a_token_that_is_no_entry_of_the_vocabulary_is_named_with_its_place(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    np.save(tmp_path / "token_bytes.npy", np.ones(6, dtype=np.uint16))
    manifest = manifest.model_copy(update={"files": ()})
    assert TokenDataset(tmp_path, manifest, "train", 8).read(np.arange(14)).labels.max() == 5
    tokens = np.fromfile(tmp_path / "train-00001.bin", dtype="<u2")
    tokens[12] = 6
    tokens.tofile(tmp_path / "train-00001.bin")
    dataset = TokenDataset(tmp_path, manifest, "train", 8)
    sentence = r"train-00001\.bin has the token 6 at place 12, and the vocabulary ends at 5; it is damaged, restore it"
    for ids in ([9], [8, 9], range(14)):
        with pytest.raises(IntegrityError, match=sentence):
            dataset.read(np.array(ids))
    assert dataset.read(np.arange(8)).labels.max() == 5
    with pytest.raises(IntegrityError, match=sentence):
        dataset.byte_count(14)


def test_starts_that_are_not_sorted_leave_no_position_without_a_value(tmp_path: Path) -> None:
    manifest = made(tmp_path).model_copy(update={"files": ()})
    for starts in ([0, 50, 10], [30, 2**62, 40], [0, 2**63 + 9, 20], [59, 0, 0]):
        np.save(tmp_path / "train-00000.documents.npy", np.array(starts, dtype="<u8"))
        dataset = TokenDataset(tmp_path, manifest, "train", 8)
        for positions in dataset.read(np.arange(dataset.num_sequences)).position_ids.tolist():
            assert positions[0] == 0 and all(b in (0, a + 1) for a, b in pairwise(positions))
