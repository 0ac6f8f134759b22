"""Prepares data in a home of its own, through the same entry as the real process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig
from tasks.data.inputs.request import examples_request
from tasks.data.inputs.sources import examples_identity
from tasks.data.steps import Preparation
from tasks.record.files import write_json
from tasks.record.layout import StageLayout, dataset_stage
from tasks.stages.work import prepare_work
from tests.kit.preparations import run_preparation


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[[list[dict[str, Any]]], Path]:
    """Writes rows to a jsonl file."""

    def write(rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def requested(home: Path) -> Callable[..., Preparation]:
    """A preparation that is not begun: `requested(data={...}, tokenizer={...})`; its request is written."""

    def make(data: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> Preparation:
        work = prepare_work(home, Config.model_validate({"data": data, "tokenizer": tokenizer or {"vocab_size": 300}}))
        write_json(work.stage.request, work.request)
        return Preparation(work.stage, work.request)

    return make


@pytest.fixture
def prepared(requested: Callable[..., Preparation]) -> Callable[..., tuple[int, StageLayout]]:
    """Runs a preparation: `prepared(data={...}, tokenizer={...})` gives exit code and stage."""

    def run(data: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> tuple[int, StageLayout]:
        preparation = requested(data, tokenizer)
        return run_preparation(preparation.stage, preparation.request)

    return run


@pytest.fixture
def examples(home: Path) -> Callable[..., tuple[int, StageLayout]]:
    """Runs a preparation of examples: `examples(kind, **settings)` gives exit code and stage; few tests are enough."""

    def run(kind: str, **settings: Any) -> tuple[int, StageLayout]:
        finetune = FinetuneConfig.model_validate({"kind": kind, "examples": {"min_test_examples": 1} | settings})
        section = "finetune[topic].examples"
        request = examples_request(finetune, examples_identity(home, finetune.examples, section), section)
        return run_preparation(dataset_stage(home, finetune.name, request.digest), request)

    return run
