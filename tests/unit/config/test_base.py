"""The forms of a base, and what is none of them."""

import pytest

from tasks.config.base import FORMS, Base, parse_base
from tasks.record.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run:demo-1", Base("run", "run:demo-1", "demo-1")),
        ("models:/demo-base@champion", Base("registered", "models:/demo-base@champion", "demo-base", alias="champion")),
        ("models:/demo-base/12", Base("registered", "models:/demo-base/12", "demo-base", version=12)),
        ("/models/smol", Base("folder", "/models/smol", "/models/smol")),
        ("./smol", Base("folder", "./smol", "./smol")),
        ("~/a/b@c", Base("folder", "~/a/b@c", "~/a/b@c")),
        (".", Base("folder", ".", ".")),
        ("models/a.gguf", Base("gguf", "models/a.gguf", "models/a.gguf")),
        ("a.gguf", Base("gguf", "a.gguf", "a.gguf")),
        ("HuggingFaceTB/SmolLM2-135M", Base("hub", "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M")),
        ("org/name@v1.0", Base("hub", "org/name@v1.0", "org/name", revision="v1.0")),
        ("org/name@refs/pr/1", Base("hub", "org/name@refs/pr/1", "org/name", revision="refs/pr/1")),
    ],
)
def test_each_form_is_known_by_how_it_is_written(text: str, expected: Base) -> None:
    assert parse_base(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("smol",
         "finetune[a].base='smol' does not say what it is: for a run write 'run:smol', for a folder './smol'; the forms are "
         f"{FORMS}"),
        ("", f"finetune[a].base='' does not say what it is: leave it out for the run's own; the forms are {FORMS}"),
        ("run:", "finetune[a].base='run:' names no run: after 'run:' comes a name of small letters, digits and . _ - such as "
         "run:demo"),
        ("run:../other", "finetune[a].base='run:../other' names no run: after 'run:' comes a name of small letters, digits and "
         ". _ - such as run:demo"),
        ("models:/demo", "finetune[a].base='models:/demo' names no registered model; write models:/NAME@ALIAS, such as "
         "models:/demo@pretrained, or models:/NAME/VERSION, such as models:/demo/3"),
        ("models:/demo/0", "finetune[a].base='models:/demo/0' names no registered model; write models:/NAME@ALIAS, such as "
         "models:/demo@pretrained, or models:/NAME/VERSION, such as models:/demo/3"),
        ("https://host/a.gguf", "finetune[a].base='https://host/a.gguf' is a URL, from which no model is taken; give one of: "
         f"{FORMS}"),
        ("a/b/c", "finetune[a].base='a/b/c' is no id on the hub; the path of a folder begins with / or ./, or is one of: "
         f"{FORMS}"),
        ("org/name@", "finetune[a].base='org/name@' is no id on the hub; the path of a folder begins with / or ./, or is one "
         f"of: {FORMS}"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_base(text, "finetune[a].base")
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("HuggingFaceTB/SmolLM2-135M", "smollm2-135m"),
        ("/a/My Model/", "my-model"),
        ("x/Q4_1.v2.gguf", "q4_1.v2"),
        ("..", "base"),
    ],
)
def test_a_base_has_a_short_name(text: str, label: str) -> None:
    assert parse_base(text).label == label
