"""The reference of all settings in configs/README.md, made from the fields.

`python -m tests.rules.settings_reference` writes it.
"""

import json
import typing

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig, FinetuneFile
from tasks.config.section import Section
from tests.rules.repository import ROOT

README = ROOT / "configs" / "README.md"
MARK = "<!-- from here on written by `python -m tests.rules.settings_reference` -->\n"


FILE = """### A fine-tune's own file

What `pretune finetune FILE` and `pretune deploy FILE` take: the settings of `finetune.NAME` at the top of the file, its tables
as `[examples]`, `[gate]` and `[[schedule]]`, and {more} as for a run. `base` is to be given.
"""


def whole_reference() -> str:
    """Of a run's configuration, and what of it a fine-tune's own file has."""
    more = [f"`[{name}]`" for name in FinetuneFile.model_fields if name not in FinetuneConfig.model_fields]
    return reference() + "\n" + FILE.format(more=" and ".join(more))


def reference(section: type[Section] = Config, path: str = "") -> str:
    """One table per section, in the order of the fields."""
    rows, below = [], []
    for name, field in section.model_fields.items():
        inner = section_of(field)
        if inner is None:
            help_text = " ".join((field.description or "").split())
            rows.append(f"| `{name}` | {default(field)} | {help_text} |")
        else:
            place = f"{path}{name}" if typing.get_origin(field.annotation) is not tuple else f"{path}{name}.NAME"
            below.append(reference(inner, f"{place}."))
    title = f"### {section.model_config['title']}: `{path.rstrip('.')}`" if path else f"### {section.model_config['title']}"
    table = [title, "", "| setting | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join([*table, *below])


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that the field holds, once or in a list."""
    candidates = (field.annotation, *typing.get_args(field.annotation))
    return next((t for t in candidates if isinstance(t, type) and issubclass(t, BaseModel)), None)


def default(field: FieldInfo) -> str:
    """As it is written in TOML; empty for a setting that is off or derived."""
    if field.is_required():
        return "to be given"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), {}):
        return ""
    return f"`{json.dumps(value)}`"


def with_reference(text: str) -> str:
    return text.partition(MARK)[0] + MARK + "\n" + whole_reference()


if __name__ == "__main__":
    README.write_text(with_reference(README.read_text(encoding="utf-8")), encoding="utf-8")
