"""One model on every mesh: the loss and the gradient norm of one process, the bytes per rank, resumes on other meshes."""

import math
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.data.tokens.digest import digest_text, samples_digest
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import StageLayout
from tasks.training.loop import Trainer
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model, with_parameters_in
from tasks.training.model.objective import causal_loss
from tasks.training.model.pieces import local_values
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, make_trainable, random_partition
from tests.kit.ranks import run_ranks
from tests.kit.trainers import LENGTH, recipe, token_batch, tokens_read

STEPS = 20
LAYOUTS = {
    "replicate 2": Layout(replicate=2),
    "replicate 4": Layout(replicate=4),
    "shard 2": Layout(shard=2),
    "shard 4": Layout(shard=4),
    "tensor 2": Layout(tensor_parallel=2),
    "pipeline 2": Layout(2),
    "pipeline 4": Layout(4),
    "pipeline 2 interleaved": Layout(2, virtual_stages=2),
    "replicate 2 x shard 2": Layout(replicate=2, shard=2),
    "replicate 2 x tensor 2": Layout(replicate=2, tensor_parallel=2),
    "shard 2 x tensor 2": Layout(shard=2, tensor_parallel=2),
    "pipeline 2 x replicate 2": Layout(2, replicate=2),
    "pipeline 2 x shard 2": Layout(2, shard=2),
    "pipeline 2 x tensor 2": Layout(2, tensor_parallel=2),
    "pipeline 2 x shard 2 x tensor 2": Layout(2, shard=2, tensor_parallel=2),
}
MODELS = {
    "llama, tied": ModelConfig(num_hidden_layers=4, hidden_size=32, intermediate_size=64, num_key_value_heads=2),
    "qwen3, untied": ModelConfig(
        architecture="qwen3", num_hidden_layers=4, hidden_size=32, intermediate_size=64, num_key_value_heads=2,
        tie_word_embeddings=False, extra={"head_dim": 8},
    ),
}  # fmt: skip


def trainer(
    ranks: Ranks, folder: Path, layout: Layout, model: str, steps: int = STEPS, attempt: int = 1, optimizer: str = "adamw",
    states: str = "fp32", **parallel: object,
) -> Trainer:  # fmt: skip
    """A trainer of four micro-batches in a step, with gradients that are clipped in every one; bf16 with bf16 states."""
    setup = Setup(Mesh(layout, ranks), ParallelConfig(**parallel))

    def build() -> PreTrainedModel:
        return with_parameters_in(build_model(MODELS[model], 384, 0, 1), states)

    partition = random_partition(setup, build, states, 0)
    make_trainable(partition, setup, causal_loss)
    settings = recipe(
        max_steps=steps, max_grad_norm=0.3, schedule=Schedule(0.005, 0.0, 2, 4, "1-sqrt"), global_batch_tokens=16 * LENGTH,
        sample_ids=lambda step: (torch.arange(16) * 7 + step * 16).numpy() % 40, checkpoint_every_steps=steps // 2,
        evaluate_every_steps=steps // 2, evaluate=lambda run: {"heldout_loss": heldout(run)}, optimizer=optimizer,
        precision=states,
    )  # fmt: skip
    return Trainer(settings, partition, StageLayout(folder), attempt)


def heldout(run: Trainer) -> float:
    """Mean loss of eight rows, two a batch, each data-parallel rank its share."""
    width = run.mesh.layout.data_parallel
    rows = torch.arange(8).reshape(4, 2).numpy()[run.mesh.data_rank :: width]
    return run.ranks.sum_(run.passes.measure([token_batch(ids) for ids in rows], "fp32")).item() / 96


def trained(ranks: Ranks, folder: Path, layout: Layout, model: str, **parallel: object) -> tuple[int, int, dict]:
    """Parameter and optimizer bytes that this rank holds after training, and the whole's number of parameters."""
    run = trainer(ranks, folder, layout, model, **parallel)
    run.resume()
    run.train()
    sizes = [sum(local_values(t).numel() for t in tensors.values()) for tensors in parts_of(run)]
    return sizes[0], sizes[1], {name: p.shape for name, p in run.partition.whole.named_parameters()}


