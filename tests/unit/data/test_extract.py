"""From input to document files: files of bounded size, batches of bounded size, counts, and hashes beside them."""

import json
import tracemalloc

import numpy as np
import pytest

from tasks.config.data import LimitsConfig
from tasks.data import extract
from tasks.data.documents import document as documents
from tasks.data.documents.document import read_batches
from tasks.data.extract import batches
from tasks.data.sources.read import RawDocument
from tasks.data.sources.streams import reading_limits
from tasks.record.errors import DataError
from tasks.record.parts import Part
from tests.kit.preparations import do_steps, sentences

FIRST = Part("extract", 0)


def rows(texts: list[str]) -> list[dict]:
    return [{"text": text} for text in texts]


def texts_of(preparation) -> list[str]:
    files = preparation.work.document_files
    return [text for file in files for batch in read_batches(file.path) for text in batch["text"].to_pylist()]


def test_a_part_counts_everything_that_it_read(requested, jsonl):
    path = jsonl(rows([*sentences(20), " "]))
    with path.open("a") as file:
        file.write("{\n")
    preparation = requested({"source": "jsonl", "path": str(path), "limits": {"on_bad_input": "quarantine"}})
    do_steps(preparation, "extract")
    work = preparation.work
    result = work.result(FIRST)
    assert result["counts"] == {
        "read": 22, "kept": 20, "dropped": {"empty": 1}, "quarantined": {"invalid_json": 1},
        "examples": {"empty": [{"where": "rows.jsonl line 21", "beginning": " "}]},
    }  # fmt: skip
    assert texts_of(preparation) == sentences(20)
    (file,) = work.document_files
    assert (file.source, file.documents, file.bytes) == (0, 20, sum(len(text.encode()) for text in sentences(20)))
    assert len(json.loads((work.folder(FIRST) / "quarantine.jsonl").read_text())) == 7
    assert np.load(work.folder(FIRST) / "touched.npy").shape == (0,)


def test_without_bad_rows_there_is_no_quarantine(requested, jsonl):
    preparation = requested({"source": "jsonl", "path": str(jsonl(rows(sentences(9))))})
    do_steps(preparation, "extract")
    assert {path.name for path in preparation.work.folder(FIRST).iterdir()} == {
        "00000.arrow", "00000.keys.npy", "result.json", "touched.npy"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("duplicates", "names"),
    [
        ({"near": False}, {"00000.arrow"}),
        ({"near": True, "paragraphs": True}, {"00000.arrow", "00000.keys.npy", "00000.paragraphs.npy"}),
    ],
)
def test_what_is_compared_by_lies_beside_the_documents(requested, jsonl, duplicates, names):
    preparation = requested({"source": "jsonl", "path": str(jsonl(rows(sentences(9)))), "duplicates": duplicates})
    do_steps(preparation, "extract")
    assert {path.name for path in preparation.work.folder(FIRST).glob("00000*")} == names


def test_a_full_file_is_followed_by_another(requested, jsonl, monkeypatch):
    monkeypatch.setattr(extract, "MEGABYTE", 1000)
    preparation = requested({"source": "jsonl", "path": str(jsonl(rows(sentences(60)))), "part_megabytes": 1})
    do_steps(preparation, "extract")
    files = preparation.work.document_files
    assert len(files) > 3
    assert all(1000 <= file.bytes < 1100 for file in files[:-1])
    assert texts_of(preparation) == sentences(60)


def test_as_many_documents_are_read_as_wanted(requested, jsonl):
    preparation = requested({"source": "jsonl", "path": str(jsonl(rows(["", *sentences(60)]))), "max_documents": 7})
    do_steps(preparation, "extract")
    assert preparation.work.result(FIRST)["counts"]["read"] == 7
    assert texts_of(preparation) == sentences(6)


def test_a_bad_row_ends_it_with_the_place(requested, jsonl):
    path = str(jsonl([*rows(sentences(30)), {"text": 7}]))
    preparation = requested({"source": "jsonl", "path": path})
    with pytest.raises(DataError, match=r"line 31 \(byte \d+\) column 'text' is int 7"):
        do_steps(preparation, "extract")
    assert not preparation.work.folder(FIRST).exists()


def test_files_are_read_where_they_lie_when_they_are_read(requested, jsonl, tmp_path):
    """The plan was made elsewhere: the file was renamed since, or another text lies in its place."""
    texts = sentences(30)
    old = jsonl(rows(texts), "old.jsonl")
    first = requested({"source": "jsonl", "path": str(old)})
    do_steps(first, "plan")
    old.rename(tmp_path / "new.jsonl")
    jsonl(rows(["another text"] * 30), "old.jsonl")
    second = requested({"source": "jsonl", "path": str(tmp_path / "new.jsonl")})
    assert second.stage == first.stage, "the same text is the same data set"
    do_steps(second, "extract")
    assert texts_of(second) == texts


def test_a_file_that_is_gone_since_the_plan_is_said(requested, jsonl, tmp_path):
    (tmp_path / "texts").mkdir()
    for n in range(3):
        jsonl(rows(sentences(30)[10 * n : 10 * n + 10]), f"texts/{n}.jsonl")
    preparation = requested({"source": "jsonl", "path": str(tmp_path / "texts")})
    do_steps(preparation, "plan")
    (tmp_path / "texts" / "1.jsonl").unlink()
    with pytest.raises(DataError, match=r"data\.path='.*texts' has fewer files than when the preparation began; run the same"):
        do_steps(preparation, "extract")


def test_batches_hold_so_many_characters(monkeypatch):
    monkeypatch.setattr(extract, "BATCH_CHARACTERS", 10)
    found = [[d.text for d in batch] for batch in batches(RawDocument(t, "") for t in ("abcdef", "ghij", "k" * 30, "l"))]
    assert found == [["abcdef", "ghij"], ["k" * 30], ["l"]]
    assert list(batches(iter([]))) == []


def test_limits_are_in_bytes():
    limits = reading_limits(LimitsConfig(max_expansion=3.0, max_unpacked_gigabytes=0.5, max_line_megabytes=2))
    assert (limits.max_expansion, limits.max_unpacked_bytes, limits.max_line_bytes) == (3.0, 1 << 29, 1 << 21)


def test_memory_does_not_grow_with_the_corpus(requested, jsonl, monkeypatch):
    monkeypatch.setattr(extract, "BATCH_CHARACTERS", 1 << 16)
    monkeypatch.setattr(documents, "BATCH_BYTES", 1 << 18)
    path = jsonl(rows([f"document {n} " + "some more words " * 200 for n in range(2000)]))
    assert path.stat().st_size > 6_000_000
    preparation = requested({"source": "jsonl", "path": str(path), "duplicates": {"near": False}})
    do_steps(preparation, "plan")
    tracemalloc.start()
    do_steps(preparation, "extract")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000, "what was read and is not yet written, and buffers"
    assert sum(file.documents for file in preparation.work.document_files) == 2000
