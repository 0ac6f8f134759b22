"""Stages that are run in this process, one rank, on data that was really prepared."""

import json
from pathlib import Path
from typing import Any

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.record.files import write_json
from tasks.record.layout import RunLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, Work, prepare_work, pretrain_work
from tasks.training import base, evaluate, finetune, pretrain
from tests.kit.models import ALONE
from tests.kit.preparations import prepared_result
from tests.kit.runs import tiny_config, write_text

KINDS = {"base": base, "pretrain": pretrain, "finetune": finetune, "evaluate": evaluate}
TOPICS = {"animals": "cat dog owl fox hen", "plants": "oak elm ivy fern moss", "stones": "flint chalk slate opal quartz"}


def run(work: Work, attempt: int = 1) -> Result:
    """A stage as its rank runs it."""
    write_json(work.stage.request, work.request)
    KINDS[work.request.kind].run(work.stage, work.request, ALONE, attempt)
    return Result(work.stage, Manifest.read(work.stage.manifest))


def small_config(text: Path, **pretraining: Any) -> Config:
    settings = {
        "train_tokens": 512 * 12,
        "warmup_steps": 2,
        "decay_steps": 4,
        "evaluate_every_steps": 4,
        "checkpoint_every_steps": 4,
    }
    return tiny_config(text, pretrain=settings | {"heldout_tokens": 512} | pretraining, registry={"model_name": "words"})


def pretrained_base(home: Path, documents: int = 80, **pretraining: Any) -> tuple[Config, Result, Result]:
    """Configuration, data set and a pre-trained model of 12 steps."""
    config = small_config(write_text(home / "words.txt", documents=documents), **pretraining)
    dataset = prepared_result(prepare_work(home, config))
    return config, dataset, run(pretrain_work(RunLayout(home, "run"), config, dataset))


def labelled_texts(path: Path, count: int = 120) -> Path:
    """Texts whose words tell their topic, with prompts and answers about the same."""
    rows = []
    for i in range(count):
        topic, words = list(TOPICS.items())[i % 3]
        word, other = words.split()[i // 3 % 5], words.split()[i // 15 % 5]
        rows.append({"text": f"{i}: {word} and {other}", "label": topic, "prompt": f"What is {word} {i}?", "answer": topic})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def finetune_config(home: Path, kind: str, **settings: Any) -> FinetuneFile:
    """Of the run of `pretrained_base`, on one rank."""
    values = {
        "name": kind[:5], "base": "run:run", "kind": kind, "epochs": 8, "batch_size": 16, "micro_batch_size": 8,
        "max_length": 48, "learning_rate": 1e-2, "evaluate_every_steps": 5, "checkpoint_every_steps": 5, "precision": "fp32",
        "examples": {
            "source": "jsonl", "path": str(labelled_texts(home / "examples.jsonl")), "test_fraction": 0.3,
            "min_test_examples": 10,
        },
        "gate": {"min_examples": 10}, "launch": {"num_processes": 1, "device": "cpu"},
    }  # fmt: skip
    return FinetuneFile.model_validate(values | settings)