def parts_of(run: Trainer) -> tuple[dict, dict]:
    """Weights, and moments without the step counts."""
    tensors = run.tensors()
    moments = {name: t for name, t in tensors.items() if ":" in name and not name.endswith(":step")}
    return {name: t for name, t in tensors.items() if ":" not in name}, moments


def curve(folder: Path) -> list[tuple[float, float]]:
    return [(line["loss"], line["grad_norm"]) for line in latest_by_step(read_journal(StageLayout(folder).journal)[0], "step")]


def evaluations(folder: Path) -> list[float]:
    return [e["heldout_loss"] for e in latest_by_step(read_journal(StageLayout(folder).journal)[0], "evaluation")]


def tokens_of_steps() -> list[str]:
    """What every layout must have read, from the rows alone."""
    places = np.arange(16)
    rows = [token_batch((places * 7 + step * 16) % 40) for step in range(STEPS)]
    arrays = [[batch[name].numpy() for name in ("input_ids", "labels", "position_ids")] for batch in rows]
    return [digest_text(samples_digest(places.tolist(), zip(*one, strict=True))) for one in arrays]


@cache
def alone(model: str, **changes: object) -> tuple[list[tuple[float, float]], list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        run_ranks(1, partial(trained, folder=Path(folder), layout=Layout(), model=model, **changes))
        return curve(Path(folder)), evaluations(Path(folder))


def assert_same(found: list[tuple[float, float]], expected: list[tuple[float, float]], tolerance: float = 1e-5) -> None:
    assert len(found) == len(expected) > 0
    for (loss, norm), (other_loss, other_norm) in zip(found, expected, strict=True):
        assert loss == pytest.approx(other_loss, rel=tolerance)
        assert norm == pytest.approx(other_norm, rel=tolerance)


SHOWN = {
    "llama, tied": LAYOUTS.keys() - {"replicate 2 x tensor 2", "pipeline 2 x tensor 2", "pipeline 2 x replicate 2"},
    "qwen3, untied": {"shard 2", "tensor 2", "pipeline 2", "pipeline 2 interleaved", "replicate 2 x shard 2"},
}
"""Meshes in `make test`: each axis alone, and products of them; of the model without shared embeddings what differs for it."""


def every_mesh_and_model() -> list[object]:
    return [
        pytest.param(name, model, marks=[] if name in SHOWN[model] else [pytest.mark.soak])
        for name in LAYOUTS
        for model in MODELS
    ]


@pytest.mark.parametrize(("name", "model"), every_mesh_and_model())
def test_every_mesh_has_the_curve_of_one_process_and_its_share_of_the_bytes(tmp_path: Path, name: str, model: str) -> None:
    layout = LAYOUTS[name]
    expected, measured = alone(model)
    sizes = run_ranks(layout.world_size, partial(trained, folder=tmp_path, layout=layout, model=model), 300)
    assert_same(curve(tmp_path), expected)
    assert evaluations(tmp_path) == pytest.approx(measured, rel=1e-5)
    assert tokens_read(tmp_path) == tokens_of_steps()
    assert all(norm > 0.3 for _, norm in expected[:5]), "gradients were clipped"
    for rank, (weights, moments, shapes) in enumerate(sizes):
        assert weights == pytest.approx(expected_share(layout, rank, shapes), rel=0.05)
        assert moments == 2 * weights


def expected_share(layout: Layout, rank: int, shapes: dict[str, torch.Size]) -> float:
    """Parameters of a rank: its stage's, matrices divided over tensor ranks, all of it over shards."""
    stages = stages_of(layout, rank)
    layers = MODELS["llama, tied"].num_hidden_layers
    total = 0.0
    for name, shape in shapes.items():
        if ".layers." in name:
            here = int(name.split(".")[2]) * layout.num_stages // layers in stages
        elif name == "model.embed_tokens.weight":
            here = 0 in stages or ("lm_head.weight" not in shapes and layout.num_stages - 1 in stages)
        else:
            here = layout.num_stages - 1 in stages
        divided = len(shape) > 1
        total += here * math.prod(shape) / (layout.tensor_parallel if divided else 1) / layout.shard
    return total


def stages_of(layout: Layout, rank: int) -> set[int]:
    place = rank // layout.stage_size
    return {place + i * layout.pipeline_parallel for i in range(layout.virtual_stages)}


CHECKPOINTED = [("shard 2", "full"), ("pipeline 2", "selective")]
SOAKED = [("shard 2", "selective"), ("pipeline 2", "full"), ("tensor 2", "selective"), ("tensor 2", "full")]


@pytest.mark.parametrize(("name", "kind"), CHECKPOINTED + [pytest.param(*one, marks=pytest.mark.soak) for one in SOAKED])
def test_activation_checkpointing_changes_no_number(tmp_path: Path, name: str, kind: str) -> None:
    step = partial(trained, folder=tmp_path, layout=LAYOUTS[name], model="llama, tied", activation_checkpointing=kind)
    run_ranks(2, step, 300)
    assert_same(curve(tmp_path), alone("llama, tied")[0])


@pytest.mark.parametrize(
    "name",
    ["shard 2", "pipeline 2", *(pytest.param(one, marks=pytest.mark.soak) for one in ("replicate 2", "shard 2 x tensor 2"))],
)
def test_muon_has_the_same_curve_on_every_mesh(tmp_path: Path, name: str) -> None:
    layout, model = LAYOUTS[name], "qwen3, untied"
    run_ranks(layout.world_size, partial(trained, folder=tmp_path, layout=layout, model=model, optimizer="muon"), 300)
    expected = alone(model, optimizer="muon")[0]
    assert_same(curve(tmp_path), expected)
    assert expected != alone(model)[0]


@pytest.mark.parametrize(
    "name", ["shard 2", *(pytest.param(one, marks=pytest.mark.soak) for one in ("replicate 2", "pipeline 2 x shard 2"))]
)
def test_bf16_states_stay_near_the_curve_of_fp32_ones_on_every_mesh(tmp_path: Path, name: str) -> None:
    layout, model = LAYOUTS[name], "llama, tied"
    run_ranks(layout.world_size, partial(trained, folder=tmp_path, layout=layout, model=model, states="bf16"), 300)
    losses, exact = ([loss for loss, _ in found] for found in (curve(tmp_path), alone(model)[0]))
    assert losses == pytest.approx(exact, rel=0.03)
    assert losses != exact


def continued(ranks: Ranks, folder: Path, layout: Layout, model: str) -> None:
    run = trainer(ranks, folder, layout, model, attempt=2)
    run.resume()
    assert run.state.step == STEPS // 2
    run.train()


@pytest.mark.parametrize("first", ["pipeline 2 x shard 2", pytest.param("shard 2 x tensor 2", marks=pytest.mark.soak)])
def test_a_checkpoint_goes_on_on_any_other_mesh(tmp_path: Path, first: str) -> None:
    """Same samples and tokens, the loss of one process."""
    model = "llama, tied"
    whole = tmp_path / "whole"
    run_ranks(LAYOUTS[first].world_size, partial(trained, folder=whole, layout=LAYOUTS[first], model=model), 300)
    shutil.rmtree(StageLayout(whole).checkpoints / f"step_{STEPS:08d}")
    for second in (None, "replicate 2", "pipeline 2", "replicate 2 x tensor 2", "pipeline 2 interleaved"):
        layout = LAYOUTS[second] if second else Layout()
        folder = tmp_path / str(second)
        shutil.copytree(whole, folder)
        run_ranks(layout.world_size, partial(continued, folder=folder, layout=layout, model=model), 300)
        lines = read_journal(StageLayout(folder).journal)[0]
        assert [line["step"] for line in lines if line["kind"] == "step" and line["attempt"] == 2] == [*range(11, 21)]
        assert_same(curve(folder), alone(model)[0])
        assert tokens_read(folder) == tokens_of_steps()
