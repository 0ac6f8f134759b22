"""Which settings say where something lies. They are marked where they stand, and everybody else asks here.

Where data lie is no part of what they are, and a relative path means something only to the process that was given it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_origin

from pydantic.fields import FieldInfo

from tasks.config.section import Section, section_in

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Place:
    """Marks a setting, `Annotated[str, Place()]`, whose text or texts are paths or URLs. Form and validation do not see it."""

    or_name: bool = False
    """Whether it is the name of something where nothing lies at that path."""


def place_of(field: FieldInfo) -> Place | None:
    return next((mark for mark in field.metadata if isinstance(mark, Place)), None)


def with_places(section: S, change: Callable[[Section, Place, str], str]) -> S:
    """The section with every place in it, and in sections inside of it, as `change(its section, its mark, text)` gives it."""

    def changed(value: Any, place: Place | None) -> Any:
        if isinstance(value, tuple):
            return tuple(changed(one, place) for one in value)
        if isinstance(value, Section):
            return with_places(value, change)
        return change(section, place, value) if place is not None and value is not None else value

    old = {name: getattr(section, name) for name in type(section).model_fields}
    new = {name: changed(old[name], place_of(field)) for name, field in type(section).model_fields.items()}
    return section.model_copy(update={name: value for name, value in new.items() if value != old[name]})


def places_and(kind: type[Section], *names: str) -> dict[str, Any]:
    """What a dump leaves out, as pydantic's `exclude`: places in the section and inside of it, and settings of these names."""
    left_out: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        inner = section_in(field.annotation)
        if name in names or place_of(field) is not None:
            left_out[name] = True
        elif inner is not None and (below := places_and(inner, *names)):
            left_out[name] = {"__all__": below} if get_origin(field.annotation) is tuple else below
    return left_out
