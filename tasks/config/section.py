"""What every section of the configuration shares."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
MAX_NAME = 63
NUMBERS = (int, float, int | None, float | None)
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_in_disguise(cls, value: Any, info: ValidationInfo) -> Any:
        """`"3"` and `true` are no numbers, though pydantic would take them for some."""
        if isinstance(value, (str, bool)) and cls.model_fields[str(info.field_name)].annotation in NUMBERS:
            raise PydanticCustomError("number", "give a number, without quotes")
        return value


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field of this type holds, once or in a list."""
    candidates = (annotation, *get_args(annotation))
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, Section)), None)


def nearest(value: int, unit: int) -> str:
    """The multiples of `unit` around `value`, for a message."""
    return ", ".join(str(n) for n in (value // unit * unit, (value // unit + 1) * unit) if n)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """`did you mean 'X'? ` for a message, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def check_multiple(field: str, value: int, unit: int, factors: str, middle: str = "") -> None:
    """Raises ValueError for a global batch that does not divide into whole micro-batches on every rank."""
    if value % unit:
        raise ValueError(
            f"{field}={value} is not a multiple of micro_batch_size x {middle}data-parallel ranks = {factors} = {unit}; "
            f"nearest: {nearest(value, unit)}"
        )
