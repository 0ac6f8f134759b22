"""Files of documents: what was written comes back in batches of bounded size, and half a file is no file."""

import pyarrow as pa
import pytest

from tasks.data.documents import document as documents
from tasks.data.documents.cleaning import text_digest
from tasks.data.documents.document import SCHEMA, Document, DocumentWriter, open_documents, read_batches


def written(path, texts: list[str]) -> DocumentWriter:
    writer = DocumentWriter(path)
    for number, text in enumerate(texts):
        writer.add(Document(text, f"f line {number}", "en" if number % 2 else "", text_digest(text)))
    return writer


def test_documents_come_back_in_order(tmp_path):
    texts = ["naïve", "", "two\nlines", "\U0001f600"]
    writer = written(tmp_path / "a.arrow", texts)
    writer.close()
    assert (writer.num_documents, writer.num_bytes) == (4, sum(len(text.encode()) for text in texts))
    (batch,) = read_batches(tmp_path / "a.arrow")
    assert batch.schema == SCHEMA
    assert batch["text"].to_pylist() == texts
    assert batch["where"].to_pylist() == [f"f line {n}" for n in range(4)]
    assert batch["language"].to_pylist() == ["", "en", "", "en"]
    assert batch["digest"].to_pylist() == [text_digest(text) for text in texts]


@pytest.mark.parametrize(("size", "count", "batches"), [(100, 4096, [4, 4, 2]), (1 << 20, 3, [3, 3, 3, 1])])
def test_a_batch_is_bounded_by_text_and_by_documents(tmp_path, monkeypatch, size, count, batches):
    monkeypatch.setattr(documents, "BATCH_BYTES", size)
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", count)
    written(tmp_path / "a.arrow", ["x" * 25] * 10).close()
    assert [len(batch) for batch in read_batches(tmp_path / "a.arrow")] == batches


def test_an_empty_file_has_no_batches(tmp_path):
    DocumentWriter(tmp_path / "a.arrow").close()
    assert list(read_batches(tmp_path / "a.arrow")) == []


def test_batches_are_views_of_the_file(tmp_path):
    written(tmp_path / "a.arrow", ["some text"] * 1000).close()
    before = pa.total_allocated_bytes()
    with open_documents(tmp_path / "a.arrow") as opened:
        batch = opened.get_batch(0)
        assert len(batch) == 1000
        assert pa.total_allocated_bytes() - before < 5000
        del batch
