from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from flows.approval import Answer, answered, blessing, can_wait, form, open_elsewhere
from tasks.record.approvals import Approval, keep_approval
from tasks.record.layout import FinetuneLayout, attempt_of
from tasks.record.outcomes import Outcome, note_outcome, read_outcomes
from tests.kit.finished_runs import config_on_files, finish_evaluation, finish_pretraining, tuned

RUN = "0199c0de-0000-7000-8000-000000000001"


@pytest.fixture
def settings(tmp_path):
    one = tuned(config_on_files(tmp_path / "in"))
    asking = {"approval": "required", "approvers": ("anna", "ben"), "approval_days": 2.0}
    return one.model_copy(update={"gate": one.gate.model_copy(update=asking)})


@pytest.fixture
def made(home, settings, tmp_path):
    base = finish_pretraining(home, config_on_files(tmp_path / "in"), "r")[1]
    return finish_evaluation(home, settings, base, "promote")


@pytest.fixture
def came(made):
    attempt = attempt_of(made["candidate"].stage).path.name
    return {"attempt": attempt, "version": 1, "evaluation": made["decision"].stage.path.name}


@pytest.fixture
def shown(monkeypatch):
    """What became an artifact of the flow run that asks, which is one of a command: it cannot be started again."""
    found = []
    monkeypatch.setattr("flows.approval.flow_run", SimpleNamespace(id=RUN))
    monkeypatch.setattr("flows.approval.started_by", lambda: {"flow_run_id": RUN, "slot": None})
    monkeypatch.setattr("flows.approval.create_markdown_artifact", lambda text, **_: found.append(text))
    monkeypatch.setattr("flows.approval.abandoned", lambda question: False)
    return found


def question(came, seconds=3600.0, run=RUN):
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")
    return Outcome(came="Waiting for approval", message="v1: +2.1 points", until=until, flow_run_id=run, **came)


def test_outside_of_a_deployment_nothing_can_be_suspended():
    assert can_wait() is False


def test_the_form_shows_the_blessing_and_lets_the_approvers_choose_their_name(settings, made, came):
    asked = form(settings, made["decision"], question(came))

    schema = asked.model_json_schema()
    assert schema["properties"]["decision"]["enum"] == ["approve", "refuse"]
    assert schema["properties"]["by"]["enum"] == ["anna", "ben"]
    assert schema["required"] == ["decision", "by"]
    assert asked._description == blessing(settings, made["decision"], question(came))


def test_without_approvers_anybody_gives_a_name(settings, made, came):
    anybody = settings.model_copy(update={"gate": settings.gate.model_copy(update={"approvers": ()})})

    asked = form(anybody, made["decision"], question(came))

    assert "enum" not in asked.model_json_schema()["properties"]["by"]
    with pytest.raises(ValidationError, match="at least 1 character"):
        asked(decision="approve", by="")


def test_the_blessing_has_scores_reasons_and_how_to_answer(settings, made, came):
    lines = blessing(settings, made["decision"], question(came)).splitlines()

    assert lines[0] == "**tiny-animals version 1** passed the gate, there was no champion."
    assert lines[2].startswith("v1: +2.1 points. It can be answered until 20")
    assert "| fine-tuned | accuracy 0.8100 |" in lines
    assert "- ✓ accuracy 0.81 is enough" in lines


def test_what_the_form_gives_is_an_answer_with_name_and_reason():
    given = Answer(decision="refuse", by="ben", reason=" too short ").approval

    assert (given.decision, given.by, given.reason) == ("refused", "ben", "too short")
    assert Answer(decision="approve", by="anna").approval.text == "approved by anna"


def test_a_command_ends_as_waiting_and_says_how_to_answer(home, settings, made, came, shown):
    outcome = answered(settings, made["decision"], came, "+2.1 points")

    assert isinstance(outcome, Outcome)
    assert outcome.came == "Waiting for approval"
    assert outcome.message.startswith("v1: +2.1 points; to answer until ")
    assert "approve tiny-animals 1`, or `refuse` in place of `approve`" in outcome.message
    waits = datetime.fromisoformat(outcome.until) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < waits <= timedelta(days=2)
    assert read_outcomes(FinetuneLayout(home, settings.name)) == [outcome]
    assert shown[0].startswith("## Waits for an answer\n\n**tiny-animals version 1**")


def test_an_answer_that_is_there_is_taken(settings, made, came, shown):
    anna = keep_approval(made["decision"].stage, Approval(decision="approved", by="anna"))

    assert answered(settings, made["decision"], came, "+2.1 points") == anna
    assert shown == []


def test_a_question_whose_time_ran_out_is_expired_and_is_asked_anew_only_by_another_run(home, settings, made, came, shown):
    layout = FinetuneLayout(home, settings.name)
    note_outcome(layout, question(came, seconds=-1))

    expired = answered(settings, made["decision"], came, "+2.1 points")

    assert expired.decision == "expired"
    note_outcome(layout, Outcome(came="Expired", message="v1: nobody answered in time", **came))
    assert answered(settings, made["decision"], came, "+2.1 points") == expired


def test_after_an_expired_question_another_run_asks_again(home, settings, made, came, shown):
    layout = FinetuneLayout(home, settings.name)
    note_outcome(layout, question(came, seconds=-1, run="another"))
    keep_approval(made["decision"].stage, Approval(decision="expired"))
    note_outcome(layout, Outcome(came="Expired", message="v1: nobody answered in time", **came))

    assert answered(settings, made["decision"], came, "+2.1 points").came == "Waiting for approval"


def test_an_attempt_that_another_run_asks_about_is_left_to_it(home, settings, made, came, shown):
    layout = FinetuneLayout(home, settings.name)
    assert open_elsewhere(settings.name, came["attempt"]) is None
    asked = question(came, run="another")
    note_outcome(layout, asked)

    found = open_elsewhere(settings.name, came["attempt"])

    assert (found.came, found.message) == ("Skipped", f"v1 waits for approval since {asked.time}")
    note_outcome(layout, question(came))
    assert open_elsewhere(settings.name, came["attempt"]) is None
    note_outcome(layout, question(came, seconds=-1, run="another"))
    assert open_elsewhere(settings.name, came["attempt"]) is None
