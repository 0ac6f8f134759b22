"""What MLflow says of a version, read back after each thing that can happen to it: nothing is older than the records."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from tasks.record.errors import GateError
from tasks.record.files import file_entries, write_json
from tasks.record.journal import Journal
from tasks.record.layout import AttemptLayout, FinetuneLayout, StageLayout, attempt_of
from tasks.record.manifest import Input, Manifest, Request, write_manifest
from tasks.registry import aliases
from tasks.registry import texts as version_texts
from tasks.registry import versions as registry
from tasks.registry.publish import final_version, mirror, publish, refresh
from tasks.registry.tracking import connect
from tasks.registry.versions import NewVersion, Version
from tasks.stages.work import Result
from tasks.training.convergence import Verdict
from tests.kit.registered_stages import begun_stage, die, finished_training, forget, new_home, run_in_child

MODEL = "demo-topic"
BASE = "demo-base"
DATA = Input(path="/gone", digest="d" * 64)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path / "home"))
    return new_home(tmp_path)


def said(home: Path, model: str, version: int) -> dict[str, str]:
    """Headline, status and decision as MLflow's client reads them; the card on disk must say the same."""
    found = connect(home).get_model_version(model, str(version))
    card = (Path(found.tags["path"]) / "README.md").read_text()
    assert card.strip().startswith(found.description.split("\n\n*In README")[0].strip()[:400])
    assert not {"null", "None", ""} & set(found.tags.values())
    changing = {key: found.tags[key] for key in ("status", "decision", "verdict") if key in found.tags}
    return {"headline": found.description.split("\n\n")[1]} | changing


EVALUATION = "e" * 64


def attempt_named(home: Path, run: str) -> AttemptLayout:
    return FinetuneLayout(home, f"{run}-topic").attempt("0" * 64)


def candidate(home: Path, run: str) -> StageLayout:
    """A fine-tune that is registered as the next version."""
    stage = attempt_named(home, run).candidate
    base = Input(path=str(home / "runs" / run / "02-pretrain"), digest="b" * 64)
    write_json(stage.request, Request(kind="finetune", identity={"run": run}, inputs={"base": base, "examples": DATA}))
    publish(final_version(Result(stage, finished_training(stage, verdict=None)), MODEL, "candidate"), {})
    return stage


def decide(home: Path, stage: StageLayout, answer: str, champion: int | None) -> Manifest:
    """The gate's record beside the fine-tune, and what the task does when it is there."""
    digest = Manifest.read(stage.manifest).digest
    details = {"decision": answer, "reasons": [f"✓ against {champion}"], "champion": champion}
    made = Manifest(kind="evaluate", request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)}, details=details)
    written = write_manifest(attempt_of(stage).evaluation(EVALUATION).path, made)
    refresh(MODEL)
    return written


def promoted(home: Path, run: str, version: int, champion: int | None) -> Manifest:
    decision = decide(home, candidate(home, run), "promote", champion)
    aliases.promote(home, MODEL, version, decision, by=run)
    return decision


def test_a_candidate_is_undecided_then_rejected_with_the_reason(home):
    stage = candidate(home, "one")
    assert said(home, MODEL, 1) == {"headline": "A fine-tuned model. No gate has decided about it.", "status": "undecided"}
    decision = decide(home, stage, "reject", None)
    now = said(home, MODEL, 1)
    assert now["headline"] == f"A fine-tuned model. The gate rejected it at {decision.created_at}."
    assert (now["status"], now["decision"]) == ("rejected", "reject")
    assert "- ✓ against None" in connect(home).get_model_version(MODEL, "1").description


def test_champions_follow_each_other_and_one_is_rolled_back(home):
    first = decide(home, candidate(home, "one"), "promote", None)
    assert said(home, MODEL, 1)["status"] == "passed"
    aliases.promote(home, MODEL, 1, first, by="one")
    assert said(home, MODEL, 1)["headline"].startswith("A fine-tuned model. The champion since 20")

    promoted(home, "two", 2, 1)
    assert said(home, MODEL, 2)["status"] == "champion"
    assert said(home, MODEL, 1)["headline"].endswith("then replaced by version 2.")

    aliases.rollback(home, MODEL, reason="worse in use", by="ann")
    assert said(home, MODEL, 1)["status"] == "champion"
    assert said(home, MODEL, 2)["headline"].endswith("then rolled back to version 1.")
    assert "by ann: worse in use" in connect(home).get_model_version(MODEL, "2").description
    with pytest.raises(GateError, match="had no champion before version 1"):
        aliases.rollback(home, MODEL)


