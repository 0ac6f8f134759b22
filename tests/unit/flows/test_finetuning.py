"""Which attempt a fine-tune's settings, base and examples are: asked again it is the same, and changed it is another."""

import pytest

from flows.lifecycle import finetuning
from tasks.config.presets import changed
from tasks.record.layout import FinetuneLayout
from tasks.registry.find_base import find_base
from tests.kit.finished_runs import config_on_files, finish_pretraining, finished_result, tuned


@pytest.fixture
def settings(home, tmp_path):
    config = config_on_files(tmp_path / "in")
    finish_pretraining(home, config, "r")
    return tuned(config)


def attempt(home, settings):
    """The folder that a fine-tune's candidate is made in."""
    made = {"base": find_base(home, settings)}
    for stage in finetuning(home, settings)[:-1]:
        made[stage.role] = finished_result(stage.work(made))
    return finetuning(home, settings)[-1].work(made).stage.path


def test_new_examples_make_one_new_attempt_however_often_it_is_asked(home, settings, tmp_path):
    before = {attempt(home, settings) for _ in range(2)}
    with (tmp_path / "in" / "animals.jsonl").open("a") as file:
        file.write('\n{"text": "one more bird", "label": "cat"}')

    after = {attempt(home, settings) for _ in range(2)}

    assert (len(before), len(after)) == (1, 1)
    assert before != after
    assert {path.parents[1] for path in before | after} == {FinetuneLayout(home, "tiny-animals").path}


def test_another_recipe_is_another_attempt_of_the_same_fine_tune_and_another_gate_is_not(home, settings):
    first = attempt(home, settings)

    assert attempt(home, changed(settings, ["learning_rate=1e-3"])) != first
    assert attempt(home, changed(settings, ["learning_rate=1e-3"])).parents[1] == first.parents[1]
    for other in ("gate.level=0.01", "launch.max_restarts=0", "min_new_examples=5", "overlap=skip"):
        assert attempt(home, changed(settings, [other])) == first, other
