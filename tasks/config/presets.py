"""From preset names and `--set` assignments to a checked `Config`: defaults < presets, left to right < assignments."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.config.section import MAX_NAME, NAME_PATTERN, Section, nearest_name, section_in
from tasks.record.errors import ConfigError
from tasks.record.layout import REPOSITORY

S = TypeVar("S", bound=Section)

PRESETS = REPOSITORY / "configs" / "presets"


def preset_names() -> list[str]:
    """The presets that come with the project, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(presets: Iterable[str], assignments: Iterable[str] = ()) -> Config:
    """The configuration of presets (names, or paths of TOML files) and assignments (`a.b=v`, v in TOML or a bare word).

    Raises ConfigError in one sentence that names the field, the value, the rule and the remedy.
    """
    values: dict[str, Any] = {}
    for preset in presets:
        merge(values, read_preset(preset))
    for assignment in assignments:
        assign(values, assignment)
    config = parse_config(values)
    for one in config.finetunes("run"):
        check_schedules(one)
    return config


def load_finetune(file: str, assignments: Iterable[str] = ()) -> FinetuneFile:
    """The settings of a fine-tune's own TOML file, and assignments; its paths are still those that stand there.

    Raises ConfigError as `load_config` does.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"{file!r} is no file; give the TOML file of a fine-tune")
    values = read_toml(path)
    for assignment in assignments:
        assign(values, assignment)
    if "finetune" in values:
        raise ConfigError(f"{file!r} is the file of a run, with fine-tunes in it; start it with `pretune run {file}`")
    return finetune_of(values)


def finetune_of(values: dict[str, Any]) -> FinetuneFile:
    """A checked fine-tune from plain values, its schedules included; raises ConfigError for the first mistake found."""
    settings = parsed(FinetuneFile, values)
    check_schedules(settings)
    return settings


def check_schedules(settings: FinetuneFile) -> None:
    """Raises ConfigError where a schedule's own settings are none, or make it the schedule of another fine-tune."""
    for one in settings.schedule:
        said = f"{settings.place}schedule.settings={list(one.settings)}"
        try:
            own = changed(settings, one.settings)
        except ConfigError as error:
            raise ConfigError(f"{said}: {error}") from None
        if own.name != settings.name or own.schedule != settings.schedule:
            raise ConfigError(f"{said} may change neither name nor schedule; write another fine-tune instead")


def finetunes_in(file: str) -> tuple[FinetuneFile, ...]:
    """The fine-tune of a file of its own, or those of the file of a run that is called as the file."""
    values = read_toml(Path(file)) if Path(file).is_file() else {}
    if "finetune" not in values:
        return (load_finetune(file),)
    return load_config([file]).finetunes(Path(file).stem)


def changed(settings: FinetuneFile, assignments: Iterable[str]) -> FinetuneFile:
    """The settings with some of them set anew; raises ConfigError as `load_config` does."""
    values = settings.as_set
    for assignment in assignments:
        assign(values, assignment)
    return parsed(FinetuneFile, values)


def parse_config(values: dict[str, Any]) -> Config:
    """A checked `Config` from plain values; raises ConfigError for the first mistake found."""
    if isinstance(values.get("finetune"), dict):
        values = values | {"finetune": elements(values["finetune"])}
    return parsed(Config, values)


