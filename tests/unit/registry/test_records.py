"""The records of versions: those of this store, readable, with the last decision about their very model."""

import pytest

from tasks.record.manifest import Input, Manifest
from tasks.registry.records import VersionRecord, keep_decision, newer_decision, record_file, version_records, write_record


def record(key: str = "demo@a", **changes: object) -> VersionRecord:
    values = {"state": "done", "store": "local", "key": key, "folder": "/x", "model": "demo", "version": 1}
    return VersionRecord(**values | {"tags": {"digest": "a" * 64}} | changes)


def decision(day: int, digest: str = "a" * 64) -> Manifest:
    inputs = {"candidate": Input(path="/x", digest=digest)}
    return Manifest(kind="evaluate", request_digest="r", inputs=inputs, created_at=f"2030-01-{day:02d}T00:00:00+00:00")


def test_records_are_those_of_done_registrations_in_this_store(tmp_path, monkeypatch, caplog):
    write_record(tmp_path, record())
    write_record(tmp_path, record("demo@b", state="intent"))
    write_record(tmp_path, record("demo@c", store="http://elsewhere:1"))
    write_record(tmp_path, record("demo-two@a"))
    record_file(tmp_path, "demo@d").write_text('{"state": "done"}')
    assert [found.key for found in version_records(tmp_path, "demo")] == ["demo@a"]
    assert "demo@d.json cannot be read" in caplog.text and "registering its model again writes it anew" in caplog.text
    assert record_file(tmp_path, "demo@a").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:1")
    assert [found.key for found in version_records(tmp_path, "demo")] == ["demo@c"]
    assert version_records(tmp_path, "nothing") == []


@pytest.mark.parametrize(
    ("known", "new", "kept"),
    [
        (None, None, None),
        (None, decision(1), decision(1)),
        (decision(1), decision(2), decision(2)),
        (decision(2), decision(1), decision(2)),
        (decision(1), None, decision(1)),
        (decision(1), decision(2, "b" * 64), decision(1)),
        (None, decision(1).model_copy(update={"inputs": {}}), None),
    ],
)
def test_the_last_decision_about_the_very_model_counts(known, new, kept):
    assert newer_decision(record(decision=known), new) == kept


def test_a_decision_is_kept_with_the_version_that_it_is_about(tmp_path):
    write_record(tmp_path, record())
    write_record(tmp_path, record("demo@b", tags={"digest": "b" * 64}))
    keep_decision(tmp_path, "demo", decision(1, "b" * 64))
    assert [found.decision for found in version_records(tmp_path, "demo")] == [None, decision(1, "b" * 64)]
