import fcntl
import json
import os

import pytest

from flows.states import complete, observed_states, plan_run, run_names
from tasks.config.presets import parse_config
from tasks.record.errors import ConfigError, DataError, RequestChangedError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout, digest_cache
from tasks.stages.work import prepare_work, pretrain_work, promote_work
from tests.kit.finished_runs import (
    config_on_files,
    finish_evaluation,
    finish_pretraining,
    finished_result,
    register,
    tiny_values,
)


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


def states_by_name(config, home):
    return {state.name: state.state for state in plan_run(config, "r", home)}


def test_a_fresh_run_has_everything_to_do_and_planning_begins_nothing(home, config):
    states = plan_run(config, "r", home)

    assert [state.name for state in states] == [
        "prepare text", "pre-train", "register tiny-base", "prepare examples animals", "fine-tune animals",
        "register tiny-animals", "evaluate animals", "promote animals",
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
    assert states_by_name(config, home)["register tiny-base"] == "to do"

    register(home, base.stage, {"tiny-base": {"pretrained": 7}})
    state = next(s for s in plan_run(config, "r", home) if s.name == "register tiny-base")
    assert (state.state, state.detail) == ("done", "as version 7")


def test_a_promoted_candidate_completes_the_run(home, config):
    _, base = finish_pretraining(home, config, "r")
    made = finish_evaluation(home, config, "r", base, "promote")
    assert states_by_name(config, home)["promote animals"] == "to do"

    finished_result(promote_work(RunLayout(home, "r"), config.finetune[0], "tiny-animals", made["candidate"], made["decision"]))

    assert complete(plan_run(config, "r", home))


def test_a_rejected_candidate_completes_the_run_without_promotion(home, config):
    _, base = finish_pretraining(home, config, "r")
    finish_evaluation(home, config, "r", base, "reject")

    assert states_by_name(config, home)["promote animals"] == "not needed"
    assert complete(plan_run(config, "r", home))


def test_the_comparison_with_random_weights_is_planned_where_the_gate_asks_for_it(home, tmp_path, config):
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"

    assert "random weights animals" in states_by_name(parse_config(values), home)
    assert "random weights animals" not in states_by_name(config, home)


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
    finish_pretraining(home, config, "r")
    write_json(RunLayout(home, "r").config, config)

    assert run_names(home) == ["r"]
    assert [(s.name, s.state) for s in observed_states(RunLayout(home, "r"))] == [
        (prepare_work(home, config).stage.path.name, "done"),
        ("02-pretrain", "done"),
    ]
