"""The stages of a run in their order: what the flows do, and what `flows/states.py` looks at without doing it.

A new stage is an entry here, and its verb one in `flows/walk.py`.
"""

from pathlib import Path

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig
from tasks.record.layout import RunLayout
from tasks.registry.names import CANDIDATE, PRETRAINED, base_model, finetuned_model
from tasks.stages.work import (
    Results,
    Stage,
    evaluate_work,
    examples_work,
    finetune_work,
    prepare_work,
    pretrain_work,
    promote_work,
    promoted,
)


def text_stage(home: Path, config: Config) -> Stage:
    return Stage("dataset", "prepare text", lambda made: prepare_work(home, config))


def examples_stage(home: Path, finetune: FinetuneConfig) -> Stage:
    return Stage("examples", "prepare examples", lambda made: examples_work(home, finetune), finetune=finetune.name)


def pretraining(run: RunLayout, config: Config) -> list[Stage]:
    """From text to a base."""
    return [
        text_stage(run.home, config),
        Stage(
            "base", "pre-train", lambda made: pretrain_work(run, config, made["dataset"]),
            needs=("dataset",), model=base_model(config), label=PRETRAINED,
        ),
    ]  # fmt: skip


def finetuning(run: RunLayout, config: Config, finetune: FinetuneConfig) -> list[Stage]:
    """From a base, which is given, to a candidate, and to what the gate compares it with."""
    stages = [
        examples_stage(run.home, finetune),
        Stage(
            "candidate", "fine-tune", lambda made: finetune_work(run, config, finetune, made["base"], made["examples"]),
            needs=("base", "examples"), finetune=finetune.name, model=finetuned_model(config, finetune), label=CANDIDATE,
        ),
    ]  # fmt: skip
    if finetune.gate.trains_random_init:
        stages.append(Stage(
            "random_init", "random weights",
            lambda made: finetune_work(run, config, finetune, made["base"], made["examples"], random_init=True),
            needs=("base", "examples"), finetune=finetune.name,
        ))  # fmt: skip
    return stages


def promotion(run: RunLayout, config: Config, finetune: FinetuneConfig) -> list[Stage]:
    """From a candidate, which is given with what it was made from, to the champion."""
    model, compared = finetuned_model(config, finetune), ("random_init",) if finetune.gate.trains_random_init else ()
    return [
        Stage(
            "decision", "evaluate", lambda made: evaluate_work(run, config, finetune, made),
            needs=("candidate", "examples", "base", *compared), finetune=finetune.name, model=model,
        ),
        Stage(
            "promotion", "promote", lambda made: promote_work(run, finetune, model, made["candidate"], made["decision"]),
            needs=("candidate", "decision"), finetune=finetune.name, model=model, unneeded=rejected,
        ),
    ]  # fmt: skip


def rejected(made: Results) -> str:
    passed = "decision" not in made or promoted(made["decision"].manifest)
    return "" if passed else "the gate rejected the candidate"
