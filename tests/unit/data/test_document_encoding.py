"""A document file becomes shards: every document where it was sent, and counted there."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from tasks.data import documents
from tasks.data.document_encoding import LEFT_OUT, EncodedCounts, encode_file
from tasks.data.documents import Document, DocumentWriter
from tasks.data.encoding import Encoder
from tasks.data.shard_writer import ShardWriter, digests_name
from tasks.data.tokenizer import token_bytes, train_tokenizer
from tests.unit.data.prepared_stages import sentences

TEXTS = [*sentences(40), "日本語", "x", "a <|endoftext|> b", *sentences(70)[40:]]
LANGUAGES = ["en", "ja", ""]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(sentences(300), 400, 10_000_000)


def write_file(path) -> None:
    writer = DocumentWriter(path)
    for number, text in enumerate(TEXTS):
        writer.add(Document(text, str(number), LANGUAGES[number % 3], hashlib.sha256(text.encode()).digest()))
    writer.close()


def encode(folder, trained, destinations: np.ndarray) -> tuple[EncodedCounts, list[ShardWriter], list[int]]:
    folder.mkdir()
    writers = [ShardWriter(folder, split, "uint16", 300) for split in ("train", "heldout")]
    told: list[int] = []
    counts = encode_file(
        folder.parent / "documents.arrow", destinations, Encoder(trained), writers, token_bytes(trained), told.append
    )
    for writer in writers:
        writer.close()
    return counts, writers, told


def test_documents_go_where_they_are_sent(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 16)
    write_file(tmp_path / "documents.arrow")
    destinations = np.random.default_rng(0).choice(np.array([LEFT_OUT, 0, 0, 1], dtype=np.int8), len(TEXTS))
    destinations[32:48] = 0
    counts, writers, told = encode(tmp_path / "shards", trained, destinations)
    assert told == [16, 32, 48, 64, len(TEXTS)]
    for number, writer in enumerate(writers):
        sent = [text for text, to in zip(TEXTS, destinations, strict=True) if to == number]
        ids = [token for text in sent for token in [0, *trained.tokenizer.encode(text, add_special_tokens=False).ids]]
        read = np.concatenate([np.fromfile(tmp_path / "shards" / shard, dtype="<u2") for shard in writer.shards])
        assert read.tolist() == ids
        digests = np.concatenate([np.load(tmp_path / "shards" / digests_name(shard)) for shard in writer.shards])
        assert [row.tobytes() for row in digests] == [hashlib.sha256(text.encode()).digest()[:16] for text in sent]
        assert counts.splits[writer.split] == {
            "documents": len(sent),
            "characters": sum(map(len, sent)),
            "bytes": sum(len(text.encode()) for text in sent),
            "tokens": len(ids),
        }
    kept = [number for number, to in enumerate(destinations) if to != LEFT_OUT]
    assert counts.table_bytes == sum(len(TEXTS[number].encode()) for number in kept)
    assert counts.languages == Counter(LANGUAGES[number % 3] for number in kept)
    assert counts.lengths == Counter(len(TEXTS[number]).bit_length() for number in kept)
    stored = counts.to_json()
    assert stored["lengths"] == {str(digits): number for digits, number in sorted(counts.lengths.items())}
    assert stored["splits"]["train"]["documents"] + stored["splits"]["heldout"]["documents"] == len(kept)


def test_batches_make_no_difference(trained, tmp_path, monkeypatch):
    destinations = np.zeros(len(TEXTS), dtype=np.int8)
    found = []
    for number, size in enumerate((7, 4096)):
        monkeypatch.setattr(documents, "BATCH_DOCUMENTS", size)
        write_file(tmp_path / "documents.arrow")
        counts, _, _ = encode(tmp_path / str(number), trained, destinations)
        found.append((counts, {path.name: path.read_bytes() for path in (tmp_path / str(number)).iterdir()}))
    assert found[0] == found[1]


def test_a_split_without_documents_has_no_files(trained, tmp_path):
    write_file(tmp_path / "documents.arrow")
    counts, writers, _ = encode(tmp_path / "shards", trained, np.full(len(TEXTS), LEFT_OUT))
    assert [writer.shards for writer in writers] == [[], []]
    assert counts == EncodedCounts({"train": Counter(), "heldout": Counter()})


def test_as_many_destinations_as_documents(trained, tmp_path):
    write_file(tmp_path / "documents.arrow")
    with pytest.raises(AssertionError, match=f"has {len(TEXTS)} documents, and {len(TEXTS) + 1} destinations"):
        encode(tmp_path / "shards", trained, np.zeros(len(TEXTS) + 1, dtype=np.int8))
