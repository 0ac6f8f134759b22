"""The stages of a run, and of a fine-tune, in their order: what the flows do, and what `flows/states.py` looks at without.

A new stage is an entry here, and its verb one in `flows/walk.py`.
"""

from pathlib import Path

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneFile
from tasks.record.layout import RunLayout
from tasks.registry.names import CANDIDATE, PRETRAINED
from tasks.stages.work import Stage, examples_work, finetune_work, prepare_work, pretrain_work


def text_stage(home: Path, config: Config) -> Stage:
    return Stage("dataset", "prepare text", lambda made: prepare_work(home, config))


def pretraining(run: RunLayout, config: Config) -> list[Stage]:
    """From text to a base."""
    return [
        text_stage(run.home, config),
        Stage(
            "base", "pre-train", lambda made: pretrain_work(run, config, made["dataset"]),
            needs=("dataset",), model=config.model_name(run.name), label=PRETRAINED,
        ),
    ]  # fmt: skip


def examples_stage(home: Path, finetune: FinetuneFile) -> Stage:
    return Stage("examples", "prepare examples", lambda made: examples_work(home, finetune), finetune=finetune.name)


def finetuning(home: Path, finetune: FinetuneFile) -> list[Stage]:
    """From a base, which is given, to a candidate, and to what the gate compares it with."""
    stages = [
        examples_stage(home, finetune),
        Stage(
            "candidate", "fine-tune", lambda made: finetune_work(home, finetune, made["base"], made["examples"]),
            needs=("base", "examples"), finetune=finetune.name, model=finetune.name, label=CANDIDATE,
        ),
    ]  # fmt: skip
    if finetune.gate.trains_random_init:
        stages.append(Stage(
            "random_init", "random weights",
            lambda made: finetune_work(home, finetune, made["base"], made["examples"], random_init=True),
            needs=("base", "examples"), finetune=finetune.name,
        ))  # fmt: skip
    return stages
