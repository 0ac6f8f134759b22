from datetime import UTC, datetime, timedelta

import pytest

from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import Outcome, asked_by, decided, note_outcome, open_question, read_outcomes


@pytest.fixture
def layout(tmp_path):
    return FinetuneLayout(tmp_path, "topic")


def noted(layout, came, attempt="a1", run="run-1", **more):
    outcome = Outcome(came=came, message="v1: so", attempt=attempt, version=1, flow_run_id=run, **more)
    note_outcome(layout, outcome)
    return outcome


def test_what_was_noted_is_read_again_in_order(layout):
    first, second = noted(layout, "Rejected"), noted(layout, "Promoted", by="anna", reason="good", slot="2030-01-01")

    assert read_outcomes(layout) == [first, second]
    assert second.text == "Promoted v1: so"


def test_a_question_is_open_until_something_came_of_it(layout):
    assert open_question(layout, "a1") is None
    asked = noted(layout, "Waiting for approval")
    noted(layout, "Skipped")
    noted(layout, "Rejected", attempt="a2")

    assert open_question(layout, "a1") == asked
    assert open_question(layout, "a2") is None
    assert decided(layout, layout.path / "a1") is None

    refused = noted(layout, "Refused", by="ben")

    assert open_question(layout, "a1") is None
    assert decided(layout, layout.path / "a1") == refused


def test_a_flow_run_finds_the_last_question_that_it_asked(layout):
    noted(layout, "Waiting for approval", evaluation="evaluate-1")
    again = noted(layout, "Waiting for approval", evaluation="evaluate-2")
    noted(layout, "Waiting for approval", run="run-2")
    noted(layout, "Promoted")

    assert asked_by(layout, "run-1") == again
    assert asked_by(layout, "run-3") is None


@pytest.mark.parametrize(("seconds", "ran_out"), [(-1, True), (60, False)])
def test_a_question_runs_out(layout, seconds, ran_out):
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")

    assert noted(layout, "Waiting for approval", until=until).ran_out is ran_out


def test_what_is_no_question_does_not_run_out(layout):
    assert noted(layout, "Promoted").ran_out is False
