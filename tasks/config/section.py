"""What every section of the configuration shares."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field of this type holds, once or in a list."""
    candidates = (annotation, *get_args(annotation))
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, Section)), None)


def nearest(value: int, unit: int) -> str:
    """The multiples of `unit` around `value`, for a message."""
    return ", ".join(str(n) for n in (value // unit * unit, (value // unit + 1) * unit) if n)
