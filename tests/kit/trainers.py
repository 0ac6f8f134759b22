"""A trainer in this process, on token rows that are made here."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasks.config.parallel import Layout
from tasks.config.training import PretrainConfig
from tasks.data.order.permutation import samples_of_step
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import StageLayout
from tasks.training.loop import Recipe, Trainer
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import causal_loss
from tasks.training.model.partition import Partition
from tasks.training.model.patches import Loss, patch
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tests.kit.models import ALONE, VOCABULARY, tiny_model

LENGTH, ROWS = 12, 40
TOKENS = np.random.default_rng(0).integers(2, VOCABULARY, (ROWS, LENGTH + 1)) % 7 + 2
"""Few different tokens, so that some steps learn which ones occur."""


def token_batch(ids: np.ndarray) -> dict[str, torch.Tensor]:
    rows = torch.from_numpy(TOKENS[ids])
    positions = torch.arange(LENGTH).expand(len(ids), LENGTH)
    return {"input_ids": rows[:, :-1], "labels": rows[:, 1:].contiguous(), "position_ids": positions}


def heldout(trainer: Trainer) -> dict[str, float]:
    loss = trainer.ranks.sum_(trainer.passes.measure([token_batch(np.arange(4))], "fp32")).item() / (4 * LENGTH)
    loss /= trainer.mesh.layout.data_parallel
    return {"heldout_loss": loss, "bits_per_byte": loss / 0.693}


TRAINING = PretrainConfig(
    sequence_length=LENGTH, micro_batch_size=2, global_batch_tokens=8 * LENGTH, train_tokens=12 * 8 * LENGTH, precision="fp32",
    warmup_steps=2, decay_steps=4, learning_rate=0.01, evaluate_every_steps=2, checkpoint_every_steps=4, keep_checkpoints=2,
)  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    """Settings of the recipe and of its configuration, unchecked, laid over those of 12 steps."""
    settings = {name: changes.pop(name) for name in PretrainConfig.model_fields if name in changes}
    values: dict[str, Any] = {
        "config": TRAINING.model_copy(update=settings), "request_digest": "request",
        "schedule": Schedule(0.01, 0.0, 2, 4, "1-sqrt"), "max_steps": 12,
        "sample_ids": lambda step: samples_of_step(step, 8, ROWS, 0), "read": token_batch,
        "num_targets": lambda ids: len(ids) * LENGTH, "num_tokens": lambda ids: len(ids) * LENGTH,
        "evaluate": heldout,
    }  # fmt: skip
    return Recipe(**values | changes)


def trainer(
    folder: Path, model: torch.nn.Module | None = None, ranks: Ranks = ALONE, attempt: int = 1, loss: Loss = causal_loss,
    **changes: Any,
) -> Trainer:  # fmt: skip
    """A trainer of replicas, as many as there are ranks."""
    partition = Partition(Mesh(Layout(replicate=ranks.world_size), ranks), [model or tiny_model()])
    patch(partition, loss)
    return Trainer(recipe(**changes), partition, StageLayout(folder), attempt)


def continued(run: Trainer) -> Trainer:
    """The same, trained from its newest checkpoint, or from the beginning, to its end."""
    run.resume()
    run.train()
    return run


def lines_of(run: Trainer, kind: str = "step") -> list[dict[str, Any]]:
    return latest_by_step(read_journal(run.stage.journal)[0], kind)


def tokens_read(folder: Path) -> list[str]:
    """What the journal of a stage says of the tokens of each step."""
    return [line["token_digest"] for line in latest_by_step(read_journal(StageLayout(folder).journal)[0], "step")]


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
