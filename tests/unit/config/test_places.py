"""Settings that say where something lies: all of them are marked, and the mark is seen by nobody but those who ask for it."""

from typing import Annotated

from pydantic import Field

from tasks.config.config import Config
from tasks.config.data import DataConfig
from tasks.config.examples import ExamplesConfig
from tasks.config.places import Place, place_of, places_and, with_places
from tasks.config.presets import parse_config
from tasks.config.section import Section, section_in

VALUES = {
    "data": {
        "source": "text", "path": "a.txt", "mixture": [{"name": "more", "source": "text", "path": "b.txt"}],
        "duplicates": {"against": ["earlier", "older"]},
        "decontamination": {"evaluations": [{"name": "quiz", "path": "q.jsonl"}]},
    },
    "tokenizer": {"path": "tok"},
    "finetune": [{"name": "one", "examples": {"source": "csv", "path": "e.csv", "test_path": "t.csv"}}, {"name": "two"}],
}  # fmt: skip


def fields(kind: type[Section], section: str = "") -> dict[str, bool]:
    """Every setting, and whether it is marked."""
    found = {}
    for name, field in kind.model_fields.items():
        inner = section_in(field.annotation)
        found |= fields(inner, f"{section}{name}.") if inner else {section + name: place_of(field) is not None}
    return found


def test_the_marked_settings_are_the_places() -> None:
    assert {name for name, marked in fields(Config).items() if marked} == {
        "data.path", "data.mixture.path", "data.duplicates.against", "data.decontamination.evaluations.path", "tokenizer.path",
        "finetune.base", "finetune.examples.path", "finetune.examples.test_path",
    }  # fmt: skip
    assert [name for name, marked in fields(Config).items() if name.endswith("path") and not marked] == []


def test_every_place_is_changed_wherever_it_stands_and_nothing_else_is() -> None:
    config = parse_config(VALUES)
    seen = []

    def change(section: Section, place: Place, path: str) -> str:
        seen.append((type(section).__name__, place.or_name, path))
        return path.upper()

    moved = with_places(config, change)
    assert sorted(seen) == [
        ("DataConfig", False, "a.txt"), ("DuplicatesConfig", True, "earlier"), ("DuplicatesConfig", True, "older"),
        ("EvaluationSet", False, "q.jsonl"), ("ExamplesConfig", False, "e.csv"), ("ExamplesConfig", False, "t.csv"),
        ("MixedSource", False, "b.txt"),
        ("TokenizerConfig", False, "tok"),
    ]  # fmt: skip
    assert moved.data.mixture[0].path == "B.TXT"
    assert moved.data.duplicates.against == ("EARLIER", "OLDER")
    assert with_places(moved, lambda section, place, path: path.lower()) == config
    assert config.data.path == "a.txt"


def test_what_was_not_set_stays_unset() -> None:
    config = parse_config(VALUES)
    moved = with_places(config, lambda section, place, path: f"/{path}")
    assert moved.model_fields_set == config.model_fields_set
    assert moved.finetune[1].model_dump(exclude_unset=True) == {"name": "two"}


def test_what_a_dump_leaves_out() -> None:
    config = parse_config(VALUES)
    assert places_and(ExamplesConfig) == {"path": True, "test_path": True}
    assert places_and(DataConfig, "weight") == {
        "path": True, "weight": True, "mixture": {"__all__": {"path": True, "weight": True}}, "duplicates": {"against": True},
        "decontamination": {"evaluations": {"__all__": {"path": True}}},
    }  # fmt: skip
    dumped = str(config.model_dump(mode="json", exclude=places_and(Config)))
    assert [text for text in ("a.txt", "b.txt", "earlier", "q.jsonl", "'tok'", "e.csv", "t.csv") if text in dumped] == []
    assert "quiz" in dumped


def test_the_form_and_the_checks_do_not_see_the_mark() -> None:
    class Plain(Section):
        path: str | None = Field(None, max_length=3)

    class Marked(Section):
        path: Annotated[str | None, Place()] = Field(None, max_length=3)

    assert Marked.model_json_schema() | {"title": "Plain"} == Plain.model_json_schema()
    assert place_of(Marked.model_fields["path"]) == Place()
