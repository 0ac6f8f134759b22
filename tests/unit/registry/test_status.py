"""What a version is said to be, in every state that it can be in."""

import pytest

from tasks.record.manifest import Input, Manifest
from tasks.registry.records import Move, VersionRecord
from tasks.registry.status import Ending, score_text, short_tags, version_texts

DIGEST = "c" * 64


def record(label: str = "candidate", verdict: str | None = None, decision: Manifest | None = None) -> VersionRecord:
    tags = {"step": "40", "digest": DIGEST} | ({"verdict": verdict} if verdict else {})
    return VersionRecord(
        state="done", store="local", key="demo@c", folder="/x/export", model="demo", label=label, stage="/x", version=2,
        tags=tags, body=("| numbers |", "\n## Metrics\n\nmany\n"), decision=decision,
    )  # fmt: skip


def decided(answer: str, champion: int | None = 1) -> Manifest:
    details = {"decision": answer, "reasons": ["✓ accuracy 0.61", "✗ too few"], "champion": champion}
    inputs = {"candidate": Input(path="/x", digest=DIGEST)}
    made = "2030-01-02T00:00:00+00:00"
    return Manifest(kind="evaluate", request_digest="r", inputs=inputs, details=details, created_at=made)


def move(before: int | None, after: int, day: int, alias: str = "champion") -> Move:
    time = f"2030-02-{day:02d}T00:00:00+00:00"
    return Move(model="demo", alias=alias, from_version=before, to_version=after, reason="because", by="ann", time=time)


def texts(made: VersionRecord, *moves: Move, held: dict[str, int] | None = None, ending: Ending | None = None, **link: str):
    now = {m.alias: m.to_version for m in moves} if held is None else held
    return version_texts(made, moves, now, link, ending)


def headline(made: VersionRecord, *moves: Move, **known: object) -> str:
    return texts(made, *moves, **known).card.split("\n\n")[1]


@pytest.mark.parametrize(
    ("label", "verdict", "sentence"),
    [
        ("pretrained", "converged",
         "A pre-trained model: its held-out loss had converged, and then its learning rate was decayed."),
        ("pretrained", "improving",
         "A pre-trained model that was not found to have converged: the cap on its tokens ended the training. Before that its "
         "learning rate was decayed."),
        ("pretrained", "overfitting", "A pre-trained model that had begun to over-fit; then its learning rate was decayed."),
        ("pretrained", "not learning", "A pre-trained model with the verdict not learning."),
        ("pretrained", None, "A pre-trained model without a verdict."),
        ("converged step 40", "converged",
         "The model at step 40, where its held-out loss was judged to have converged, without the decay."),
        ("pretraining step 40", "improving", "A milestone of a pre-training, at step 40, with the verdict improving."),
        ("pretraining step 40", "overfitting", "A milestone of a pre-training, at step 40, with the verdict overfitting."),
        ("pretraining step 40", None, "A milestone of a pre-training, at step 40."),
        ("candidate", None, "A fine-tuned model. No gate has decided about it."),
    ],
)  # fmt: skip
def test_a_version_is_called_what_its_verdict_says(label, verdict, sentence):
    assert headline(record(label, verdict)) == sentence


@pytest.mark.parametrize(
    ("ending", "sentence"),
    [
        (Ending(step=60, verdict="overfitting"), "The training was finished at step 60 with the verdict overfitting."),
        (Ending(step=60), "The training was finished at step 60."),
        (Ending(error="it has diverged: loss 9"), "The training ended without a model: it has diverged: loss 9."),
    ],
)  # fmt: skip
def test_a_milestone_says_how_its_training_ended(ending, sentence):
    said = headline(record("pretraining step 40", "improving"), ending=ending)
    assert said == f"A milestone of a pre-training, at step 40, with the verdict improving. {sentence}"


