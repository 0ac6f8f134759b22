from datetime import UTC, datetime, timedelta

import pytest

from flows.__main__ import main
from tasks.record.approvals import read_approval
from tasks.record.errors import ComparisonNeededError
from tasks.record.layout import FinetuneLayout, attempt_of
from tasks.record.outcomes import Outcome, note_outcome, read_outcomes
from tests.kit.finished_runs import config_on_files, finish_evaluation, finish_pretraining, tuned

NAME = "tiny-animals"


@pytest.fixture
def asked(home, tmp_path):
    """A candidate that passed the gate, about which a command asked; who may answer is anna or ben."""
    config = config_on_files(tmp_path / "in")
    settings = tuned(config)
    gate = settings.gate.model_copy(update={"approval": "required", "approvers": ("anna", "ben")})
    made = finish_evaluation(
        home, settings.model_copy(update={"gate": gate}), finish_pretraining(home, config, "r")[1], "promote"
    )
    note_outcome(FinetuneLayout(home, NAME), question(made, days=1))
    return made


def question(made, days):
    until = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
    attempt = attempt_of(made["candidate"].stage).path.name
    came = {"attempt": attempt, "version": 1, "evaluation": made["decision"].stage.path.name}
    return Outcome(came="Waiting for approval", message="v1: +2.1 points", until=until, **came)


def refusal(capsys, *arguments):
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_a_refusal_is_recorded_with_who_and_why(home, asked, capsys):
    assert main(["refuse", NAME, "1", "--by", "ben", "--reason", "too short"]) == 0

    assert capsys.readouterr().out == "Refused v1: refused by ben: too short\n"
    outcome = read_outcomes(FinetuneLayout(home, NAME))[-1]
    assert (outcome.came, outcome.by, outcome.reason, outcome.version) == ("Refused", "ben", "too short", 1)
    assert read_approval(asked["decision"].stage).decision == "refused"
    assert "tiny-animals v1 does not wait for approval; it came to: Refused v1: refused by ben" in refusal(
        capsys, "approve", NAME, "1"
    )


def test_an_approval_moves_the_alias_by_who_gave_it(home, asked, capsys, monkeypatch):
    moved = []
    monkeypatch.setattr("tasks.registry.aliases.promote", lambda *args, **told: moved.append((args[1:3], told)))

    assert main(["approve", NAME, "1", "--by", "anna"]) == 0

    assert moved == [((NAME, 1), {"by": "anna", "reason": "approved by anna"})]
    assert capsys.readouterr().out == "Promoted v1: approved by anna\n"
    assert [one.came for one in read_outcomes(FinetuneLayout(home, NAME))] == ["Waiting for approval", "Promoted"]


def test_what_was_approved_is_the_comparison_with_that_champion(home, asked, capsys, monkeypatch):
    def moved(*_, **__):
        raise ComparisonNeededError("the candidate was compared with version 1 and version 2 is champion now")

    monkeypatch.setattr("tasks.registry.aliases.promote", moved)

    said = refusal(capsys, "approve", NAME, "1", "--by", "anna")

    assert "version 2 is champion now: `pretune promote tiny-animals 1` compares it anew and asks again" in said
    assert [one.came for one in read_outcomes(FinetuneLayout(home, NAME))] == ["Waiting for approval"]


def test_who_may_not_answer_is_told_who_may(home, asked, capsys):
    said = refusal(capsys, "approve", NAME, "1", "--by", "eve")

    assert "--by=eve is not among gate.approvers; give one of: anna, ben" in said
    assert read_approval(asked["decision"].stage) is None


def test_a_version_that_nobody_was_asked_about_is_named(home, asked, capsys):
    assert "nobody was asked about tiny-animals version 7; versions that were asked about: 1" in refusal(
        capsys, "refuse", NAME, "7"
    )
    assert "nobody was asked about cats version 1; versions that were asked about: none" in refusal(
        capsys, "approve", "cats", "1"
    )


def test_an_answer_that_comes_too_late_is_told_how_to_be_asked_again(home, asked, capsys):
    note_outcome(FinetuneLayout(home, NAME), question(asked, days=-1))

    said = refusal(capsys, "approve", NAME, "1", "--by", "anna")

    assert "the time for an answer about tiny-animals v1 ran out at " in said
    assert "`pretune promote tiny-animals 1` compares it anew and asks again" in said
