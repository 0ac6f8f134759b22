"""A run so small that two ranks finish it in seconds, on text that is made here."""

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.config import Config
from tasks.config.presets import parse_config
from tasks.launch.stage import follow, request_stop, start_or_attach
from tasks.record.errors import StoppedError
from tasks.record.journal import read_journal
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.lock import owner
from tasks.stages.work import Result, Work, prepare_work, pretrain_work

WORDS = [a + b for a in ("ka", "lo", "mi", "ne", "pu", "ra", "so", "ti") for b in ("ba", "de", "fi", "go", "hu", "ly", "ox")]


def write_text(path: Path, documents: int = 300, seed: int = 0) -> Path:
    """Documents of words in which each word depends on the one before, so that there is something to learn."""
    chance = random.Random(seed)
    lines = []
    for _ in range(documents):
        place, words = chance.randrange(len(WORDS)), []
        for _ in range(chance.randrange(20, 60)):
            words.append(WORDS[place])
            place = (place * 5 + chance.choice((1, 2, 3))) % len(WORDS)
        lines.append(" ".join(words))
    path.write_text("\n\n\n\n".join(lines), encoding="utf-8")
    return path


def tiny_config(text: Path, **sections: dict) -> Config:
    """40 steps of a two-layer model; `sections` are laid over the sections of that name."""
    values = {
        "data": {"source": "text", "path": str(text), "name": "words", "heldout_fraction": 0.2},
        "tokenizer": {"vocab_size": 384},
        "model": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "max_position_embeddings": 64,
        },
        "pretrain": {
            "sequence_length": 32, "micro_batch_size": 4, "global_batch_tokens": 512, "train_tokens": 512 * 40,
            "learning_rate": 5e-3, "warmup_steps": 4, "decay_steps": 10, "evaluate_every_steps": 5,
            "checkpoint_every_steps": 5, "heldout_tokens": 2048, "precision": "fp32",
        },
        "launch": {"num_processes": 1, "device": "cpu"},
    }  # fmt: skip
    for name, section in sections.items():
        values[name] = values.get(name, {}) | section if isinstance(section, dict) else section
    return parse_config(values)


def run_to_end(work: Work) -> Result:
    """Run a stage to its end, as the flows do."""
    start_or_attach(work.stage, work.request)
    return Result(work.stage, follow(work.stage, lambda progress: None, poll_seconds=0.1))


def pretrained(home: Path, config: Config, name: str = "run") -> Result:
    dataset = run_to_end(prepare_work(home, config))
    return run_to_end(pretrain_work(RunLayout(home, name), config, dataset))


def wait_for_step(stage: StageLayout, step: int, attempt: int = 1) -> None:
    """Until this step, or a later one, of this attempt, or a later one, is in the journal."""
    deadline = time.monotonic() + 180
    while not any(
        line["kind"] == "step" and line["step"] >= step and line["attempt"] >= attempt
        for line in read_journal(stage.journal)[0]
    ):
        assert time.monotonic() < deadline, f"step {step} was not reached in three minutes"
        time.sleep(0.01)


def kill(stage: StageLayout) -> None:
    """Kill the supervisor, with which its ranks die."""
    os.kill(owner(stage)["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while owner(stage) is not None:
        assert time.monotonic() < deadline, "the supervisor is still there"
        time.sleep(0.05)


def stop_after(work: Work, step: int) -> None:
    """Run the stage, and stop it after this step or a few later."""
    start_or_attach(work.stage, work.request)
    wait_for_step(work.stage, step)
    request_stop(work.stage)
    with pytest.raises(StoppedError, match="stopped at a step boundary"):
        follow(work.stage, lambda progress: None, poll_seconds=0.1)


def copied(work: Work, run: RunLayout) -> Work:
    """A pre-training as it stands, as that of another run."""
    shutil.copytree(work.stage.path, run.pretrain().path)
    return replace(work, stage=run.pretrain())
