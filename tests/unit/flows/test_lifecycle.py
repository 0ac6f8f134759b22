import pytest

from flows.lifecycle import examples_stage, finetuning, pretraining
from tasks.config.presets import parse_config
from tasks.record.layout import FinetuneLayout, RunLayout
from tests.kit.finished_runs import config_on_files, finish_pretraining, finished_result, tiny_values, tuned


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


@pytest.fixture
def with_random_init(tmp_path, config):
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"
    return parse_config(values)


def test_every_stage_needs_what_was_made_before_it_only(home, with_random_init):
    made = set()
    for stage in [*pretraining(RunLayout(home, "r"), with_random_init), *finetuning(home, tuned(with_random_init))]:
        assert set(stage.needs) <= made, stage.name
        assert stage.role not in made, stage.name
        made.add(stage.role)


def test_the_comparison_with_random_weights_is_made_where_the_gate_asks_for_it(home, config, with_random_init):
    assert [stage.role for stage in finetuning(home, tuned(config))] == ["examples", "candidate"]
    assert [stage.role for stage in finetuning(home, tuned(with_random_init))] == ["examples", "candidate", "random_init"]


def test_a_candidate_and_its_random_twin_lie_in_one_attempt(home, with_random_init):
    one = tuned(with_random_init)
    made = {"base": finish_pretraining(home, with_random_init, "r")[1]}
    for stage in finetuning(home, one):
        made[stage.role] = finished_result(stage.work(made))

    (attempt,) = FinetuneLayout(home, "tiny-animals").attempts

    assert (made["candidate"].stage, made["random_init"].stage) == (attempt.candidate, attempt.random_init)
    assert made["examples"].stage == examples_stage(home, one).work({}).stage


def test_models_are_called_by_their_run_and_by_their_fine_tune(home, config):
    stages = [*pretraining(RunLayout(home, "r"), config), *finetuning(home, tuned(config))]
    assert {stage.model: stage.label for stage in stages if stage.model} == {
        "tiny": "pretrained",
        "tiny-animals": "candidate",
    }
