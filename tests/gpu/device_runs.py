"""Short runs of the product's own loop, on the CPU or on a GPU, on text-like rows that are made here."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.config.training import PretrainConfig
from tasks.data.order.permutation import samples_of_step
from tasks.record.layout import StageLayout
from tasks.training.loop import Recipe, Trainer
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import attention_implementation, build_model
from tasks.training.model.objective import causal_loss
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, make_trainable, random_partition
from tests.kit.trainers import lines_of

STEPS, ROWS, BATCH, MICRO_BATCH, VOCABULARY = 20, 128, 16, 8, 1024
# Without a GPU the same code runs in small.
LENGTH, WIDTH, LAYERS = (512, 256, 4) if torch.cuda.is_available() else (64, 64, 2)
MODEL = {
    "hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
DROPOUT = {
    "architecture": "gpt2", "num_key_value_heads": None, "extra": {"resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1},
}  # fmt: skip


def rows_and_positions() -> tuple[np.ndarray, np.ndarray]:
    """Tokens (ROWS, LENGTH + 1), each a function of the one before with noise, and positions of documents of many lengths."""
    chance = np.random.default_rng(0)
    tokens = np.empty((ROWS, LENGTH + 1), dtype=np.int64)
    tokens[:, 0] = chance.integers(2, VOCABULARY, ROWS)
    for place in range(LENGTH):
        tokens[:, place + 1] = (tokens[:, place] * 5 + chance.integers(1, 4, ROWS)) % (VOCABULARY - 2) + 2
    begins = chance.random((ROWS, LENGTH)) < 1 / 64
    begins[:, 0] = True
    places = np.arange(LENGTH)
    return tokens, places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)


TOKENS, POSITIONS = rows_and_positions()


def read(ids: np.ndarray) -> dict[str, torch.Tensor]:
    rows = torch.from_numpy(TOKENS[ids])
    return {
        "input_ids": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous(),
        "position_ids": torch.from_numpy(POSITIONS[ids]),
    }  # fmt: skip


def trainer(
    device: str, folder: Path, precision: str = "fp32", attempt: int = 1, changes: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None, **parallel: Any,
) -> Trainer:  # fmt: skip
    """A trainer as a rank of pre-training makes it; `changes` are of settings, and of `max_steps`."""
    ranks = Ranks(0, 1, torch.device(device))
    setup = Setup(Mesh(Layout(), ranks), ParallelConfig(**parallel))
    config = ModelConfig(**MODEL | (model or {}), max_position_embeddings=LENGTH)

    def build() -> PreTrainedModel:
        model = build_model(config, VOCABULARY, 0, 1)
        model.set_attn_implementation(attention_implementation(model, LENGTH, ranks.device))
        return model

    partition = random_partition(setup, build, precision, 0)
    make_trainable(partition, setup, causal_loss)
    changes = changes or {}
    settings = {
        "sequence_length": LENGTH, "micro_batch_size": MICRO_BATCH, "global_batch_tokens": BATCH * LENGTH,
        "precision": precision, "evaluate_every_steps": 10, "checkpoint_every_steps": 10, "keep_checkpoints": 3,
    } | {name: value for name, value in changes.items() if name in PretrainConfig.model_fields}  # fmt: skip
    recipe = Recipe(
        config=PretrainConfig().model_copy(update=settings), request_digest="request",
        schedule=Schedule(2e-3, 0.0, 4, 4, "1-sqrt"), max_steps=changes.get("max_steps", STEPS),
        sample_ids=lambda step: samples_of_step(step, BATCH, ROWS, 0), read=read,
        num_targets=lambda ids: len(ids) * LENGTH, num_tokens=lambda ids: len(ids) * LENGTH, evaluate=heldout,
    )  # fmt: skip
    return Trainer(recipe, partition, StageLayout(folder), attempt)


def heldout(run: Trainer) -> dict[str, float]:
    batch = {name: tensor.to(run.ranks.device) for name, tensor in read(np.arange(8)).items()}
    return {"heldout_loss": run.passes.measure([batch], "fp32").item() / (8 * LENGTH)}


def losses(run: Trainer) -> list[float]:
    return [line["loss"] for line in lines_of(run)]


def largest_difference(found: list[float], expected: list[float]) -> float:
    """Relative; printed by the tests, since a table of figures is made of them."""
    assert len(found) == len(expected) == STEPS
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    """All of the training state, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in run.tensors().items()}


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not equal bit by bit."""
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]
