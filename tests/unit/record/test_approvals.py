import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.record.approvals import Approval, keep_approval, read_approval
from tasks.record.layout import StageLayout


@pytest.fixture
def evaluation(tmp_path):
    return StageLayout(tmp_path / "evaluate-1234")


def test_an_answer_lies_beside_the_evaluation_and_says_who_when_and_why(evaluation):
    assert read_approval(evaluation) is None

    kept = keep_approval(
        evaluation, Approval(decision="approved", by="anna", reason="reads well", time="2030-01-01T10:00:00+00:00")
    )

    assert read_approval(evaluation) == kept
    assert json.loads((evaluation.path / "approval.json").read_text()) == {
        "decision": "approved",
        "by": "anna",
        "reason": "reads well",
        "time": "2030-01-01T10:00:00+00:00",
    }
    assert [path.name for path in evaluation.path.iterdir()] == ["approval.json"]


def test_of_answers_at_once_one_stands_for_all(evaluation):
    given = [Approval(decision="refused" if number % 2 else "approved", by=f"person {number}") for number in range(16)]
    evaluation.path.mkdir()

    with ThreadPoolExecutor(8) as pool:
        stood = list(pool.map(lambda one: keep_approval(evaluation, one), given))

    assert len({one.by for one in stood}) == 1
    assert stood[0] == read_approval(evaluation)


def test_a_person_may_answer_after_the_time_ran_out_and_nothing_may_after_a_person(evaluation):
    keep_approval(evaluation, Approval(decision="expired"))
    anna = keep_approval(evaluation, Approval(decision="refused", by="anna"))

    assert read_approval(evaluation) == anna
    assert keep_approval(evaluation, Approval(decision="expired")) == anna
    assert keep_approval(evaluation, Approval(decision="approved", by="ben")) == anna


def test_an_answer_is_told_in_a_sentence():
    assert Approval(decision="approved", by="anna", reason="reads well").text == "approved by anna: reads well"
    assert Approval(decision="refused", by="ben").text == "refused by ben"
    assert Approval(decision="expired").text == "nobody answered in time"
