"""Finding digests in memory-mapped files."""

import json

import numpy as np
import pytest

from tasks.audit import lineage_search
from tasks.audit.lineage_search import rows_of, source_places
from tasks.record.errors import IntegrityError
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest


def test_every_row_of_a_digest_is_found_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(lineage_search, "CHUNK_DOCUMENTS", 7)
    rows = np.random.default_rng(0).integers(0, 256, (100, 16), dtype=np.uint8)
    rows[[6, 7, 99]] = rows[50]
    rows[20, :8] = rows[50, :8]
    rows[21, 8:] = rows[50, 8:]
    np.save(tmp_path / "a.npy", rows)
    assert rows_of(tmp_path / "a.npy", rows[50].tobytes() + bytes(16)) == [6, 7, 50, 99]
    assert rows_of(tmp_path / "a.npy", bytes(32)) == []


def test_a_shard_without_documents_has_none(tmp_path):
    np.save(tmp_path / "a.npy", np.empty((0, 16), dtype=np.uint8))
    assert rows_of(tmp_path / "a.npy", bytes(32)) == []


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "zoo"}]'])
def test_a_damaged_list_of_files_is_named(tmp_path, content):
    (tmp_path / "sources.json").write_text(content)
    manifest = Manifest(kind="prepare", request_digest="r", details={"sources": [{"name": "zoo", "documents": 1}]})
    with pytest.raises(IntegrityError, match=r"sources\.json cannot be read .*; prepare the data set again"):
        source_places(StageLayout(tmp_path), manifest, "0" * 64)


def test_the_sample_is_known_by_its_digest(tmp_path):
    manifest = Manifest(
        kind="examples", request_digest="r", details={"source": {"sample": "w", "version": "1", "sha256": "ab"}}
    )
    assert [found.split for found in source_places(StageLayout(tmp_path), manifest, "ab")] == ["train", "test"]
    assert source_places(StageLayout(tmp_path), manifest, "cd") == []


def test_files_of_which_no_digest_was_kept_are_no_answer(tmp_path):
    details = {"sources": [{"name": "bucket", "documents": 1}], "source": {"files": 3, "sha256": "ab"}}
    manifest = Manifest(kind="prepare", request_digest="r", details=details)
    with pytest.raises(
        IntegrityError, match="was made from 3 files of which only one digest over all was kept, so nobody knows"
    ):
        source_places(StageLayout(tmp_path), manifest, "0" * 64)
    files = [{"name": "a", "sha256": None, "version": "1"}, {"name": "b", "sha256": "0" * 64}]
    (tmp_path / "sources.json").write_text(json.dumps([{"name": "bucket", "files": files}]))
    assert [found.place for found in source_places(StageLayout(tmp_path), manifest, "0" * 64)] == ["bucket: b"] * 2
    with pytest.raises(IntegrityError, match="was made from 1 remote files whose SHA-256 is not known, so nobody knows"):
        source_places(StageLayout(tmp_path), manifest, "1" * 64)
