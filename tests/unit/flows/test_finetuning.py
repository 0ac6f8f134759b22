import pytest
from flows.promotion import base_of

from flows.finetuning import name_for, pretrained
from tasks.record.errors import ConfigError, IntegrityError
from tasks.record.layout import RunLayout
from tasks.stages.work import examples_work, finetune_named
from tests.kit.finished_runs import config_on_files, finish_evaluation, finish_pretraining, finished_result


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


def test_a_recurring_fine_tune_keeps_its_run_while_nothing_changed(home, config):
    _, base = finish_pretraining(home, config, "r")
    examples = finished_result(examples_work(home, config.finetune[0]))
    assert name_for(config, "r", config.finetune[0], {"base": base, "examples": examples}) == "r"

    finish_evaluation(home, config, "r", base, "promote")

    assert name_for(config, "r", config.finetune[0], {"base": base, "examples": examples}) == "r"


def test_new_examples_make_one_new_run_however_often_it_is_asked(home, config, tmp_path):
    _, base = finish_pretraining(home, config, "r")
    finish_evaluation(home, config, "r", base, "promote")
    with (tmp_path / "in" / "animals.jsonl").open("a") as file:
        file.write('\n{"text": "one more bird", "label": "cat"}')
    examples = finished_result(examples_work(home, config.finetune[0]))

    names = {name_for(config, "r", config.finetune[0], {"base": base, "examples": examples}) for _ in range(2)}

    assert len(names) == 1
    (name,) = names
    assert name.startswith("r-") and len(name) == 10
    assert RunLayout(home, name).config.exists()


def test_the_base_of_a_candidate_is_the_one_it_was_made_from(home, config):
    _, base = finish_pretraining(home, config, "r")
    candidate = finish_evaluation(home, config, "r", base, "promote")["candidate"]

    assert base_of(candidate, "another-run") == base


def test_what_a_flow_needs_and_is_not_there_is_named(home, config):
    with pytest.raises(IntegrityError, match="02-pretrain"):
        pretrained("nobody")
    with pytest.raises(ConfigError, match="finetune_name='cats' is no fine-tune of this configuration; there are: animals"):
        finetune_named(config, "cats")