@pytest.mark.parametrize(
    ("decision", "moves", "held", "status", "sentence"),
    [
        (None, [], {}, "undecided", "No gate has decided about it."),
        ("reject", [], {"champion": 1}, "rejected", "The gate rejected it at 2030-01-02T00:00:00+00:00."),
        ("promote", [], {"champion": 1}, "passed",
         "The gate passed it at 2030-01-02T00:00:00+00:00; it has not been made the champion."),
        ("promote", [move(1, 2, 1)], {"champion": 2}, "champion", "The champion since 2030-02-01T00:00:00+00:00."),
        ("promote", [move(1, 2, 1), move(2, 3, 5)], {"champion": 3}, "replaced",
         "It was the champion from 2030-02-01T00:00:00+00:00 to 2030-02-05T00:00:00+00:00, then replaced by version 3."),
        ("promote", [move(None, 1, 1), move(1, 2, 2), move(2, 1, 7)], {"champion": 1}, "rolled back",
         "It was the champion from 2030-02-02T00:00:00+00:00 to 2030-02-07T00:00:00+00:00, then rolled back to version 1."),
        ("promote", [move(1, 2, 1), move(2, 3, 5), move(3, 2, 9)], {"champion": 2}, "champion",
         "The champion since 2030-02-09T00:00:00+00:00."),
        # Moved in MLflow's own page, of which there is no record but what holds now:
        (None, [], {"champion": 2}, "champion", "The champion; the alias was set in MLflow itself."),
        ("promote", [move(1, 2, 1)], {"champion": 9}, "replaced",
         "It was made the champion at 2030-02-01T00:00:00+00:00; since then the alias was moved in MLflow itself."),
        ("promote", [move(1, 2, 1), move(4, 5, 6)], {"champion": 2}, "champion",
         "The champion; the alias was set in MLflow itself."),
        ("promote", [move(2, 3, 4)], {"champion": 3}, "replaced",
         "It was the champion to 2030-02-04T00:00:00+00:00, then replaced by version 3."),
    ],
)  # fmt: skip
def test_a_candidate_says_what_became_of_it(decision, moves, held, status, sentence):
    made = record(decision=decided(decision) if decision else None)
    assert headline(made, *moves, held=held) == f"A fine-tuned model. {sentence}"
    assert texts(made, *moves, held=held).tags["status"] == status


def test_a_decision_is_told_with_its_reasons_and_what_it_compared_with():
    card = texts(record(decision=decided("reject"))).card
    assert "**reject**, at 2030-01-02T00:00:00+00:00, compared with version 1.\n\n- ✓ accuracy 0.61\n- ✗ too few" in card
    assert "there was no champion to compare with." in texts(record(decision=decided("promote", None))).card
    assert "Decision" not in texts(record()).card


def test_aliases_are_those_that_it_holds_and_the_moves_that_it_took_part_in():
    moves = [move(None, 1, 1), move(1, 2, 2), move(None, 2, 3, "candidate"), move(2, 3, 4, "candidate")]
    card = texts(record(), *moves).card
    assert "Holds now: `champion`." in card
    section = card.split("## Aliases")[1].split("\n## ")[0]
    assert [line.split()[2] for line in section.splitlines() if line.startswith("- ")] == [
        "candidate:",
        "candidate:",
        "champion:",
    ]
    assert "nobody -> version 1" not in section
    assert "Holds now: none." in texts(record(), move(2, 3, 1)).card
    assert "## Aliases" not in texts(record()).card


def test_tags_are_those_of_the_record_and_what_is_so_now():
    made = record("pretrained", "converged")
    assert texts(made).tags == {"step": "40", "digest": DIGEST, "verdict": "converged"}
    tags = texts(record(decision=decided("reject")), prefect_flow_run_id="f-1").tags
    assert tags == {
        "step": "40", "digest": DIGEST, "status": "rejected", "decision": "reject", "prefect_flow_run_id": "f-1",
    }  # fmt: skip
    assert "- Prefect flow run: f-1" in texts(made, prefect_flow_run_id="f-1").card.splitlines()


def test_the_card_keeps_the_order_of_its_sections():
    card = texts(record(decision=decided("promote")), move(1, 2, 1), prefect_flow_run_id="f-1").card
    titles = [line for line in card.splitlines() if line.startswith("#")]
    assert titles == ["# demo: candidate", "## Decision of the gate", "## Aliases", "## Metrics", "## Links"]
    assert card.index("| numbers |") < card.index("## Decision")


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"candidate_accuracy": 0.76191, "candidate_answer_loss": 1.0}, "accuracy 0.7619"),
        ({"candidate_answer_loss": 1.25}, "answer loss 1.2500"),
        ({"candidate_accuracy": None}, None),
        ({"accuracy": 0.5}, None),
    ],
)
def test_the_score_is_the_first_number_that_was_measured(metrics, said):
    assert score_text(metrics, "candidate_") == said


def test_short_tags_name_what_the_version_was_made_from():
    inputs = {
        "base": Input(path="/h/runs/a", digest="b" * 64),
        "examples": Input(path="/h/datasets/topic-0123", digest="e" * 64),
    }
    made = Manifest(kind="finetune", request_digest="r", metrics={"bits_per_byte": 2.5})
    assert short_tags(made, inputs, None) == {"score": "bits per byte 2.5000", "base": "b" * 12, "data": f"topic {'e' * 12}"}
    assert short_tags(made, {}, "demo-base version 3") == {
        "score": "bits per byte 2.5000", "base": "demo-base version 3", "data": None,
    }  # fmt: skip
