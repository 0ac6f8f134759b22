"""The command line that pre-trains a run again gives the run's own settings."""

import shlex

import pytest

from tasks.audit.command_lines import pretrain_again, toml
from tasks.config.presets import load_config, parse_config, read_preset, toml_value
from tasks.record.files import write_json
from tasks.record.layout import RunLayout


def words(command: str) -> tuple[list[str], list[str], str]:
    """Presets, assignments and name."""
    word, preset, flag, name, *rest = shlex.split(command)
    assert (word, flag) == ("run", "--name") and set(rest[::2]) <= {"--set"}
    return [preset], rest[1::2], name


def again(home, config, name="demo"):
    write_json(RunLayout(home, name).config, config.model_dump(mode="json"))
    return pretrain_again(home, name)


def test_a_preset_with_one_change_is_that(home):
    config = load_config(["demo"], ["pretrain.seed=3"])
    presets, assignments, name = words(again(home, config))
    assert (presets, name) == (["demo"], "demo-2")
    assert sorted(assignments) == ["finetune=[]", "pretrain.seed=3", 'registry.model_name="demo"']


def test_what_comes_out_is_the_same_but_for_the_fine_tunes(home):
    mixture = [{"name": "more", "source": "text", "path": "/my texts/a'b", "weight": 0.5}]
    values = read_preset("cpu-base")
    values["data"] |= {"source": "jsonl", "path": "/données/x.jsonl", "weight": 0.5, "mixture": mixture}
    values["registry"] = {"model_name": "kept"}
    config = parse_config(values)
    presets, assignments, _ = words(again(home, config))
    found = load_config(presets, assignments)
    left_out = {"description", "finetune"}
    assert found.model_dump(exclude=left_out) == config.model_dump(exclude=left_out) and found.finetune == ()


def test_the_name_is_one_that_is_free(home):
    RunLayout(home, "demo-2").path.mkdir(parents=True)
    assert words(again(home, load_config(["demo"])))[2] == "demo-3"


@pytest.mark.parametrize("content", [None, "{", '{"no_such_section": 1}'])
def test_without_a_configuration_that_is_taken_there_is_none(home, content):
    if content is not None:
        RunLayout(home, "demo").path.mkdir(parents=True)
        RunLayout(home, "demo").config.write_text(content)
    assert pretrain_again(home, "demo") == ""


@pytest.mark.parametrize("value", [None, True, 3, 1e-9, "a b", 'say "x"', ["a", 1], [{"k": [1, 2], "n": {"m": "ü"}}]])
def test_values_are_read_back_as_they_were(value):
    assert toml_value(toml(value)) == value


def test_what_is_empty_in_a_table_is_left_out():
    assert toml_value(toml([{"a": None, "b": 1}])) == [{"b": 1}]