def test_an_alias_that_moves_is_shown_at_the_version_that_holds_it(home):
    candidate(home, "one")
    assert "Holds now: `candidate`." in connect(home).get_model_version(MODEL, "1").description
    candidate(home, "two")
    assert "Holds now: none." in connect(home).get_model_version(MODEL, "1").description
    assert "Holds now: `candidate`." in connect(home).get_model_version(MODEL, "2").description
    aliases.move_alias(home, MODEL, "candidate", 1, 2, "look again", "me")
    assert "Holds now: `candidate`." in connect(home).get_model_version(MODEL, "1").description


def test_an_alias_that_was_moved_in_mlflow_is_told_as_that(home):
    promoted(home, "one", 1, None)
    candidate(home, "two")
    connect(home).set_registered_model_alias(MODEL, "champion", "2")
    refresh(MODEL)
    assert said(home, MODEL, 2)["headline"].endswith("The champion; the alias was set in MLflow itself.")
    assert said(home, MODEL, 1)["headline"].endswith("since then the alias was moved in MLflow itself.")


def milestone(home: Path, stage: StageLayout, label: str, step: int, verdict: str) -> Version:
    """Registered while the training has no manifest."""
    folder = stage.milestones / f"step_{step:08d}"
    (folder / "export").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / "export" / name).write_text(json.dumps({"file": name, "step": step}))
    files = file_entries(folder, sorted((folder / "export").iterdir()))
    details = {"label": label, "verdict": Verdict(verdict=verdict, reason="because", num_evaluations=9).model_dump()}
    manifest = write_manifest(folder, Manifest(kind="milestone", request_digest="r", files=files, step=step, details=details))
    return publish(NewVersion(BASE, f"{label} step {step}", (label,), stage, manifest, folder), {})


@pytest.mark.parametrize(
    ("verdict", "label", "headline"),
    [
        ("converged", "converged",
         "A pre-trained model: its held-out loss had converged, and then its learning rate was decayed."),
        ("improving", "pretraining",
         "A pre-trained model that was not found to have converged: the cap on its tokens ended the training. Before that its "
         "learning rate was decayed."),
        ("overfitting", "pretraining", "A pre-trained model that had begun to over-fit; then its learning rate was decayed."),
    ],
)  # fmt: skip
def test_a_pre_training_and_its_milestones_say_what_the_verdict_was(home, verdict, label, headline):
    stage = begun_stage(home)
    milestone(home, stage, "pretraining", 5, "improving")
    milestone(home, stage, label, 8, verdict)
    assert said(home, BASE, 1)["headline"] == "A milestone of a pre-training, at step 5, with the verdict improving."
    if verdict == "overfitting":
        journal = Journal(stage.journal, 1)
        journal.append("event", event="rollback", from_step=10, step=8, reason="rose")
        journal.close()

    manifest = finished_training(stage, verdict={"verdict": verdict, "reason": "because"})
    publish(final_version(Result(stage, manifest), BASE, "pretrained"), {})

    final = connect(home).get_model_version(BASE, "3").description
    assert said(home, BASE, 3) == {"headline": headline, "verdict": verdict}
    assert ("Training went back from step 10 to the checkpoint of step 8." in final) == (verdict == "overfitting")
    assert ("converged" in final) == (verdict in ("converged", "improving"))
    for number in (1, 2):
        assert said(home, BASE, number)["headline"].endswith(f"finished at step 10 with the verdict {verdict}.")


def test_a_milestone_of_a_training_that_diverged_says_so_until_another_attempt_begins(home):
    stage = begun_stage(home)
    milestone(home, stage, "pretraining", 5, "improving")
    write_json(stage.error, {"error": "DivergedError", "message": "pre-training has diverged: loss 9"})
    refresh(BASE)
    assert said(home, BASE, 1)["headline"].endswith("The training ended without a model: pre-training has diverged: loss 9.")
    stage.error.unlink()
    refresh(BASE)
    assert said(home, BASE, 1)["headline"] == "A milestone of a pre-training, at step 5, with the verdict improving."


