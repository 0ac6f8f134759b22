"""One rank as the launcher starts it, and a process group of one rank: NCCL on a GPU, gloo on a CPU."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.training.feed import to_device
from tasks.training.gradients import ShardedGradients
from tasks.training.model.initial_values import fill_at_random, recorded_writes
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model
from tasks.training.model.objective import causal_loss
from tasks.training.model.partition import Partition, materialise, shard, tie
from tasks.training.model.patches import patch
from tasks.training.model.ranks import Ranks
from tasks.training.optimizer import build_optimizer
from tasks.training.passes import WholePasses
from tests.gpu.device_runs import LENGTH, MODEL, VOCABULARY, read
from tests.kit.runs import pretrained, tiny_config, write_text

FIRST_STEPS = 5


def curve_of_a_shard(device: str, store: str) -> list[tuple[float, float]]:
    """(loss, norm) of a model that FSDP2 shards over a mesh of one rank, whose collectives are the backend's own."""
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo", init_method=f"file://{store}", rank=0, world_size=1,
        device_id=torch.device("cuda", 0) if device == "cuda" else None,
    )  # fmt: skip
    try:
        mesh = Mesh(Layout(), Ranks(0, 1, torch.device(device)))
        mesh.device_mesh = init_device_mesh(device, (1, 1, 1, 1), mesh_dim_names=("pipeline", "replicate", "shard", "tensor"))
        return curve(mesh, sharded=True)
    finally:
        dist.destroy_process_group()


def curve(mesh: Mesh, sharded: bool) -> list[tuple[float, float]]:
    config = ModelConfig(**MODEL, max_position_embeddings=LENGTH)
    build = partial(build_model, config, VOCABULARY, 0, 1)
    model = build()
    tie(model)
    if sharded:
        shard(model, mesh, "fp32")
    partition = Partition(mesh, [model])
    materialise(partition, mesh.ranks.device)
    whole = build()
    tie(whole)
    shapes = {name: p.shape for name, p in whole.named_parameters()}
    fill_at_random(partition.parameters(), shapes, recorded_writes(whole), 0)
    patch(partition, causal_loss)
    optimizer = build_optimizer(partition, 2e-3, 0.1, (0.9, 0.95))
    gradients, passes = ShardedGradients(partition), WholePasses(partition, "fp32")
    found = []
    for step in range(FIRST_STEPS):
        batch = to_device(read(np.arange(step * 8, step * 8 + 8)), mesh.ranks.device)
        gradients.zero()
        loss = passes.train([batch], lambda number: number, 8 * LENGTH)
        gradients.reduce()
        norm = gradients.clip(1.0)
        optimizer.step()
        found.append((loss.item() / (8 * LENGTH), norm.item()))
    return found


def test_shards_over_one_rank_have_the_curve_without_a_group(device: str, tmp_path: Path) -> None:
    """In a process of its own, which may have a process group."""
    expected = curve(Mesh(Layout(), Ranks(0, 1, torch.device(device))), sharded=False)
    code = (
        "import json, sys; from tests.gpu.test_ranks import curve_of_a_shard; "
        "print(json.dumps(curve_of_a_shard(sys.argv[1], sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, device, str(tmp_path / "store")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}, timeout=300, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(expected) == FIRST_STEPS
    for (loss, norm), (other_loss, other_norm) in zip(found, expected, strict=True):
        assert loss == pytest.approx(other_loss, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-4)


def test_a_stage_is_trained_by_a_rank_that_the_launcher_started(device: str, tmp_path: Path) -> None:
    """Data, supervisor, `accelerate launch` and one rank: what a person's run is made of, without servers."""
    config = tiny_config(
        write_text(tmp_path / "words.txt"), launch={"num_processes": 1, "device": "gpu" if device == "cuda" else "cpu"}
    )
    result = pretrained(tmp_path / "home", config)
    assert result.manifest.step == 40
    assert result.manifest.metrics["heldout_loss"] < 0.8 * result.manifest.metrics["initial_heldout_loss"]
    steps = latest_by_step(read_journal(StageLayout(result.stage.path).journal)[0], "step")
    assert [line["step"] for line in steps] == list(range(1, 41))
    if device == "cuda":
        assert steps[-1]["peak_memory_bytes"] > 0
        log = next((result.stage.path / "logs").rglob("rank_0.log")).read_text()
        print(log[-2000:])
