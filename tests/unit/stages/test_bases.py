"""The request of a base: what counts, and what is needed to read it."""

from pathlib import Path

import pytest

from tasks.config.base import parse_base
from tasks.config.training import LaunchConfig
from tasks.data.inputs.bases import Source
from tasks.record.errors import ConfigError
from tasks.stages.bases import base_request, base_work


def test_the_content_counts_and_not_its_place_or_licence() -> None:
    one = base_request(parse_base("/a/one"), Source({"kind": "folder", "files": {"config.json": "1"}}, "mit", "/a/one"))
    two = base_request(parse_base("./two"), Source({"kind": "folder", "files": {"config.json": "1"}}, "unknown", "/b/two"))
    other = base_request(parse_base("/a/one"), Source({"kind": "folder", "files": {"config.json": "2"}}, "mit", "/a/one"))
    assert one.digest == two.digest != other.digest
    assert (one.kind, one.execution["path"], two.execution["licence"]) == ("base", "/a/one", "unknown")
    assert LaunchConfig.model_validate(one.execution["launch"]).num_processes == 1


def test_a_gguf_file_needs_its_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.stages.bases.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        base_work(home, parse_base("a.gguf"), "finetune[a].base")
    assert str(error.value) == (
        "finetune[a].base='a.gguf' needs the package gguf, which is not installed; install it with `pip install "
        "'pretune[gguf]'` or give a folder in Hugging Face layout"
    )
