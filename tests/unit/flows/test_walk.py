from flows.lifecycle import finetuning, pretraining
from flows.walk import VERBS, do
from tasks.config.presets import parse_config
from tasks.record.layout import RunLayout
from tests.kit.finished_runs import DATASET_METRICS, config_on_files, finished_result, tiny_values, tuned, write_inputs


def test_every_stage_has_its_verb(home, tmp_path):
    write_inputs(tmp_path / "in")
    values = tiny_values(tmp_path / "in")
    values["finetune"][0]["gate"]["above_random_init"] = "required"
    config = parse_config(values)

    stages = [*pretraining(RunLayout(home, "r"), config), *finetuning(home, tuned(config))]

    assert {stage.role for stage in stages} == VERBS.keys()


def test_what_is_there_is_not_made_again(home, tmp_path, monkeypatch):
    config = config_on_files(tmp_path / "in")
    calls = []

    def verb(stage, made):
        calls.append(stage.name)
        return finished_result(stage.work(made), DATASET_METRICS)

    for role in VERBS:
        monkeypatch.setitem(VERBS, role, verb)
    text, pretrain = pretraining(RunLayout(home, "r"), config)
    given = do([text], {})
    calls.clear()

    made = do([text, pretrain, *finetuning(home, tuned(config))], given)

    assert calls == ["pre-train", "prepare examples tiny-animals", "fine-tune tiny-animals"]
    assert made["dataset"] == given["dataset"] and given.keys() == {"dataset"}
    assert made.keys() == {"dataset", "base", "examples", "candidate"}
