"""What was deleted or moved in MLflow itself is said, and comes back or is taken into the history."""

import logging
from pathlib import Path

import pytest

from tasks.registry import aliases
from tasks.registry import versions as registry
from tasks.registry.records import history, version_records
from tasks.registry.repair import repair
from tasks.registry.tracking import connect
from tests.kit.registered_stages import forget, registered

MODEL = "demo-topic"


def texts(home: Path, apply: bool = False) -> list[str]:
    return [f"{one.found} -> {one.remedy}" for one in repair(home, MODEL, apply)]


@pytest.fixture
def two(home):
    """Two versions, of which the second is champion and the first previous."""
    made = registered(home, 2)
    aliases.force_promotion(home, MODEL, 1, reason="first", by="ann")
    aliases.force_promotion(home, MODEL, 2, reason="second", by="bob")
    return made


def test_nothing_differs_where_nobody_touched_mlflow(home, two):
    assert repair(home) == [] and repair(home, apply=True) == []
    assert repair(home, "unknown") == []


@pytest.mark.parametrize("run_is_gone", [False, True])
def test_a_deleted_champion_comes_back_with_its_alias(home, two, run_is_gone):
    connect(home).delete_model_version(MODEL, "2")
    if run_is_gone:
        forget(home / "runs" / "run-1")
    expected = [
        "version 2 (candidate) was deleted in MLflow -> is registered again",
        "champion is held by nobody in MLflow and by version 2 in the record -> goes back to the model that held it",
    ]
    assert texts(home) == expected and texts(home) == expected, "nothing was changed"
    assert [version.version for version in registry.versions(home, MODEL)] == [1]

    assert texts(home, apply=True) == [
        f"{expected[0]}, as version 3",
        "champion is held by nobody in MLflow and by version 2 in the record -> goes back to version 3",
    ]

    back = registry.versions(home, MODEL)[-1]
    assert (back.version, back.digest, back.aliases) == (3, two[1].digest, ("champion",))
    assert registry.verify_version(back).digest == back.digest
    assert (
        connect(home)
        .get_model_version(MODEL, "3")
        .description.startswith("# demo-topic: candidate\n\nA fine-tuned model. The champion")
    )
    assert history(home, MODEL)[-1].reason == "version 2 was registered again"
    assert repair(home) == []
    move = aliases.rollback(home, MODEL)
    assert (move.from_version, move.to_version) == (3, 1), "it knows that version 3 is the champion that version 2 was"


def test_a_version_whose_files_are_gone_everywhere_is_said_and_holds_nothing_any_more(home, two):
    connect(home).delete_model_version(MODEL, "2")
    forget(home / "runs" / "run-1")
    forget(Path(two[1].path) / "model.safetensors")
    found = texts(home, apply=True)
    assert "cannot be put right: " in found[0] and "model.safetensors is listed in the manifest and does not exist" in found[0]
    assert found[1].endswith("by version 2 in the record -> is held by nobody from now on, its version is gone")
    assert [move.to_version for move in history(home, MODEL) if move.alias == "champion"] == [1, 2, None]
    left = repair(home)
    assert [(one.version, one.possible, one.done) for one in left] == [(2, False, False)]


def test_a_registered_model_that_was_deleted_whole_comes_back(home, two):
    connect(home).delete_registered_model(MODEL)
    assert len(texts(home)) == 4
    repair(home, apply=True)
    assert {v.version: v.aliases for v in registry.versions(home, MODEL)} == {1: ("previous",), 2: ("champion",)}
    assert repair(home) == []


def test_an_alias_that_was_moved_in_mlflow_is_taken_into_the_history(home, two):
    connect(home).set_registered_model_alias(MODEL, "champion", "1")
    connect(home).set_registered_model_alias(MODEL, "staging", "2")
    assert texts(home) == [
        "champion is held by version 1 in MLflow and by version 2 in the record -> is taken into the history",
        "staging is held by version 2 in MLflow and by nobody in the record -> is taken into the history",
    ]
    repair(home, apply=True)
    champion, staging = history(home, MODEL)[-2:]
    assert (champion.from_version, champion.to_version, champion.reason, champion.by) == (
        2,
        1,
        "moved in MLflow itself",
        "MLflow",
    )
    assert (staging.alias, staging.from_version, staging.to_version) == ("staging", None, 2)
    assert aliases.holders(connect(home), MODEL) == {"champion": 1, "previous": 1, "staging": 2}
    assert repair(home) == []


def test_an_alias_that_was_taken_away_in_mlflow_goes_back(home, two):
    connect(home).delete_registered_model_alias(MODEL, "champion")
    assert texts(home, apply=True) == [
        "champion is held by nobody in MLflow and by version 2 in the record -> goes back to version 2"
    ]
    assert aliases.holders(connect(home), MODEL)["champion"] == 2
    assert history(home, MODEL)[-1].reason == "it had been taken away in MLflow itself"


def test_files_that_were_lost_from_the_registry_are_linked_again(home, two):
    weights = Path(two[0].path) / "model.safetensors"
    forget(weights)
    (found,) = repair(home, apply=False)
    assert found.found.startswith("version 1 (candidate) is damaged: ") and not found.done
    (found,) = repair(home, apply=True)
    assert found.done and weights.samefile(home / "runs" / "run-0" / "02-pretrain" / "export" / "model.safetensors")
    assert repair(home) == []


def test_every_change_says_what_somebody_did_in_mlflow(home, two, caplog):
    connect(home).set_registered_model_alias(MODEL, "champion", "1")
    connect(home).delete_model_version(MODEL, "2")
    with caplog.at_level(logging.WARNING, "pretune"):
        aliases.refresh(home, MODEL)
    assert [record.message for record in caplog.records if record.name == "pretune"] == [
        "demo-topic: version 2 (candidate) was deleted in MLflow; see `pretune registry repair`",
        "demo-topic: champion is held by version 1 in MLflow and by version 2 in the record; see `pretune registry repair`",
    ]


def test_a_decision_outlives_the_deletion(home, two):
    record = version_records(home, MODEL)[0]
    from tasks.record.manifest import Input, Manifest

    digest = record.tags["digest"]
    decision = Manifest(kind="evaluate", request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)},
                        details={"decision": "reject", "champion": None})  # fmt: skip
    aliases.refresh(home, MODEL, decision)
    connect(home).delete_model_version(MODEL, str(record.version))
    repair(home, apply=True)
    assert registry.versions(home, MODEL)[-1].tags["decision"] == "reject"