def parsed(kind: type[S], values: dict[str, Any]) -> S:
    """A checked section from plain values; raises ConfigError for the first mistake found."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, values)) from None


def elements(tables: dict[str, Any]) -> list[Any]:
    """The fine-tunes that were written as tables `[finetune.NAME]`; raises ConfigError where a setting stands between them."""
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"finetune.{name}={table!r} is of no fine-tune; write [finetune.NAME] above it, or [[finetune]] with a name"
            )
        if table.get("name", name) != name:
            raise ConfigError(f"finetune.{name}.name={table['name']!r} is not {name!r}, as its table says; remove it")
    return [{"name": name} | table for name, table in tables.items()]


def read_preset(preset: str) -> dict[str, Any]:
    """The values of one preset, by name or by path; raises ConfigError where there is none or it is not TOML."""
    path = Path(preset) if preset.endswith(".toml") else PRESETS / f"{preset}.toml"
    if not path.is_file() and Path(preset).exists():
        raise ConfigError(
            f"{preset!r} is no preset but data; give `cpu-base --name NAME --set data.source=text --set data.path={preset}`"
        )
    if not path.is_file():
        hint = nearest_name(preset, preset_names())
        raise ConfigError(f"preset {preset!r} does not exist; {hint}presets are {', '.join(preset_names())}")
    return read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """Raises ConfigError where it is not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {str(path)!r} is not valid TOML ({error}); mend {path.name}") from None


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Lay `values` over `into`, table by table; lists and plain values are replaced.

    Of tables over a list of fine-tunes each changes the one of its name, or is a further one.
    """
    for key, value in values.items():
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif key == "finetune" and isinstance(value, dict) and isinstance(old, list):
            for one in elements(value):
                known = next((element for element in old if element.get("name") == one["name"]), None)
                if known is None:
                    old.append(one)
                else:
                    merge(known, one)
        else:
            into[key] = value


def assign(values: dict[str, Any], assignment: str) -> None:
    """Apply one `a.b=v`; an element of `finetune` is addressed by its name: `finetune.topic.epochs=3`."""
    field, equals, text = assignment.partition("=")
    if not equals or not field.strip():
        raise ConfigError(f"--set {assignment!r} is not of the form section.field=value; for example pretrain.seed=1")
    *parents, last = field.strip().split(".")
    table: Any = values
    for parent in parents:
        table = descend(table, parent, field)
    if not isinstance(table, dict):
        raise ConfigError(f"--set {field}: {'.'.join(parents)} is not a section; address a field inside a section")
    table[last] = toml_value(text)


def descend(table: Any, key: str, field: str) -> Any:
    """The sub-table `key`, made where it is missing; elements of a list are found by their `name`."""
    if isinstance(table, list):
        for element in table:
            if isinstance(element, dict) and element.get("name") == key:
                return element
        names = ", ".join(str(element.get("name")) for element in table if isinstance(element, dict)) or "none"
        raise ConfigError(f"--set {field}: no element is named {key!r}; there are: {names}")
    if not isinstance(table, dict):
        raise ConfigError(f"--set {field}: {key} lies inside a plain value; address a field of a section")
    return table.setdefault(key, [] if key == "finetune" else {})


def toml_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none (so that `model.architecture=gpt2` needs no quotes)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return None if text.strip() in ("", "none", "null") else text


def explain(error: ValidationError, kind: type[Section], values: dict[str, Any]) -> str:
    """The first mistake of a pydantic error in one sentence, with the nearest known name for an unknown key."""
    first = error.errors()[0]
    path = list(first["loc"])
    named = with_names(path, values)
    field = ".".join(named)
    if first["type"] == "extra_forbidden":
        known = known_fields(kind, path[:-1])
        hint = nearest_name(str(path[-1]), known).strip() or f"known here: {', '.join(known)}"
        return f"{field} is not a known setting; {hint}"
    if first["type"] == "value_error":
        where = f"{'.'.join(named[:2])}: " if path[:1] == ["finetune"] and len(path) > 1 else ""
        return f"{where}{first['ctx']['error']}"
    rule = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "string_pattern_mismatch" and first["ctx"]["pattern"] == NAME_PATTERN:
        rule = f"use small letters, digits and . _ -, at most {MAX_NAME}, a letter or digit first"
    if first["type"] == "tuple_type":
        rule = f'give a list, such as ["a", "b"]; of tables, [[{field}]] in a TOML file, where it holds several settings'
    value = json.dumps(first["input"], default=str, ensure_ascii=False)
    return f"{field}={value} is not valid: {rule}; see configs/README.md or --help"


def with_names(path: list[Any], values: dict[str, Any]) -> list[str]:
    """The parts of a path, a fine-tune by its name, as `--set` takes it."""
    parts = [str(part) for part in path]
    if len(path) > 1 and path[0] == "finetune" and isinstance(path[1], int):
        one = values["finetune"][path[1]]
        parts[1] = str(one.get("name", path[1])) if isinstance(one, dict) else parts[1]
    return parts


def known_fields(section: type[Section], path: list[Any]) -> list[str]:
    """Field names of the section at `path` in another one."""
    for part in path:
        if isinstance(part, str):
            section = section_in(section.model_fields[part].annotation) or section
    return list(section.model_fields)