def test_a_fine_tune_without_a_registered_base_is_not_said_to_be_trained_from_scratch(home):
    candidate(home, "one")
    description = connect(home).get_model_version(MODEL, "1").description
    assert "from scratch" not in description
    assert f"- A model that is not registered here: {home}/runs/one/02-pretrain ({'b' * 12})" in description


def test_what_was_changed_in_mlflow_or_lost_is_written_again_and_what_is_right_is_left_alone(home):
    candidate(home, "one")
    client = connect(home)
    before = client.get_model_version(MODEL, "1")
    client.update_model_version(MODEL, "1", "The best model ever.")
    client.set_model_version_tag(MODEL, "1", "status", "champion")
    client.set_model_version_tag(MODEL, "1", "decision", "promote")
    client.set_model_version_tag(MODEL, "1", "digest", "null")
    client.set_model_version_tag(MODEL, "1", "mine", "kept")
    (Path(before.tags["path"]) / "README.md").unlink()
    refresh(MODEL)
    after = client.get_model_version(MODEL, "1")
    assert after.description == before.description
    assert after.tags == before.tags | {"mine": "kept"}
    assert (Path(after.tags["path"]) / "README.md").read_text().startswith("# demo-topic: candidate")
    refresh(MODEL)
    again = client.get_model_version(MODEL, "1")
    assert again.last_updated_timestamp == after.last_updated_timestamp


def test_a_decision_outlives_the_folder_of_its_run(home):
    promoted(home, "one", 1, None)
    forget(FinetuneLayout(home, "one-topic").path)
    promoted(home, "two", 2, 1)
    now = said(home, MODEL, 1)
    assert now["headline"].endswith("then replaced by version 2.")
    assert now["decision"] == "promote"
    assert "✓ against None" in connect(home).get_model_version(MODEL, "1").description


def test_a_decision_about_another_model_or_one_that_is_damaged_is_not_told(home):
    stage = candidate(home, "one")
    decide(home, stage, "reject", None)
    other = attempt_named(home, "one").evaluation(EVALUATION).manifest
    values = json.loads(other.read_text())
    other.write_text("{")
    refresh(MODEL)
    assert said(home, MODEL, 1)["status"] == "rejected", "as it was recorded when it was whole"
    values["inputs"]["candidate"]["digest"] = "e" * 64
    values["details"]["decision"] = "promote"
    other.write_text(json.dumps(values))
    refresh(MODEL)
    assert said(home, MODEL, 1)["status"] == "rejected"


def test_of_two_decisions_about_one_model_the_later_is_told(home):
    stage = candidate(home, "one")
    rejected = decide(home, stage, "reject", None)
    details = rejected.details | {"decision": "promote"}
    passed = rejected.model_copy(update={"details": details, "created_at": "2199-01-01T00:00:00+00:00"})
    refresh(MODEL, passed)
    assert said(home, MODEL, 1)["status"] == "passed"
    refresh(MODEL)
    aliases.promote(home, MODEL, 1, passed)
    assert said(home, MODEL, 1)["decision"] == "promote"
    refresh(MODEL, rejected)
    assert said(home, MODEL, 1)["decision"] == "promote"


@pytest.mark.parametrize("step", ["set_model_version_tag", "update_model_version", "delete_model_version_tag", "README"])
def test_killed_while_it_writes_is_made_good_by_whatever_comes_next(home, monkeypatch, step):
    promoted(home, "one", 1, None)
    decision = decide(home, candidate(home, "two"), "promote", 1)
    connect(home).set_model_version_tag(MODEL, "1", "prefect_url", "http://nowhere")

    def promote_and_die() -> None:
        if step == "README":
            version_texts.write_atomically = lambda *_: die()
        else:
            setattr(connect(home), step, lambda *_: die())
        aliases.promote(home, MODEL, 2, decision)

    assert run_in_child(promote_and_die) == -9
    with pytest.raises(GateError, match="is held by version 2 and not, as expected"):
        aliases.move_alias(home, MODEL, "champion", 1, 1, "no", "me")
    assert (said(home, MODEL, 1)["status"], said(home, MODEL, 2)["status"]) == ("replaced", "champion")
    assert "prefect_url" not in connect(home).get_model_version(MODEL, "1").tags


