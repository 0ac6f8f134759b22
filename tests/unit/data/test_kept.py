"""The documents that de-duplication leaves, batch by batch, and the side of the split each one is on."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents import document as documents
from tasks.data.documents.cleaning import is_held_out, text_digest
from tasks.data.documents.document import SCHEMA
from tasks.data.kept import digests_of, document_numbers, held_out_mask, is_blank, kept_batches
from tests.kit.preparations import do_steps, manifest_of, sentences, stories


def batch_of(texts: list[str]) -> pa.RecordBatch:
    columns = [texts, [""] * len(texts), [""] * len(texts), [text_digest(text) for text in texts]]
    return pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.4999])
def test_the_split_is_that_of_single_digests(fraction):
    digests = [hashlib.sha256(str(n).encode()).digest() for n in range(2000)]
    digests += [bytes(32), b"\xff" * 32, b"\x80" + bytes(31)]
    found = held_out_mask(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32), fraction)
    assert found.tolist() == [is_held_out(digest, fraction) for digest in digests]


def test_digests_of_a_slice_are_its_own():
    batch = batch_of(sentences(10))
    assert [bytes(row) for row in digests_of(batch.slice(3, 4))] == [text_digest(text) for text in sentences(10)[3:7]]


def test_what_has_no_text_is_blank():
    assert is_blank(batch_of(["a", "", " ", ""])).tolist() == [False, True, False, True]


def test_every_batch_has_its_own_marks(requested, jsonl, monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 7)
    texts = stories(40)
    rows = [text for number, text in enumerate(texts) for text in ([text, texts[0]] if number % 3 == 2 else [text])]
    preparation = requested({"source": "jsonl", "path": str(jsonl([{"text": t} for t in rows])), "heldout_fraction": 0.3})
    do_steps(preparation, "deduplicate")
    batches = list(kept_batches(preparation, 0))
    assert len(batches) > 5
    found = [pair for batch, mask in batches for pair in zip(batch["text"].to_pylist(), mask.tolist(), strict=True)]
    assert found == [(text, is_held_out(text_digest(text), 0.3)) for text in texts]


def test_paragraphs_are_cut_in_the_right_document_of_every_batch(requested, jsonl, monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 3)
    texts = stories(60, 2)
    rows = [f"{text}\n\n{texts[0]}" if number % 4 == 3 else text for number, text in enumerate(texts)]
    path, duplicates = str(jsonl([{"text": t} for t in rows])), {"near": False, "paragraphs": True}
    preparation = requested({"source": "jsonl", "path": path, "duplicates": duplicates})
    do_steps(preparation, "deduplicate")
    batches = [batch for batch, _ in kept_batches(preparation, 0)]
    assert [text for batch in batches for text in batch["text"].to_pylist()] == texts
    assert [bytes(row) for batch in batches for row in digests_of(batch)] == [text_digest(text) for text in rows]


def test_documents_of_earlier_data_sets_are_passed_over(prepared, requested, jsonl):
    path = str(jsonl([{"text": text} for text in sentences(60)]))
    earlier, _ = manifest_of(prepared({"source": "jsonl", "path": path}))
    more = str(jsonl([{"text": text} for text in sentences(70)], "more.jsonl"))
    preparation = requested({"source": "jsonl", "path": more, "duplicates": {"against": [str(earlier.path)]}})
    do_steps(preparation, "deduplicate")
    assert document_numbers(preparation) == [2]
    assert [t for batch, _ in kept_batches(preparation, 2) for t in batch["text"].to_pylist()] == sentences(70)[60:]
