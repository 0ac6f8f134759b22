"""The stage that takes a base in: from what a person names to the request of it."""

from importlib.util import find_spec
from pathlib import Path

from tasks.config.base import Base
from tasks.config.training import LaunchConfig
from tasks.data.inputs.bases import Source, local_source
from tasks.record.errors import ConfigError
from tasks.record.layout import base_stage
from tasks.record.manifest import Request
from tasks.stages.work import Work

BASE_FORMAT = 1
"""Raised whenever the same base would be taken in as other bytes."""
LAUNCH = LaunchConfig(num_processes=1, device="cpu", max_restarts=0, stall_timeout_seconds=6 * 3600.0)
"""One rank, which computes a single loss; fetching and writing a large model says nothing for long."""


def base_work(home: Path, base: Base, field: str = "base", source: Source | None = None) -> Work:
    """A folder or a GGUF file of this machine, or the `source` that was found elsewhere.

    Raises DataError for what cannot be taken in, ConfigError where a package is missing that reads it.
    """
    if base.kind == "gguf" and find_spec("gguf") is None:
        raise ConfigError(
            f"{field}={base.text!r} needs the package gguf, which is not installed; install it with "
            "`pip install 'pretune[gguf]'` or give a folder in Hugging Face layout"
        )
    request = base_request(base, source or local_source(home, base, field))
    return Work(base_stage(home, base.label, request.digest), request)


def base_request(base: Base, source: Source) -> Request:
    """What it is counts, by content; not what it is called, where it lies and which licence it has."""
    return Request(
        kind="base",
        identity={"format": BASE_FORMAT, "source": source.identity},
        execution={
            "base": base.text, "path": source.path, "licence": source.licence, "launch": LAUNCH.model_dump(mode="json"),
        },
    )  # fmt: skip
