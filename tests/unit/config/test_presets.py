"""Defaults < presets, left to right < --set; and every mistake on the way in one sentence."""

from pathlib import Path

import pytest

from tasks.config.config import Config
from tasks.config.presets import explain, load_config, merge, preset_names, read_preset, toml_value
from tasks.record.errors import ConfigError


def preset(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_of_the_project_is_valid_and_described(name: str) -> None:
    config = load_config([name])
    assert config.description.endswith(".")
    assert config != Config()


def test_the_presets_of_the_first_release_are_there() -> None:
    assert {"demo", "cpu-base", "gpu-124m", "gpu-1b"} <= set(preset_names())
    assert preset_names() == sorted(preset_names())


def test_no_preset_is_the_defaults() -> None:
    assert load_config([]) == Config()


def test_later_presets_and_assignments_win_field_by_field(tmp_path: Path) -> None:
    first = preset(tmp_path, "first", "[pretrain]\nseed = 1\nwarmup_steps = 11\nbeta1 = 0.8\n[model]\nnum_hidden_layers = 2\n")
    second = preset(tmp_path, "second", "[pretrain]\nseed = 2\nwarmup_steps = 12\n")
    config = load_config([first, second], ["pretrain.seed=3", "pretrain.seed=4"])
    assert (config.pretrain.seed, config.pretrain.warmup_steps, config.pretrain.beta1) == (4, 12, 0.8)
    assert config.model.num_hidden_layers == 2
    assert config.pretrain.decay_steps == Config().pretrain.decay_steps
    assert load_config([second, first]).pretrain.seed == 1


def test_lists_are_replaced_and_tables_are_laid_over() -> None:
    values = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    merge(values, {"a": {"y": [3]}, "b": {"z": 1}, "c": None})
    assert values == {"a": {"x": 1, "y": [3]}, "b": {"z": 1}, "c": None}


def test_a_fine_tune_is_addressed_by_its_name_and_its_neighbour_is_left_alone() -> None:
    before = load_config(["demo"])
    config = load_config(["demo"], ["finetune.chat.epochs=7", "finetune.chat.examples.max_examples=99"])
    by_name = {f.name: f for f in config.finetune}
    assert (by_name["chat"].epochs, by_name["chat"].examples.max_examples) == (7, 99)
    assert by_name["topic"] == {f.name: f for f in before.finetune}["topic"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("3e-4", 3e-4), ("true", True), ('"a b"', "a b"), ("gpt2", "gpt2"), ("/data/x.txt", "/data/x.txt"),
        ("", None),
        ("none", None), ("null", None), ("[1, 2]", [1, 2]), ('["a"]', ["a"]), ("{k = 1}", {"k": 1}), ("0 3 * * 1", "0 3 * * 1"),
        ("100_000", 100_000), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_values_are_toml_or_bare_words(text: str, value: object) -> None:
    assert toml_value(text) == value


def test_a_value_may_hold_equals_signs_and_none_turns_a_setting_off() -> None:
    config = load_config(["demo"], ["description=a=b", "pretrain.max_grad_norm=none", "finetune.topic.schedule="])
    assert config.description == "a=b"
    assert config.pretrain.max_grad_norm is None
    assert config.finetune[0].schedule is None


MISTAKES = [
    ("pretrain.sed=1", "pretrain.sed is not a known setting; did you mean 'seed'?"),
    ("pretain.seed=1", "pretain is not a known setting; did you mean 'pretrain'?"),
    ("finetune.topic.epoch=1", "finetune.0.epoch is not a known setting; did you mean 'epochs'?"),
    ("finetune.topic.gate.margni=0.9", "finetune.0.gate.margni is not a known setting; did you mean 'margin'?"),
    ("registry.zzz=1", "registry.zzz is not a known setting; known here: model_name"),
    ("pretrain.seed", "--set 'pretrain.seed' is not of the form section.field=value; for example pretrain.seed=1"),
    ("=1", "--set '=1' is not of the form section.field=value; for example pretrain.seed=1"),
    ("finetune.sentiment.epochs=1", "--set finetune.sentiment.epochs: no element is named 'sentiment'; there are: topic, chat"),
    ("finetune.topic=1", "--set finetune.topic: finetune is not a section; address a field inside a section"),
    ("pretrain.warmup_steps.x=1",
     "--set pretrain.warmup_steps.x: pretrain.warmup_steps is not a section; address a field inside a section"),
    ("pretrain.warmup_steps.x.y=1",
     "--set pretrain.warmup_steps.x.y: x lies inside a plain value; address a field of a section"),
    ("pretrain.seed=-1", "pretrain.seed=-1 is not valid: input should be greater than or equal to 0; see configs/README.md or "
     "--help"),
    ("pretrain=5", "pretrain=5 is not valid: input should be a valid dictionary or instance of PretrainConfig; see "
     "configs/README.md or --help"),
]  # fmt: skip


@pytest.mark.parametrize(("assignment", "expected"), MISTAKES)
def test_a_wrong_assignment_is_explained(assignment: str, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_config(["demo"], [assignment])
    assert str(found.value) == expected


def test_without_fine_tunes_an_address_of_one_says_so() -> None:
    with pytest.raises(ConfigError, match="no element is named 'topic'; there are: none"):
        load_config([], ["finetune.topic.epochs=2"])


def test_a_preset_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preset 'dmo' does not exist; did you mean 'demo'\? presets are .*cpu-base, demo"):
        load_config(["dmo"])
    with pytest.raises(ConfigError, match=r"preset '.*gone.toml' does not exist; presets are"):
        load_config([str(tmp_path / "gone.toml")])
    with pytest.raises(ConfigError, match=r"preset '.*broken.toml' is not valid TOML \(.*line 2.*\); mend broken.toml"):
        load_config([preset(tmp_path, "broken", "[pretrain]\nseed = = 1\n")])
    (tmp_path / "latin.toml").write_bytes(b'description = "caf\xe9"\n')
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_config([str(tmp_path / "latin.toml")])


def test_presets_are_read_anew_each_time() -> None:
    read_preset("demo")["pretrain"]["seed"] = 99
    assert read_preset("demo")["pretrain"].get("seed") != 99


def test_only_the_first_mistake_is_told() -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as found:
        Config.model_validate({"pretrain": {"seed": -1, "sed": 2, "beta1": 3}})
    assert found.value.error_count() == 3
    assert explain(found.value).count("pretrain.") == 1
