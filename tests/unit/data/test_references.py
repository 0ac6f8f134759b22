"""Documents of an earlier data set come back from its shards exactly."""

import pytest

from tasks.data import references
from tasks.data.documents.cleaning import text_digest
from tasks.data.references import read_reference
from tests.kit.preparations import documents_of, manifest_of, sentences


def test_documents_come_back_as_they_were(prepared, jsonl, monkeypatch):
    monkeypatch.setattr(references, "DECODED_DOCUMENTS", 7)
    texts = [*sentences(60), "a special <|endoftext|> in the text", "  spaces   inside\n\nand lines", "\U0001f600 naïve"]
    data = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "heldout_fraction": 0.3}
    result = stage, manifest = manifest_of(prepared(data))
    found = []
    for split in ("train", "heldout"):
        for shard in manifest.details["shards"][split]:
            documents = list(read_reference(stage.path, shard))
            assert [document.text for document in documents] == documents_of(result, split)
            assert documents[1].where == f"{stage.path.name}/{shard} document 1"
            found += documents
    assert {document.text for document in found} == {text.strip() for text in texts}
    assert all(document.digest == text_digest(document.text) for document in found)


def test_a_shard_that_is_gone_is_noticed(prepared, jsonl):
    stage, _ = manifest_of(prepared({"source": "jsonl", "path": str(jsonl([{"text": t} for t in sentences(60)]))}))
    with pytest.raises(FileNotFoundError):
        list(read_reference(stage.path, "train-00009.bin"))
