import pytest

from flows.lifecycle import finetuning, pretraining, promotion
from tasks.config.presets import parse_config
from tasks.record.layout import RunLayout
from tests.kit.finished_runs import config_on_files, finish_evaluation, finish_pretraining, finished_result, tiny_values


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


def test_every_stage_needs_what_was_made_before_it_only(home, config):
    run, one = RunLayout(home, "r"), config.finetune[0]
    made = set()
    for stage in [*pretraining(run, config), *finetuning(run, config, one), *promotion(run, config, one)]:
        assert set(stage.needs) <= made, stage.name
        assert stage.role not in made, stage.name
        made.add(stage.role)


def test_the_decision_is_asked_about_the_candidate_and_what_it_is_compared_with(home, tmp_path, config):
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"
    config = parse_config(values)
    run, one = RunLayout(home, "r"), config.finetune[0]
    made = {"base": finish_pretraining(home, config, "r")[1]}
    for stage in finetuning(run, config, one):
        made[stage.role] = finished_result(stage.work(made))

    work = promotion(run, config, one)[0].work(made)

    assert work.stage == run.evaluate("animals")
    assert list(work.request.inputs) == ["candidate", "examples", "base", "random_init"]


@pytest.mark.parametrize(("decision", "reason"), [("promote", ""), ("reject", "the gate rejected the candidate")])
def test_a_promotion_is_not_needed_where_the_gate_said_no(home, config, decision, reason):
    _, base = finish_pretraining(home, config, "r")
    stage = promotion(RunLayout(home, "r"), config, config.finetune[0])[1]

    assert stage.unneeded({}) == ""
    assert stage.unneeded(finish_evaluation(home, config, "r", base, decision)) == reason