def test_a_version_killed_before_it_had_a_text_gets_it_when_it_is_registered_again(home, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(aliases, "write_texts", lambda *_: die())
        assert run_in_child(partial(candidate, home, "one")) == -9
    assert not connect(home).get_model_version(MODEL, "1").description
    refresh(MODEL)
    assert said(home, MODEL, 1)["status"] == "undecided"


def test_a_description_never_has_more_characters_than_mlflow_keeps(home):
    stage = candidate(home, "one")
    digest = Manifest.read(stage.manifest).digest
    details = {"decision": "reject", "reasons": ["✗ " + "x" * 300] * 40, "champion": None}
    made = Manifest(kind="evaluate", request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)}, details=details)
    write_manifest(attempt_named(home, "one").evaluation(EVALUATION).path, made)
    refresh(MODEL)
    found = connect(home).get_model_version(MODEL, "1")
    assert len(found.description) <= 5000
    assert "The gate rejected it" in found.description and "Decision of the gate" in found.description.splitlines()[-1]


def test_processes_that_describe_at_once_leave_one_text(home):
    decide(home, candidate(home, "one"), "reject", None)
    connect(home).update_model_version(MODEL, "1", "stale")
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                aliases.refresh(home, MODEL)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert said(home, MODEL, 1)["status"] == "rejected"
    assert registry.versions(home, MODEL)[0].tags["decision"] == "reject"


def evaluated(home: Path, run: str, accuracy: float, champion: int | None) -> Manifest:
    """A fine-tune, and its evaluation as the stage leaves it, shipped as the task does."""
    stage = candidate(home, run)
    judged = Input(path=str(stage.path), digest=Manifest.read(stage.manifest).digest)
    folder = attempt_of(stage).evaluation(EVALUATION)
    write_json(folder.request, Request(kind="evaluate", identity={"run": run}, inputs={"candidate": judged}))
    made = Manifest(
        kind="evaluate", request_digest="r", inputs={"candidate": judged}, metrics={"candidate_accuracy": accuracy},
        details={"decision": "promote", "reasons": ["✓"], "champion": champion},
    )  # fmt: skip
    decision = write_manifest(folder.path, made)
    mirror(folder)
    refresh(MODEL, decision)
    return decision


def test_a_list_of_versions_shows_score_decision_base_and_data(home):
    candidate(home, "one")
    tags = connect(home).get_model_version(MODEL, "1").tags
    assert (tags["score"], tags["base"], tags["data"]) == ("heldout loss 3.5000", "b" * 12, "dddddddddddd")
    assert "decision" not in tags
    evaluated(home, "two", 0.7619, None)
    tags = connect(home).get_model_version(MODEL, "2").tags
    assert (tags["score"], tags["decision"]) == ("accuracy 0.7619", "promote")


def test_the_run_of_an_evaluation_and_its_numbers_are_shown_at_the_model_that_it_judged(home):
    evaluated(home, "one", 0.5, None)
    version = registry.versions(home, MODEL)[0]
    client = connect(home)
    measured = {metric.key: metric for metric in client.get_logged_model(version.model_id).metrics}
    assert measured["candidate_accuracy"].value == 0.5
    run = client.get_run(measured["candidate_accuracy"].run_id)
    assert run.info.run_name == f"one-topic/{'0' * 12}/evaluate-{EVALUATION[:12]}"
    assert [given.model_id for given in run.inputs.model_inputs] == [version.model_id]


def test_the_page_of_a_registered_model_names_its_champion_above_what_a_person_wrote(home):
    client = connect(home)
    first = evaluated(home, "one", 0.5, None)
    assert not client.get_registered_model(MODEL).description
    client.update_registered_model(MODEL, "Topics of letters.\n\nAsk Ann.")
    move = aliases.promote(home, MODEL, 1, first)
    said = f"Champion: version 1, accuracy 0.5000, since {move.time}.\n\nTopics of letters.\n\nAsk Ann."
    assert client.get_registered_model(MODEL).description == said
    move = aliases.promote(home, MODEL, 2, evaluated(home, "two", 0.75, 1))
    said = said.replace(said.splitlines()[0], f"Champion: version 2, accuracy 0.7500, since {move.time}.")
    assert client.get_registered_model(MODEL).description == said
    client.delete_registered_model_alias(MODEL, "champion")
    refresh(MODEL)
    assert client.get_registered_model(MODEL).description.startswith("Champion: nobody.\n\nTopics")
    client.set_registered_model_alias(MODEL, "champion", "1")
    refresh(MODEL)
    assert client.get_registered_model(MODEL).description.startswith(
        "Champion: version 1, accuracy 0.5000, set in MLflow itself."
    )
