import pytest

from flows.lifecycle import finetuning, pretraining, promotion
from flows.walk import VERBS, do
from tasks.config.presets import parse_config
from tasks.record.layout import RunLayout
from tests.kit.finished_runs import DATASET_METRICS, config_on_files, finished_result, tiny_values, write_inputs


def test_every_stage_has_its_verb(home, tmp_path):
    write_inputs(tmp_path / "in")
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"
    config = parse_config(values)
    run, one = RunLayout(home, "r"), config.finetune[0]

    stages = [*pretraining(run, config), *finetuning(run, config, one), *promotion(run, config, one)]

    assert {stage.role for stage in stages} == VERBS.keys()


@pytest.mark.parametrize("answer", ["promote", "reject"])
def test_what_is_there_is_not_made_again_and_what_is_not_needed_is_left_out(home, tmp_path, monkeypatch, answer):
    config = config_on_files(tmp_path / "in")
    run, one = RunLayout(home, "r"), config.finetune[0]
    calls = []

    def verb(stage, made):
        calls.append(stage.name)
        return finished_result(stage.work(made), DATASET_METRICS, {"decision": answer})

    for role in VERBS:
        monkeypatch.setitem(VERBS, role, verb)
    text, pretrain = pretraining(run, config)
    given = do([text], {})
    calls.clear()

    made = do([text, pretrain, *finetuning(run, config, one), *promotion(run, config, one)], given)

    promotions = ["promote animals"] if answer == "promote" else []
    assert calls == ["pre-train", "prepare examples animals", "fine-tune animals", "evaluate animals", *promotions]
    assert made["dataset"] == given["dataset"] and given.keys() == {"dataset"}
    assert ("promotion" in made) == (answer == "promote")
