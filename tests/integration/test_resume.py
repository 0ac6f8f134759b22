"""Stopped after any step of a run, training goes on bit by bit as if it never had been."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.record.layout import StageLayout, step_folder
from tasks.training.loop import Trainer
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model
from tasks.training.model.objective import causal_loss
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, make_trainable, random_partition
from tests.kit.ranks import run_ranks
from tests.kit.trainers import LENGTH, recipe

STOPS, MORE = range(1, 41), 20
TEN_STOPS = range(2, 41, 4)
LAST = STOPS[-1] + MORE
DECAY_START = 15
DROPOUT = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
MODEL = ModelConfig(architecture="gpt2", num_hidden_layers=2, hidden_size=32, intermediate_size=64, extra=DROPOUT)


def trainer(ranks: Ranks, folder: Path, layout: Layout, optimizer: str) -> Trainer:
    """With dropout, a decay that begins in the middle, and a checkpoint after every step."""
    setup = Setup(Mesh(layout, ranks), ParallelConfig())
    partition = random_partition(setup, lambda: build_model(MODEL, 384, 0, 1), "fp32", 0)
    make_trainable(partition, setup, causal_loss)
    settings = recipe(
        max_steps=LAST, schedule=Schedule(0.01, 0.0, 5, LAST - DECAY_START, "1-sqrt"),
        global_batch_tokens=4 * LENGTH, micro_batch_size=1,
        sample_ids=lambda step: np.arange(4) + 4 * step % 40, checkpoint_every_steps=1, keep_checkpoints=LAST,
        evaluate_every_steps=LAST, evaluate=lambda run: {"heldout_loss": 1.0}, optimizer=optimizer,
    )  # fmt: skip
    run = Trainer(settings, partition, StageLayout(folder), 1)
    run.state.decay_start = DECAY_START
    return run


def files_of(folder: Path, step: int) -> dict[str, bytes]:
    """Weights and optimizer state of a checkpoint, by file."""
    files = {p.name: p.read_bytes() for p in (folder / "checkpoints" / step_folder(step)).glob("*.safetensors")}
    assert files
    return files


def stopped_everywhere(ranks: Ranks, folder: Path, layout: Layout, optimizer: str, stops: range) -> None:
    undisturbed = trainer(ranks, folder / "whole", layout, optimizer)
    undisturbed.train()
    for stop in stops:
        there = StageLayout(folder / str(stop))
        if ranks.is_first:
            name = step_folder(stop)
            shutil.copytree(undisturbed.stage.checkpoints / name, there.checkpoints / name)
        ranks.barrier()
        run = trainer(ranks, there.path, layout, optimizer)
        run.resume()
        assert run.state.step == stop
        run.partition.train()
        for _ in range(MORE):
            run.train_step()
        run.save()
        run.finish_saving()


DIVIDED = [(Layout(shard=2), "adamw"), (Layout(replicate=2), "muon")]


@pytest.mark.parametrize(
    ("layout", "optimizer", "stops"),
    [
        (Layout(), "adamw", STOPS),
        *((*divided, TEN_STOPS) for divided in DIVIDED),
        *(pytest.param(*divided, STOPS, marks=pytest.mark.soak) for divided in DIVIDED),
    ],
    ids=str,
)
def test_a_resume_after_every_step_is_bit_identical_20_steps_later(
    tmp_path: Path, layout: Layout, optimizer: str, stops: range
) -> None:
    run_ranks(
        layout.world_size, partial(stopped_everywhere, folder=tmp_path, layout=layout, optimizer=optimizer, stops=stops), 600
    )
    for stop in stops:
        assert files_of(tmp_path / str(stop), stop + MORE) == files_of(tmp_path / "whole", stop + MORE), f"stop {stop}"
    assert files_of(tmp_path / "whole", 20) != files_of(tmp_path / "whole", 21)
