"""Candidate against champion, baselines and random weights; the record that a promotion stands on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tasks.config.gate import GateConfig
from tasks.config.parallel import Layout
from tasks.data.tokens.examples import read_examples
from tasks.record.errors import IntegrityError
from tasks.record.files import file_entries, file_sha256, read_json
from tasks.record.layout import StageLayout, attempt_of
from tasks.record.manifest import Request, read_request, verify, write_manifest
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


def evaluated(made: tuple, champion: dict | None = None, best: dict | None = None, **gate: Any) -> Result:
    settings, found = made
    settings = settings.model_copy(update={"gate": GateConfig(**{"min_examples": 10} | gate)})
    return run(evaluate_work(settings, found, champion, best))


def said(result: Result, rule: str) -> str:
    (sentence,) = [one["sentence"] for one in result.manifest.details["rules"] if one["rule"] == rule]
    return sentence


def champion_of(result: Result, version: int = 3) -> dict:
    path = str(result.stage.export)
    return {"name": "words-class", "version": version, "path": path, "digest": result.manifest.digest}


def test_the_first_candidate_is_measured_against_absolute_thresholds(classified: tuple) -> None:
    result = evaluated(classified, above_random_init="informative")
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
    assert details["best"] is None and details["difference"] is None and details["p_value"] is None
    assert (details["metric"], details["num_examples"]) == ("accuracy", metrics["num_examples"])
    assert said(result, "champion") == "there is no champion to compare with; the absolute rules decide"
    assert [f"{rule['rule']}: {rule['weight']}" for rule in details["rules"]] == [
        "examples: required", "majority: required", "tfidf: informative", "random_init: informative", "champion: required",
        "overlap: required",
    ]  # fmt: skip
    assert (metrics["overlap_exact"], metrics["overlap_near"]) == (0, 0)
    examples = Path(result.manifest.inputs["examples"].path)
    assert details["examples_sha256"] == file_sha256(examples / "test.jsonl")


def test_the_decision_is_a_record_for_machines_and_for_people(classified: tuple) -> None:
    result = evaluated(classified, min_examples=1000, above_random_init="off")
    assert not promoted(result.manifest)
    record = read_json(result.stage.path / "decision.json")
    assert record["decision"]["decision"] == result.manifest.details["decision"] == "reject"
    assert record["decision"]["reasons"] == result.manifest.details["reasons"]
    assert record["measured"]["candidate"] == result.manifest.metrics["candidate_accuracy"]
    page = (result.stage.path / "decision.md").read_text()
    assert page == result.manifest.details["markdown"]
    assert page.startswith("# Decision: reject\n\n- ✗ n = 33 test examples; at least 1000 are needed")
    assert "\n- ✓ accuracy " in page
    assert f"Measured on {result.manifest.metrics['num_examples']:.0f} frozen examples." in page
    assert {entry.path for entry in result.manifest.files} == {"decision.json", "decision.md"}


def test_a_model_against_itself_is_no_better_and_no_worse(classified: tuple) -> None:
    same = champion_of(classified[1]["candidate"])
    result = evaluated(classified, same, above_random_init="off")
    metrics, details = result.manifest.metrics, result.manifest.details
    assert metrics["champion_accuracy"] == metrics["candidate_accuracy"]
    assert (metrics["difference"], metrics["p_value"]) == (0.0, 0.5)
    assert not promoted(result.manifest)
    assert (details["champion"], details["champion_digest"]) == (3, same["digest"])
    assert (details["difference"], details["p_value"]) == (0.0, 0.5)
    assert details["difference_low"] == metrics["difference_low"] < 0 < details["difference_high"]
    settings = {"above_random_init": "off", "rule": "non-inferiority", "margin": 0.1}
    assert promoted(evaluated(classified, same, **settings).manifest)


@pytest.fixture(scope="module")
def weak(home: Path, base: tuple, classified: tuple) -> Result:
    """A model that has learned nothing from the examples."""
    settings, found = classified
    untaught = settings.model_copy(update={"name": "weak", "learning_rate": 1e-9, "epochs": 1})
    return run(finetune_work(home, untaught, found["base"], found["examples"]))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_candidate_that_is_better_than_the_champion_replaces_it(classified: tuple, weak: Result, metric: str) -> None:
    result = evaluated(classified, champion_of(weak), above_random_init="off", metric=metric)
    details, metrics = result.manifest.details, result.manifest.metrics
    assert promoted(result.manifest)
    assert details["metric"] == metric
    assert details["difference"] == pytest.approx(metrics[f"candidate_{metric}"] - metrics[f"champion_{metric}"])
    assert 0 < details["difference_low"] < details["difference"] < details["difference_high"]
    assert details["p_value"] < 0.05
    assert f"{'macro-F1' if metric == 'macro_f1' else 'accuracy'} {metrics[f'candidate_{metric}']:.4f} against" in said(
        result, "champion"
    )


def test_a_candidate_that_is_worse_than_the_champion_is_rejected(classified: tuple, weak: Result) -> None:
    settings, found = classified
    swapped = settings, found | {"candidate": weak, "random_init": found["candidate"]}
    result = evaluated(swapped, champion_of(found["candidate"]), above_majority="off", above_random_init="required")
    assert not promoted(result.manifest)
    broken = {one["rule"] for one in result.manifest.details["rules"] if one["outcome"] == "broken"}
    assert broken == {"tfidf", "random_init", "champion"}
    assert result.manifest.metrics["difference"] < 0 < result.manifest.metrics["champion_accuracy"]


def test_no_worse_than_a_champion_that_has_slipped_is_not_enough(classified: tuple, weak: Result) -> None:
    settings, found = classified
    swapped = settings, found | {"candidate": weak}
    gate = {"above_majority": "off", "above_random_init": "off", "rule": "non-inferiority", "margin": 0.1}
    slipped, first = champion_of(weak, 9), champion_of(found["candidate"], 2)
    result = evaluated(swapped, slipped, first, **gate)
    details, metrics = result.manifest.details, result.manifest.metrics
    assert not promoted(result.manifest)
    assert {one["rule"]: one["outcome"] for one in details["rules"]}["champion"] == "kept"
    assert "of version 2, the best champion so far: a gain of -" in said(result, "best")
    assert (details["champion"], details["best"], details["best_digest"]) == (9, 2, first["digest"])
    assert metrics["best_difference"] == pytest.approx(metrics["candidate_accuracy"] - metrics["best_accuracy"])
    assert promoted(evaluated(swapped, slipped, **gate).manifest)


def test_test_examples_that_were_trained_on_are_found(classified: tuple) -> None:
    settings, found = classified
    stage = found["examples"].stage.path.with_name("leaky")
    shutil.copytree(found["examples"].stage.path, stage)
    test, train = stage / "test.jsonl", stage / "train.jsonl"
    train.write_text(train.read_text() + "".join(test.read_text().splitlines(keepends=True)[:3]))
    manifest = found["examples"].manifest
    files = file_entries(stage, [stage / entry.path for entry in manifest.files])
    metrics = manifest.metrics | {"train_examples": manifest.metrics["train_examples"] + 3}
    manifest = write_manifest(stage, manifest.model_copy(update={"files": files, "metrics": metrics}))
    leaky = settings, found | {"examples": Result(StageLayout(stage), manifest)}
    result = evaluated(leaky, above_random_init="off")
    assert not promoted(result.manifest)
    assert said(result, "overlap").startswith("the text of 3 of 33 test examples (9.1%) is in the training examples too")
    assert promoted(evaluated(leaky, above_random_init="off", max_overlap=0.1).manifest)


def test_what_computes_no_number_is_rejected_with_a_record(answered: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Scored:
        return Scored({"answer_loss": np.nan}, np.full(33, np.nan))

    monkeypatch.setattr("tasks.training.evaluate.score", broken)
    result = evaluated(answered, champion_of(answered[1]["candidate"]), above_random_init="off")
    assert not promoted(result.manifest)
    assert result.manifest.details["difference"] is None
    assert read_json(result.stage.path / "decision.json")["measured"]["candidate"] is None
    assert "answer loss nan against nan of version 3" in said(result, "champion")


def test_answers_are_compared_by_their_loss_with_the_model_before_tuning(base: tuple, answered: tuple) -> None:
    result = evaluated(answered, above_random_init="off")
    metrics = result.manifest.metrics
    assert promoted(result.manifest)
    assert metrics["candidate_answer_loss"] < metrics["base_answer_loss"] - 0.1
    assert metrics["candidate_answer_loss"] == pytest.approx(
        answered[1]["candidate"].manifest.metrics["heldout_loss"], rel=1e-4
    )
    assert "majority_accuracy" not in metrics
    candidate, before = metrics["candidate_answer_loss"], metrics["base_answer_loss"]
    assert said(result, "base").startswith(
        f"answer loss {candidate:.4f} against {before:.4f} of the model before tuning: a gain"
    )
    assert metrics["base_bits_per_byte"] == pytest.approx(base[2].manifest.metrics["bits_per_byte"], rel=1e-5)
    rise = metrics["candidate_bits_per_byte"] - metrics["base_bits_per_byte"]
    assert f"{rise:+.4f}; no limit was asked for" in said(result, "forgetting")
    strict = evaluated(answered, above_random_init="off", max_forgetting=rise / 2)
    assert not promoted(strict.manifest)
    assert f"at most {rise / 2:+.4f} was asked for" in said(strict, "forgetting")


@pytest.mark.parametrize("role", ["candidate", "random_init", "examples"])
def test_what_is_not_what_the_request_means_is_not_measured(classified: tuple, role: str) -> None:
    settings, found = classified
    changed = Result(found[role].stage, found[role].manifest.model_copy(update={"step": 10**6}))
    with pytest.raises(IntegrityError, match=f"is not the {role} that was asked for; run the pipeline again"):
        evaluated((settings, found | {role: changed}))
    evaluations = attempt_of(found["candidate"].stage).evaluations
    assert changed.manifest.digest not in {read_request(stage).inputs[role].digest for stage in evaluations}


def test_damaged_weights_are_not_measured(classified: tuple) -> None:
    weights = classified[1]["candidate"].stage.export / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(IntegrityError, match=r"export/model.safetensors has SHA-256"):
            evaluated(classified)
    finally:
        weights.write_bytes(content)


def test_a_classifier_needs_no_measurement_of_its_base(base: tuple, classified: tuple, answered: tuple) -> None:
    for made, roles in ((classified, ["candidate", "random_init"]), (answered, ["candidate", "base"])):
        request = evaluate_work(*made, champion_of(made[1]["candidate"])).request
        folders = model_folders(request)
        assert list(folders) == [*roles, "champion"]
        assert all((folder / "config.json").exists() for folder in folders.values())


def test_a_champion_that_does_not_know_a_label_is_wrong_on_its_examples(classified: tuple, tmp_path: Path) -> None:
    settings, found = classified
    request = evaluate_work(settings, found, None).request
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
    assert (partly.predicted[stones] == -1).all()
    assert partly.score("accuracy") == partly.scores.mean() < whole.score("accuracy")
    assert partly.score("macro_f1") < whole.score("macro_f1")


def test_a_champion_that_knows_none_of_the_labels_is_always_wrong(classified: tuple, tmp_path: Path) -> None:
    candidate, older = classified[1]["candidate"], tmp_path / "older"
    shutil.copytree(candidate.stage.export, older)
    config = json.loads((older / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "x", "1": "y", "2": "z"}, {"x": 0, "y": 1, "z": 2}
    (older / "config.json").write_text(json.dumps(config))
    champion = champion_of(candidate) | {"path": str(older)}
    result = evaluated(classified, champion, above_random_init="off")
    assert promoted(result.manifest)
    assert result.manifest.metrics["champion_accuracy"] == result.manifest.metrics["champion_macro_f1"] == 0.0
    assert "champion_heldout_loss" not in result.manifest.metrics


def test_differences_of_answers_are_paired_and_weighted_by_their_tokens() -> None:
    counts, losses = (
        np.array([1.0, 3.0, 2.0]),
        {"candidate": [1.0, 6.0, 6.0], "base": [4.0, 12.0, 8.0], "champion": [2.0, 9.0, 7.9]},
    )
    found = {
        role: Scored({"answer_loss": sum(found) / counts.sum()}, -np.array(found) / counts.mean())
        for role, found in losses.items()
    }
    asked = Request(kind="evaluate", identity={"kind": "instruction"}, execution={"champion": {"version": 7}})
    measured = compare(asked, GateConfig(), found, np.zeros(3))
    assert (measured.candidate, measured.base.score) == (pytest.approx(-13 / 6), -4.0)
    assert (measured.champion.name, measured.champion.difference) == ("version 7", pytest.approx((1 + 3 + 1.9) / 6))
    by_scipy = ttest_rel(found["candidate"].scores, found["champion"].scores, alternative="greater")
    assert measured.champion.p_value == pytest.approx(by_scipy.pvalue)


def test_the_page_lists_every_metric() -> None:
    from tasks.training.gate import Measured, decide

    measured = Measured(kind="classification", metric="accuracy", num_examples=9, candidate=0.5)
    gate = GateConfig(min_examples=1, above_majority="off", above_random_init="off")
    page = decision_markdown(measured, decide(measured, gate), {"b": 0.5, "a": 1 / 3})
    assert page.startswith("# Decision: promote\n")
    assert page.endswith("| metric | value |\n| --- | ---: |\n| a | 0.3333 |\n| b | 0.5000 |\n")
