"""Defaults < presets, left to right < --set; and every mistake on the way in one sentence."""

import json
from pathlib import Path

import pytest

from tasks.config.config import Config
from tasks.config.presets import (
    changed,
    explain,
    load_config,
    load_finetune,
    merge,
    parse_config,
    preset_names,
    read_preset,
    toml_value,
)
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
    config = load_config(["demo"], ["description=a=b", "pretrain.max_grad_norm=none", "finetune.topic.schedule=[]"])
    assert config.description == "a=b"
    assert config.pretrain.max_grad_norm is None
    assert config.finetune[0].schedule == ()


MISTAKES = [
    ("pretrain.sed=1", "pretrain.sed is not a known setting; did you mean 'seed'?"),
    ("pretain.seed=1", "pretain is not a known setting; did you mean 'pretrain'?"),
    ("finetune.topic.epoch=1", "finetune.topic.epoch is not a known setting; did you mean 'epochs'?"),
    ("finetune.topic.gate.margni=0.9", "finetune.topic.gate.margni is not a known setting; did you mean 'margin'?"),
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
    assert explain(found.value, Config, {}).count("pretrain.") == 1


def test_fine_tunes_can_be_tables_of_their_names(tmp_path: Path) -> None:
    first = preset(tmp_path, "first", "[finetune.topic]\nepochs = 3\n[finetune.topic.gate]\nlevel = 0.01\n[finetune.chat]\n")
    config = load_config([first])
    assert [(one.name, one.epochs) for one in config.finetune] == [("topic", 3), ("chat", 2)]
    assert config.finetune[0].gate.level == 0.01
    second = preset(tmp_path, "second", "[finetune.topic]\nepochs = 4\n[finetune.more]\nepochs = 5\n")
    laid_over = load_config([first, second], ["finetune.topic.gate.min_score=0.5"])
    assert [(one.name, one.epochs) for one in laid_over.finetune] == [("topic", 4), ("chat", 2), ("more", 5)]
    assert (laid_over.finetune[0].gate.level, laid_over.finetune[0].gate.min_score) == (0.01, 0.5)


def test_tables_over_a_list_of_fine_tunes_change_the_one_of_their_name_and_lists_take_its_place(tmp_path: Path) -> None:
    over = preset(tmp_path, "over", "[finetune.chat]\nepochs = 9\n[finetune.third]\nepochs = 8\n")
    before = {one.name: one for one in load_config(["demo"]).finetune}
    after = {one.name: one for one in load_config(["demo", over]).finetune}
    assert list(after) == ["topic", "chat", "third"]
    assert after["topic"] == before["topic"]
    assert after["chat"] == before["chat"].model_copy(update={"epochs": 9})
    listed = preset(tmp_path, "listed", '[[finetune]]\nname = "only"\n')
    assert [one.name for one in load_config(["demo", listed]).finetune] == ["only"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"epochs": 3}, "finetune.epochs=3 is of no fine-tune; write [finetune.NAME] above it, or [[finetune]] with a name"),
        ({"topic": {"name": "chat"}}, "finetune.topic.name='chat' is not 'topic', as its table says; remove it"),
        ({"Topic": {}}, 'finetune.Topic.name="Topic" is not valid: use small letters'),
        ({"topic": {"epoch": 3}}, "finetune.topic.epoch is not a known setting; did you mean 'epochs'?"),
    ],
)
def test_tables_that_are_no_fine_tunes_are_refused(values: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_config({"finetune": values})
    assert str(found.value).startswith(expected)


FILE = """
name = "banking"
base = "run:demo"
learning_rate = 1e-4
[gate]
level = 0.01
[[schedule]]
cron = "0 3 * * 1"
timezone = "Europe/Berlin"
[[schedule]]
every_minutes = 30
settings = ["epochs=1", "gate.level=0.02"]
"""


def test_the_file_of_a_fine_tune_holds_its_settings_and_assignments_win(tmp_path: Path) -> None:
    settings = load_finetune(preset(tmp_path, "banking", FILE), ["learning_rate=2e-4", "gate.min_score=0.5"])
    assert (settings.name, settings.base, settings.learning_rate) == ("banking", "run:demo", 2e-4)
    assert (settings.gate.level, settings.gate.min_score) == (0.01, 0.5)
    assert [(one.cron, one.every_minutes, one.timezone) for one in settings.schedule] == [
        ("0 3 * * 1", None, "Europe/Berlin"), (None, 30, "UTC"),
    ]  # fmt: skip


def test_settings_can_be_set_anew_one_by_one(tmp_path: Path) -> None:
    settings = load_finetune(preset(tmp_path, "banking", FILE))
    other = changed(settings, settings.schedule[1].settings)
    assert (other.epochs, other.gate.level) == (1, 0.02)
    assert other.model_copy(update={"epochs": settings.epochs, "gate": settings.gate}) == settings
    with pytest.raises(ConfigError, match=r"gate\.min_scor is not a known setting; did you mean 'min_score'\?"):
        changed(settings, ["gate.min_scor=1"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs = 3\n", 'base is not set, and there is no run whose model it is; set it, such as base = "run:demo"'),
        ('base = "run:demo"\nlearning_rat = 1\n', "learning_rat is not a known setting; did you mean 'learning_rate'?"),
        ('base = "run:demo"\n[pretrain]\nseed = 1\n', "pretrain is not a known setting; "),
        ("[finetune.topic]\nepochs = 3\n", "' is the file of a run, with fine-tunes in it; start it with `pretune run "),
        ("base = \n", "' is not valid TOML ("),
    ],
)
def test_a_file_that_is_no_fine_tunes_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_finetune(preset(tmp_path, "banking", text))
    assert expected in str(found.value) and "\n" not in str(found.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml' is no file; give the TOML file of a fine-tune"):
        load_finetune(str(tmp_path / "gone.toml"))


def test_a_text_in_place_of_a_preset_is_told_how_to_be_trained_on(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text("Once upon a time.")
    with pytest.raises(ConfigError) as found:
        load_config(["own.txt"])
    assert str(found.value) == (
        "'own.txt' is no preset but data; give `cpu-base --name NAME --set data.source=text --set data.path=own.txt`"
    )


SCHEDULES = [
    (["epoch=1"], "schedule.settings=['epoch=1']: epoch is not a known setting; did you mean 'epochs'?"),
    (["name=other"], "schedule.settings=['name=other'] may change neither name nor schedule; write another fine-tune instead"),
    (["epochs=0"], "schedule.settings=['epochs=0']: epochs=0 is not valid: input should be greater than or equal to 1; see "
     "configs/README.md or --help"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "expected"), SCHEDULES)
def test_the_settings_of_a_schedule_are_checked_with_the_file(tmp_path: Path, settings: list[str], expected: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'name = "own"\nbase = "run:demo"\n[[schedule]]\ncron = "0 3 * * 1"\nsettings = {json.dumps(settings)}\n')
    with pytest.raises(ConfigError) as found:
        load_finetune(str(file))
    assert str(found.value) == expected
    run = tmp_path / "run.toml"
    schedule = f'cron = "0 3 * * 1"\nsettings = {json.dumps(settings)}\n'
    run.write_text(f'[finetune.own]\nkind = "classification"\n[[finetune.own.schedule]]\n{schedule}')
    with pytest.raises(ConfigError, match=r"schedule\.settings="):
        load_config([str(run)])


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ('pretrain.seed="3"', 'pretrain.seed="3" is not valid: give a number, without quotes; see configs/README.md or --help'),
        (
            "pretrain.seed=true",
            "pretrain.seed=true is not valid: give a number, without quotes; see configs/README.md or --help",
        ),
        ('pretrain.learning_rate="1e-3"', 'pretrain.learning_rate="1e-3" is not valid: give a number'),
    ],
)
def test_what_only_looks_like_a_number_is_none(assignment: str, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_config(["demo"], [assignment])
    assert str(found.value).startswith(expected)
