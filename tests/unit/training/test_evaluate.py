"""Candidate against champion, baselines and random weights; the record that a promotion stands on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.config.gate import GateConfig
from tasks.config.parallel import Layout
from tasks.data.tokens.examples import read_examples
from tasks.record.errors import IntegrityError
from tasks.record.files import file_sha256, read_json
from tasks.record.layout import attempt_of
from tasks.record.manifest import Request, read_request, verify
from tasks.stages.work import Result, evaluate_work, examples_work, finetune_work, promoted
from tasks.training.evaluate import Scored, compare, decision_markdown, model_folders, score
from tasks.training.model.mesh import Mesh
from tests.kit.models import ALONE
from tests.kit.preparations import prepared_result
from tests.kit.stages import finetune_config, pretrained_base, run


@pytest.fixture(scope="module")
def base(home: Path) -> tuple[Any, Result, Result]:
    return pretrained_base(home)


def results(home: Path, base: tuple, kind: str, random_init: bool) -> tuple[Any, dict[str, Result]]:
    _, _, pretrained = base
    settings = finetune_config(home, kind)
    found = {"base": pretrained, "examples": prepared_result(examples_work(home, settings))}
    found["candidate"] = run(finetune_work(home, settings, pretrained, found["examples"]))
    if random_init:
        found["random_init"] = run(finetune_work(home, settings, pretrained, found["examples"], random_init=True))
    return settings, found


@pytest.fixture(scope="module")
def classified(home: Path, base: tuple) -> tuple[Any, dict[str, Result]]:
    return results(home, base, "classification", True)


@pytest.fixture(scope="module")
def answered(home: Path, base: tuple) -> tuple[Any, dict[str, Result]]:
    return results(home, base, "instruction", False)


def evaluated(made: tuple, champion: dict | None = None, **gate: Any) -> Result:
    settings, found = made
    settings = settings.model_copy(update={"gate": GateConfig(**{"bootstrap_samples": 200} | gate)})
    return run(evaluate_work(settings, found, champion))


def champion_of(result: Result, version: int = 3) -> dict:
    path = str(result.stage.export)
    return {"name": "words-class", "version": version, "path": path, "digest": result.manifest.digest}


def test_the_first_candidate_is_measured_against_absolute_thresholds(classified: tuple) -> None:
    result = evaluated(classified, beat_random_init=False)
    metrics, details = result.manifest.metrics, result.manifest.details
    verify(result.stage.path, result.manifest)
    assert promoted(result.manifest)
    candidate = classified[1]["candidate"].manifest
    assert metrics["candidate_accuracy"] == pytest.approx(candidate.metrics["accuracy"])
    assert metrics["candidate_heldout_loss"] == pytest.approx(candidate.metrics["heldout_loss"], rel=1e-4)
    assert 0.2 < metrics["majority_accuracy"] < 0.5
    assert metrics["tfidf_accuracy"] > metrics["majority_accuracy"]
    assert metrics["random_init_difference_low"] <= metrics["random_init_difference"] <= metrics["random_init_difference_high"]
    assert details["champion"] is None and details["champion_digest"] is None
    assert "there is no champion to compare with" in details["reasons"][2]
    examples = Path(result.manifest.inputs["examples"].path)
    assert details["examples_sha256"] == file_sha256(examples / "test.jsonl")


def test_the_decision_is_a_record_for_machines_and_for_people(classified: tuple) -> None:
    result = evaluated(classified, min_above_baseline=0.99)
    assert not promoted(result.manifest)
    record = read_json(result.stage.path / "decision.json")
    assert record["decision"]["decision"] == result.manifest.details["decision"] == "reject"
    assert record["decision"]["reasons"] == result.manifest.details["reasons"]
    assert record["measured"]["candidate"] == result.manifest.metrics["candidate_accuracy"]
    page = (result.stage.path / "decision.md").read_text()
    assert page == result.manifest.details["markdown"]
    assert page.startswith("# Decision: reject\n\n- ✗ accuracy ")
    assert f"Measured on {result.manifest.metrics['num_examples']:.0f} frozen examples." in page
    assert {entry.path for entry in result.manifest.files} == {"decision.json", "decision.md"}


def test_a_model_against_itself_is_no_worse_and_no_better(classified: tuple) -> None:
    same = champion_of(classified[1]["candidate"])
    result = evaluated(classified, same, beat_random_init=False)
    metrics = result.manifest.metrics
    assert metrics["difference"] == metrics["difference_low"] == metrics["difference_high"] == 0.0
    assert metrics["champion_accuracy"] == metrics["candidate_accuracy"]
    assert promoted(result.manifest)
    assert (result.manifest.details["champion"], result.manifest.details["champion_digest"]) == (3, same["digest"])


def test_a_candidate_that_is_worse_than_the_champion_is_rejected(home: Path, classified: tuple) -> None:
    settings, found = classified
    untaught = settings.model_copy(update={"name": "weak", "learning_rate": 1e-9, "epochs": 1})
    weak = run(finetune_work(home, untaught, found["base"], found["examples"]))
    swapped = settings, found | {"candidate": weak, "random_init": found["candidate"]}
    result = evaluated(swapped, champion_of(found["candidate"]), min_above_baseline=-1.0)
    assert not promoted(result.manifest)
    assert [reason[0] for reason in result.manifest.details["reasons"]] == ["✓", "✗", "✗"]
    assert result.manifest.metrics["difference"] < 0 < result.manifest.metrics["champion_accuracy"]


def test_answers_are_compared_by_their_loss_with_the_model_before_tuning(answered: tuple) -> None:
    result = evaluated(answered, beat_random_init=False)
    metrics = result.manifest.metrics
    assert promoted(result.manifest)
    assert metrics["candidate_answer_loss"] < metrics["base_answer_loss"] - 0.1
    assert metrics["candidate_answer_loss"] == pytest.approx(
        answered[1]["candidate"].manifest.metrics["heldout_loss"], rel=1e-4
    )
    assert "majority_accuracy" not in metrics
    reason = result.manifest.details["reasons"][0]
    assert f"answer loss {metrics['candidate_answer_loss']:.4f}" in reason
    assert f"from {metrics['base_answer_loss']:.4f} before tuning" in reason


@pytest.mark.parametrize("role", ["candidate", "random_init", "examples"])
def test_what_is_not_what_the_request_means_is_not_measured(classified: tuple, role: str) -> None:
    settings, found = classified
    changed = Result(found[role].stage, found[role].manifest.model_copy(update={"step": 10**6}))
    with pytest.raises(IntegrityError, match=f"is not the {role} that was asked for; run the pipeline again"):
        evaluated((settings, found | {role: changed}))
    evaluations = attempt_of(found["candidate"].stage).evaluations
    asked = {read_request(stage).inputs[role].digest for stage in evaluations}
    assert asked <= {found[role].manifest.digest}, "nothing was written about it"


def test_damaged_weights_are_not_measured(classified: tuple) -> None:
    weights = classified[1]["candidate"].stage.export / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(IntegrityError, match=r"export/model.safetensors has SHA-256"):
            evaluated(classified)
    finally:
        weights.write_bytes(content)


def test_a_classifier_needs_no_measurement_of_its_base(classified: tuple, answered: tuple) -> None:
    for made, roles in ((classified, ["candidate", "random_init"]), (answered, ["candidate", "base"])):
        request = evaluate_work(*made, champion_of(made[1]["candidate"])).request
        folders = model_folders(request)
        assert list(folders) == [*roles, "champion"]
        assert all((folder / "config.json").exists() for folder in folders.values())


def test_a_champion_that_does_not_know_a_label_is_wrong_on_its_examples(classified: tuple, tmp_path: Path) -> None:
    settings, found = classified
    request = evaluate_work(settings, found).request
    export = found["candidate"].stage.export
    manifest = found["examples"].manifest
    examples = read_examples(found["examples"].stage.path, manifest, "test")
    whole = score(request, export, examples, manifest, Mesh(Layout(), ALONE))
    older = tmp_path / "older"
    shutil.copytree(export, older)
    settings = json.loads((older / "config.json").read_text())
    settings["id2label"]["2"], settings["label2id"] = "minerals", {"animals": 0, "plants": 1, "minerals": 2}
    (older / "config.json").write_text(json.dumps(settings))
    partly = score(request, older, examples, manifest, Mesh(Layout(), ALONE))
    stones = np.array([e["label"] == "stones" for e in examples])
    assert stones.any() and whole.scores[stones].any()
    assert not partly.scores[stones].any()
    np.testing.assert_array_equal(partly.scores[~stones], whole.scores[~stones])
    assert partly.score == pytest.approx(partly.scores.mean())
    assert partly.score < whole.score


def test_differences_are_paired_and_weighted_by_the_answer_tokens() -> None:
    weights = np.array([1.0, 3.0, 2.0])

    def scored(scores: list[float]) -> Scored:
        values = np.array(scores)
        return Scored(float((values * weights).sum() / weights.sum()), values, weights, {})

    found = {
        "candidate": scored([-1.0, -2.0, -3.0]),
        "base": scored([-4.0, -4.0, -4.0]),
        "champion": scored([-2.0, -3.0, -4.0]),
    }

    asked = Request(kind="evaluate", identity={"kind": "instruction"}, execution={"champion": {"version": 7}})
    measured, differences = compare(asked, GateConfig(bootstrap_samples=500), found, {})
    assert differences["difference"] == pytest.approx(1.0)
    assert differences["difference_low"] <= 1.0 <= differences["difference_high"]
    assert (measured.champion_name, measured.baseline) == ("version 7", -4.0)
    assert measured.candidate == pytest.approx(-(1 + 6 + 6) / 6)


def test_the_page_lists_every_metric() -> None:
    from tasks.training.gate import Measured, decide

    measured = Measured(kind="classification", num_examples=9, candidate=0.5, baseline=0.25, random_init=0.4)
    page = decision_markdown(measured, decide(measured, GateConfig()), {"b": 0.5, "a": 1 / 3})
    assert page.startswith("# Decision: promote\n")
    assert page.endswith("| metric | value |\n| --- | ---: |\n| a | 0.3333 |\n| b | 0.5000 |\n")
