"""Documents become shards: in their order, with their digests, and counted by split, language and length."""

import hashlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.document import Document, DocumentWriter, read_batches
from tasks.data.tokens.document_encoding import EncodedCounts, write_batch
from tasks.data.tokens.encoding import Encoder
from tasks.data.tokens.shard_writer import ShardWriter, digests_name
from tasks.data.tokens.tokenizer import token_bytes, train_tokenizer
from tests.kit.preparations import sentences

TEXTS = [*sentences(40), "日本語", "x", "a <|endoftext|> b", *sentences(70)[40:]]
LANGUAGES = ["en", "ja", ""]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(sentences(300), 400, 10_000_000)


@pytest.fixture
def batch(tmp_path) -> pa.RecordBatch:
    writer = DocumentWriter(tmp_path / "documents.arrow")
    for number, text in enumerate(TEXTS):
        writer.add(Document(text, str(number), LANGUAGES[number % 3], hashlib.sha256(text.encode()).digest()))
    writer.close()
    return next(read_batches(tmp_path / "documents.arrow"))


def new_counts() -> EncodedCounts:
    return EncodedCounts({"train": Counter(), "heldout": Counter()})


def test_documents_of_both_splits(trained, batch, tmp_path):
    held_out = np.random.default_rng(0).random(len(TEXTS)) < 0.3
    encoder, counts, table = Encoder(trained), new_counts(), token_bytes(trained)
    for split, chosen in (("train", ~held_out), ("heldout", held_out)):
        writer = ShardWriter(tmp_path, split, encoder.dtype.name, 300)
        write_batch(batch.filter(pa.array(chosen)), encoder, writer, table, counts)
        writer.close()
        sent = [text for text, here in zip(TEXTS, chosen, strict=True) if here]
        ids = [token for text in sent for token in [0, *trained.tokenizer.encode(text, add_special_tokens=False).ids]]
        assert np.concatenate([np.fromfile(tmp_path / shard, dtype="<u2") for shard in writer.shards]).tolist() == ids
        digests = np.concatenate([np.load(tmp_path / digests_name(shard)) for shard in writer.shards])
        assert [row.tobytes() for row in digests] == [hashlib.sha256(text.encode()).digest()[:16] for text in sent]
        assert counts.splits[split] == {
            "documents": len(sent),
            "characters": sum(map(len, sent)),
            "bytes": sum(len(text.encode()) for text in sent),
            "tokens": len(ids),
        }
    assert counts.table_bytes == sum(len(text.encode()) for text in TEXTS)
    assert counts.languages == Counter(LANGUAGES[number % 3] for number in range(len(TEXTS)))
    assert counts.lengths == Counter(len(text).bit_length() for text in TEXTS)


@pytest.mark.parametrize("size", [1, 7, 50])
def test_slices_of_a_batch_make_no_difference(size, trained, batch, tmp_path):
    found = []
    for name, step in (("whole", len(TEXTS)), ("slices", size)):
        (tmp_path / name).mkdir()
        encoder, counts = Encoder(trained), new_counts()
        writer = ShardWriter(tmp_path / name, "train", encoder.dtype.name, 300)
        for first in range(0, len(TEXTS), step):
            write_batch(batch.slice(first, step), encoder, writer, token_bytes(trained), counts)
        writer.close()
        found.append((counts, {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}))
    assert found[0] == found[1]
    assert len(found[0][1]) > 6


def test_counts_as_json(trained, batch, tmp_path):
    counts = new_counts()
    write_batch(
        batch.slice(0, 2), Encoder(trained), ShardWriter(tmp_path, "train", "uint16", 300), token_bytes(trained), counts
    )
    stored = counts.to_json()
    assert stored["splits"]["train"]["documents"] == 2 and stored["splits"]["heldout"] == {}
    assert (stored["languages"], stored["lengths"]) == ({"en": 1, "ja": 1}, {"6": 2})
    assert stored["table_bytes"] == stored["splits"]["train"]["bytes"]
