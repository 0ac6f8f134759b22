"""What a fine-tune begins from, as a person writes it: `run:NAME`, `models:/NAME@ALIAS`, a folder, a hub id, a GGUF file."""

import re
from dataclasses import dataclass
from typing import Literal

from tasks.config.section import NAME_PATTERN
from tasks.record.errors import ConfigError

FORMS = "run:NAME, models:/NAME@ALIAS, models:/NAME/VERSION, ./FOLDER, FILE.gguf, ORG/NAME or ORG/NAME@REVISION"
NAME = re.compile(NAME_PATTERN)
REGISTERED = re.compile(r"models:/(?P<name>[\w.-]+)(?:@(?P<alias>[A-Za-z][A-Za-z0-9_-]*)|/(?P<version>[1-9][0-9]*))", re.ASCII)
HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.][\w./-]*))?", re.ASCII)
LOCAL = ("/", "./", "../", "~")
"""How a path begins that is a folder of this machine; anything else with one slash is an id on the hub."""


@dataclass(frozen=True)
class Base:
    kind: Literal["run", "registered", "folder", "hub", "gguf"]
    text: str
    """As it was written."""
    name: str
    """Of the run, of the registered model, on the hub; the path of a folder or of a GGUF file."""
    alias: str | None = None
    version: int | None = None
    revision: str | None = None
    """Commit, tag or branch on the hub; None for the newest."""

    @property
    def label(self) -> str:
        """A short name for folders and logs."""
        last = self.name.rstrip("/").rpartition("/")[2].removesuffix(".gguf")
        return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")[:40] or "base"


def parse_base(text: str, field: str = "base") -> Base:
    """Looks at no disk. Raises ConfigError for what is none of the forms."""
    if text.startswith("run:"):
        return run_of(text, field)
    if text.startswith("models:"):
        return registered_of(text, field)
    if "://" in text:
        raise ConfigError(f"{field}={text!r} is a URL, from which no model is taken; give one of: {FORMS}")
    if text.endswith(".gguf"):
        return Base("gguf", text, text)
    if text in (".", "..") or text.startswith(LOCAL):
        return Base("folder", text, text)
    if (found := HUB_ID.fullmatch(text)) is not None:
        return Base("hub", text, found["name"], revision=found["revision"])
    if "/" in text.rstrip("/"):
        raise ConfigError(
            f"{field}={text!r} is no id on the hub; the path of a folder begins with / or ./, or is one of: {FORMS}"
        )
    near = (
        f"for a run write {'run:' + text!r}, for a folder {'./' + text!r}" if text.strip() else "leave it out for the run's own"
    )
    raise ConfigError(f"{field}={text!r} does not say what it is: {near}; the forms are {FORMS}")


def run_of(text: str, field: str) -> Base:
    name = text.removeprefix("run:")
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{field}={text!r} names no run: after 'run:' comes a name of small letters, digits and . _ - such as run:demo"
        )
    return Base("run", text, name)


def registered_of(text: str, field: str) -> Base:
    found = REGISTERED.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{field}={text!r} names no registered model; write models:/NAME@ALIAS, such as models:/demo@pretrained, or "
            "models:/NAME/VERSION, such as models:/demo/3"
        )
    version = int(found["version"]) if found["version"] else None
    return Base("registered", text, found["name"], alias=found["alias"], version=version)
