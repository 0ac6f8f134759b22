import fcntl
import json
import os

import pytest

from flows.states import complete, finetune_names, observed_states, plan_finetune, plan_run, run_names, stages_in
from tasks.config.presets import parse_config
from tasks.record.errors import ConfigError, DataError, RequestChangedError
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout, RunLayout, digest_cache
from tasks.stages.work import prepare_work, pretrain_work
from tests.kit.finished_runs import (
    config_on_files,
    finish_evaluation,
    finish_pretraining,
    finish_refresh,
    finished_result,
    register,
    tiny_values,
    tuned,
)


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


def states_by_name(config, home):
    return {state.name: state.state for state in plan_run(config, "r", home)}


def test_a_fresh_run_has_everything_to_do_and_planning_begins_nothing(home, config):
    states = plan_run(config, "r", home)

    assert [state.name for state in states] == [
        "prepare text", "pre-train", "register tiny", "prepare examples tiny-animals", "fine-tune tiny-animals",
        "register tiny-animals", "judge tiny-animals",
    ]  # fmt: skip
    assert {state.state for state in states} == {"to do"}
    assert not complete(states)


def test_planning_writes_the_cache_of_digests_and_nothing_else(home, config):
    for name in ("text.jsonl", "animals.jsonl"):
        os.utime(home.parent / "in" / name, (0, 0))  # what changed just now is not cached

    plan_run(config, "r", home)

    assert [path for path in home.rglob("*") if path.is_file()] == [digest_cache(home)]


def test_a_finished_stage_is_done_and_the_next_one_can_be_planned(home, config):
    dataset = finished_result(prepare_work(home, config), {"vocab_size": 300, "train_tokens": 5000, "heldout_tokens": 500})

    states = plan_run(config, "r", home)

    assert (states[0].state, states[0].result) == ("done", dataset)
    assert (states[1].state, states[1].detail) == ("to do", "")
    assert states[4].detail == "after the stages before it"


def test_a_model_that_is_not_registered_keeps_the_run_from_being_complete(home, config):
    _, base = finish_pretraining(home, config, "r")
    base.stage.registration.unlink()
    assert states_by_name(config, home)["register tiny"] == "to do"

    register(home, base.stage, {"tiny": {"pretrained": 7}})
    state = next(s for s in plan_run(config, "r", home) if s.name == "register tiny")
    assert (state.state, state.detail) == ("done", "as version 7")


@pytest.mark.parametrize(
    ("decision", "detail"),
    [("promote", "Promoted v1: accuracy 0.8100, the first champion"), ("reject", "Rejected v1: too low")],
)
def test_a_refresh_that_came_to_its_end_completes_the_run_and_one_that_was_only_evaluated_does_not(
    home, config, decision, detail
):
    _, base = finish_pretraining(home, config, "r")
    finish_evaluation(home, tuned(config), base, decision)
    assert states_by_name(config, home)["judge tiny-animals"] == "to do"

    finish_refresh(home, tuned(config), base, decision)

    states = plan_run(config, "r", home)
    assert complete(states)
    assert (states[-1].name, states[-1].detail) == ("judge tiny-animals", detail)


def test_a_changed_recipe_leaves_a_fine_tune_to_do_and_the_pre_training_alone(home, config, tmp_path):
    _, base = finish_pretraining(home, config, "r")
    finish_refresh(home, tuned(config), base)
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["learning_rate"] = 1e-3

    states = states_by_name(parse_config(values), home)

    assert {name for name, state in states.items() if state == "done"} == {
        "prepare text", "pre-train", "register tiny", "prepare examples tiny-animals",
    }  # fmt: skip


def test_a_fine_tune_is_planned_before_its_base_is_there(home, config):
    states = plan_finetune(tuned(config), home)

    assert [(state.name, state.state) for state in states] == [
        ("prepare examples tiny-animals", "to do"), ("fine-tune tiny-animals", "to do"), ("register tiny-animals", "to do"),
        ("judge tiny-animals", "to do"),
    ]  # fmt: skip
    assert states[1].detail == states[3].detail == "after the stages before it"


def test_the_comparison_with_random_weights_is_planned_where_the_gate_asks_for_it(home, tmp_path, config):
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"

    assert "random weights tiny-animals" in states_by_name(parse_config(values), home)
    assert "random weights tiny-animals" not in states_by_name(config, home)


def test_a_changed_setting_is_refused_by_its_name(home, tmp_path, config):
    finish_pretraining(home, config, "r")
    values = tiny_values(tmp_path / "in")
    values["pretrain"]["seed"] = 4

    with pytest.raises(
        RequestChangedError, match=r"02-pretrain was run with another request: pretrain.seed was 0 and is now 4"
    ):
        plan_run(parse_config(values), "r", home)


def test_a_changed_text_is_noticed(home, tmp_path, config):
    finish_pretraining(home, config, "r")
    text = tmp_path / "in" / "text.jsonl"
    text.write_text(text.read_text().replace("number 7.", "number 8."))

    assert states_by_name(config, home)["prepare text"] == "to do"


def test_a_changed_launch_is_not_another_request(home, tmp_path, config):
    finish_pretraining(home, config, "r")
    values = tiny_values(tmp_path / "in")
    values["launch"]["max_restarts"] = 0

    assert {s.name: s.state for s in plan_run(parse_config(values), "r", home)}["pre-train"] == "done"


def test_data_that_is_missing_or_too_short_is_refused_before_anything_starts(home, tmp_path, config):
    finished_result(prepare_work(home, config), {"vocab_size": 300, "train_tokens": 5000, "heldout_tokens": 20})
    with pytest.raises(ConfigError, match="heldout split, which has 20"):
        plan_run(config, "r", home)

    values = tiny_values(tmp_path / "in")
    values["data"]["path"] = str(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match=r"nowhere\.txt"):
        plan_run(parse_config(values), "r", home)


def test_a_stage_whose_lock_is_held_runs_and_one_without_was_begun(home, config):
    dataset = finished_result(prepare_work(home, config), {"vocab_size": 300, "train_tokens": 5000, "heldout_tokens": 500})
    work = pretrain_work(RunLayout(home, "r"), config, dataset)
    write_json(work.stage.request, work.request)
    step = {"kind": "start", "step": 3, "max_steps": 10, "phase": "stable"}
    work.stage.journal.write_text(json.dumps(step) + "\n")
    assert states_by_name(config, home)["pre-train"] == "begun"

    with work.stage.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = plan_run(config, "r", home)[1]
        assert state.state == "running"
        assert "3/10" in state.detail


def test_what_is_observed_needs_no_configuration(home, config):
    _, base = finish_pretraining(home, config, "r")
    write_json(RunLayout(home, "r").config, config)
    examples = finish_refresh(home, tuned(config), base)["examples"]

    assert (run_names(home), finetune_names(home)) == (["r"], ["tiny-animals"])
    assert observed_names(RunLayout(home, "r").path) == [prepare_work(home, config).stage.path.name, "02-pretrain"]
    (attempt,) = FinetuneLayout(home, "tiny-animals").attempts
    evaluation = attempt.evaluations[0].path.name
    assert observed_names(attempt.path) == [examples.stage.path.name, evaluation, "finetune"]


def observed_names(folder):
    states = observed_states(stages_in(folder))
    assert {state.state for state in states} == {"done"}
    return [state.name for state in states]
