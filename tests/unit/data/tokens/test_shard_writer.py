"""Writing shards: where they are cut, and what lies beside them."""

import numpy as np
import pytest

from tasks.data.tokens.shard_writer import ShardWriter, digests_name, index_name, token_dtype

LENGTHS = [3, 5, 1, 12, 10, 10, 4, 4, 3, 25, 1, 1]
DOCUMENTS = [np.arange(length) + 100 * number for number, length in enumerate(LENGTHS)]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
DIGESTS = np.random.default_rng(0).integers(0, 256, (len(LENGTHS), 16), dtype=np.uint8)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_by_one(folder, shard_tokens: int) -> ShardWriter:
    folder.mkdir()
    writer = ShardWriter(folder, "train", "uint16", shard_tokens)
    for document in DOCUMENTS:
        writer.add(document)
    writer.close()
    return writer


def test_the_type_of_a_token_holds_the_vocabulary():
    assert [token_dtype(size) for size in (300, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]


@pytest.mark.parametrize(("shard_tokens", "documents"), [(10, [3, 1, 1, 1, 2, 1, 1, 2]), (22, [4, 2, 3, 1, 2]), (1000, [12])])
def test_a_shard_ends_before_the_document_that_would_not_fit(shard_tokens, documents, tmp_path):
    writer = one_by_one(tmp_path / "shards", shard_tokens)
    assert [len(np.load(writer.folder / index_name(shard))) for shard in writer.shards] == documents
    read = [np.fromfile(writer.folder / shard, dtype="<u2") for shard in writer.shards]
    assert np.concatenate(read).tolist() == np.concatenate(DOCUMENTS).tolist()
    assert all(len(shard) <= shard_tokens or count == 1 for shard, count in zip(read, documents, strict=True))
    assert (writer.num_documents, writer.num_tokens) == (len(LENGTHS), sum(LENGTHS))


@pytest.mark.parametrize("shard_tokens", [10, 22, 1000])
@pytest.mark.parametrize("batch", [1, 5, 12])
def test_batches_give_the_files_that_single_documents_give(shard_tokens, batch, tmp_path):
    one_by_one(tmp_path / "single", shard_tokens)
    (tmp_path / "batches").mkdir()
    writer = ShardWriter(tmp_path / "batches", "train", "uint16", shard_tokens)
    tokens = np.concatenate(DOCUMENTS).astype(np.uint16)
    for first in range(0, len(LENGTHS), batch):
        offsets = OFFSETS[first : first + batch + 1]
        writer.add_batch(tokens, offsets, None)
    writer.close()
    assert contents(tmp_path / "batches") == contents(tmp_path / "single")


def test_digests_follow_their_documents(tmp_path):
    writer = ShardWriter(tmp_path, "heldout", "uint32", 22)
    tokens = np.concatenate(DOCUMENTS)
    for first in range(0, len(LENGTHS), 5):
        writer.add_batch(tokens, OFFSETS[first : first + 6], DIGESTS[first : first + 5])
    writer.close()
    stored = [np.load(tmp_path / digests_name(shard)) for shard in writer.shards]
    assert np.array_equal(np.concatenate(stored), DIGESTS)
    assert [len(digests) for digests in stored] == [len(np.load(tmp_path / index_name(shard))) for shard in writer.shards]
    assert np.fromfile(tmp_path / writer.shards[0], dtype="<u4").tolist() == np.concatenate(DOCUMENTS)[:21].tolist()


def test_nothing_is_written_for_no_documents(tmp_path):
    writer = ShardWriter(tmp_path, "train", "uint16", 10)
    writer.add_batch(np.zeros(0, dtype=np.uint16), np.zeros(1, dtype=np.int64))
    writer.close()
    assert writer.shards == [] and not list(tmp_path.iterdir())
