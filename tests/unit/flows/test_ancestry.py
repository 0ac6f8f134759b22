"""The tree that `pretune lineage MODEL` prints."""

import pytest

from flows.ancestry import shown, text_ancestry, when
from tasks.audit.ancestors import Ancestor, EvaluationSet, SourceFile
from tasks.audit.ancestry import Ancestry, Registered
from tasks.record.approvals import Approval
from tasks.registry.records import Move
from tests.kit.told_ancestry import told


def test_the_tree_goes_up_to_the_files():
    assert text_ancestry(told()).splitlines() == [
        "demo-topic version 2 (candidate)  <- champion",
        "  score: accuracy 0.9123",
        "  decision: promote, at 2026-11-27 11:25:24 UTC",
        "    ✓ accuracy is enough",
        "  made champion at 2026-11-27 11:30:00 UTC, by anna",
        "  2026-11-26 00:00:00 UTC: candidate from nobody to 2, by register",
        "  evaluated on: labels (test) (digest eeeeeeeeeeee, 62 items, verified)",
        "  made by fine-tune finetunes/demo-topic/ab/finetune  (verified, digest aaaaaaaaaaaa)",
        "    step 90, tokens_seen 40,869",
        "    recipe: finetune.seed 1, init base",
        "    made at 2026-11-27 11:00:00 UTC, code c0ffee",
        "    with torch 2.13.0",
        "    base: base that was taken in bases/model-1  (verified, digest bbbbbbbbbbbb)",
        "      taken in from org/model@1, licence apache-2.0",
        "      file model.safetensors, SHA-256 " + "f" * 64,
        "        licence: apache-2.0",
        "    examples datasets/labels-1  (GONE: another lies there now, digest eeeeeeeeeeee)",
        "      ! it holds another result by now",
        "      read_examples 100",
        "      dropped: duplicate 10",
        "      file examples: a.jsonl, 1,000 bytes, ETag 7, nothing of it kept",
        "      compared with: earlier (digest 999999999999, GONE)",
        "",
        "Note: MLflow is away",
    ]


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("deleted", "  deleted in MLflow; what follows is from the records of this home"),
        ("unknown", "  MLflow cannot be asked whether it is still there"),
    ],
)
def test_a_version_that_is_not_in_mlflow_says_so(state, sentence):
    found = told()
    version = found.version.model_copy(update={"in_mlflow": state, "decision": None})
    lines = text_ancestry(found.model_copy(update={"version": version})).splitlines()
    assert lines[1] == sentence and "  no gate has decided about it" in lines


def test_what_a_person_answered_is_said():
    found = told()
    answer = Approval(decision="approved", by="berta", reason="looks good", time="2026-11-27T11:29:00+00:00")
    version = found.version.model_copy(update={"answer": answer})
    lines = text_ancestry(found.model_copy(update={"version": version})).splitlines()
    assert "  approved by berta: looks good, at 2026-11-27 11:29:00 UTC" in lines


def test_a_forced_promotion_says_why():
    found = told()
    version = found.version.model_copy(update={"forced_because": "the old one was wrong"})
    said = "made champion at 2026-11-27 11:30:00 UTC, by anna, without a positive decision: the old one was wrong"
    assert f"  {said}" in text_ancestry(found.model_copy(update={"version": version})).splitlines()


def test_of_many_files_the_rest_is_counted_and_a_licence_is_said_once():
    files = tuple(SourceFile(source="s", name=f"{n}.txt", licence="free [here](https://x.org)") for n in range(11))
    one = Ancestor(role="dataset", kind="prepare", name="d", digest="1" * 64, stated="verified", sources=files)
    version = Registered(
        model="m", version=1, label="pretrained", digest="1" * 64, in_mlflow="registered", aliases=(), score={}, decision=None,
        decided_at=None, reasons=(), moves=(), approved_by=None, promoted_at=None,
    )  # fmt: skip
    text = text_ancestry(Ancestry(asked="m", version=version, evaluated_on=(), made_by=one, notes=()))
    assert text.count("licence: free") == 1 and "and 3 more files; --json lists them all" in text


def test_numbers_and_times_are_shown_for_people():
    assert [shown(value) for value in (None, True, 12345, 3.0, 0.123456, "a")] == ["-", "True", "12,345", "3", "0.1235", "a"]
    assert [when("2026-11-27T11:25:24+00:00"), when(None)] == ["2026-11-27 11:25:24 UTC", "unknown time"]


def test_what_the_kit_tells_is_what_records_have():
    assert isinstance(told().version.moves[0], Move) and isinstance(told().evaluated_on[0], EvaluationSet)
