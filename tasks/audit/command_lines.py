"""The command line by which a run can be started again: found from the configuration that it wrote down, and tried."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.config.config import Config
from tasks.config.presets import load_config, parse_config, preset_names, read_preset
from tasks.record.errors import ConfigError
from tasks.record.files import read_json
from tasks.record.layout import RunLayout, runs_folder


def pretrain_again(home: Path, name: str) -> str:
    """`run PRESET --name NEW --set a.b=v ...`: the shortest that pre-trains the same again, for the same registered model.

    Under a name that is free, as other data make another run, and without the fine-tunes, which have folders and a history of
    their own. Empty where there is none: the configuration is gone, or no longer one that this version takes.
    """
    config = RunLayout(home, name).config
    if not config.is_file():
        return ""
    try:
        wanted = parse_config(read_json(config))
        model = {"registry": {"model_name": wanted.model_name(name)}}
        values = compared(parse_config(wanted.model_dump(mode="json") | {"finetune": []} | model))
    except (ConfigError, ValueError):
        return ""
    found = []
    for preset in preset_names():
        assignments = list(differences(compared(parse_config(read_preset(preset))), values))
        try:
            same = compared(load_config([preset], assignments)) == values
        except ConfigError:
            continue
        if same:
            found.append([preset, "--name", free_name(home, name), *(word for one in assignments for word in ("--set", one))])
    shortest = min(found, key=lambda words: (len(words), words), default=[])
    return " ".join(shlex.quote(word) for word in ["run", *shortest]) if shortest else ""


def compared(config: Config) -> dict[str, Any]:
    """All that decides anything."""
    return config.model_dump(mode="json", exclude={"description"})


def free_name(home: Path, name: str) -> str:
    """`demo-2`: what was run with other data has to have another name."""
    number = 2
    while (runs_folder(home) / f"{name}-{number}").exists():
        number += 1
    return f"{name}-{number}"


def differences(own: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """`--set` assignments that make the one of the other; lists are given whole."""
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(own.get(key), dict):
            yield from differences(own[key], value, f"{prefix}{key}.")
        elif own.get(key) != value:
            yield f"{prefix}{key}={toml(value)}"


def toml(value: Any) -> str:
    """A value as `--set` reads it; what is empty in a table is left out of it."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)
