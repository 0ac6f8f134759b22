"""Which examples an earlier set did not have."""

import json

import pytest

from tasks.data.example_ids import example_ids, ids_sha256, new_examples
from tasks.record.errors import IntegrityError
from tests.kit.preparations import manifest_of, sentences


def rows(count: int) -> list[dict]:
    return [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(sentences(count))]


def test_examples_that_came_since_are_counted_on_both_sides(examples, jsonl):
    old, before = manifest_of(examples("classification", source="jsonl", path=str(jsonl(rows(200), "old.jsonl"))))
    changed = [*rows(260)[10:], {"text": rows(1)[0]["text"], "label": "b"}]
    new, after = manifest_of(examples("classification", source="jsonl", path=str(jsonl(changed, "new.jsonl"))))
    assert new_examples(old.path, new.path) == 60
    assert new_examples(new.path, old.path) == 9, "ten were taken out, and one of them came back with another label"
    assert new_examples(old.path, old.path) == 0
    assert before.details["example_ids_sha256"] == ids_sha256(example_ids(old.path)) != after.details["example_ids_sha256"]


def test_a_set_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"id": "1"}) + "\n")
    with pytest.raises(IntegrityError, match=r"test\.jsonl cannot be read \(.*\); prepare it again"):
        example_ids(tmp_path)
    (tmp_path / "test.jsonl").write_text('{"text": "no id"}\n')
    with pytest.raises(IntegrityError, match=r"test\.jsonl cannot be read \('id'\); prepare it again"):
        example_ids(tmp_path)
