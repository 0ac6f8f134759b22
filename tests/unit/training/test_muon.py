"""Muon makes updates orthogonal, agrees with torch's, and does the same to a matrix that is sharded."""

import math

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from tasks.training import muon
from tasks.training.model.ranks import Ranks
from tasks.training.muon import MuonAdamW, orthogonal, stacks
from tests.kit.ranks import run_ranks

SHAPES = [(8, 12), (12, 8), (7, 7), (8, 12), (5,)]


def parameters() -> list[torch.nn.Parameter]:
    chance = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=chance)) for shape in SHAPES]


def gradient(step: int, number: int) -> torch.Tensor:
    return torch.randn(SHAPES[number], generator=torch.Generator().manual_seed(100 * step + number))


def optimizer_of(members: list[torch.nn.Parameter]) -> MuonAdamW:
    groups = [
        {"params": [p for p in members if p.ndim == 2], "orthogonal": True, "precision": "fp32", "weight_decay": 0.1},
        {"params": [p for p in members if p.ndim == 1], "orthogonal": False, "weight_decay": 0.0},
    ]
    return MuonAdamW(groups, lr=0.02, betas=(0.9, 0.95), eps=1e-8, fused=True)


def trained() -> list[torch.Tensor]:
    """The parameters after three steps in one process."""
    members = parameters()
    optimizer = optimizer_of(members)
    for step in range(3):
        for number, parameter in enumerate(members):
            parameter.grad = gradient(step, number)
        optimizer.step()
    return [p.detach() for p in members]


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (6, 6)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    left, right = (torch.linalg.qr(torch.randn(n, 6, generator=torch.Generator().manual_seed(n)))[0] for n in shape)
    values = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    (found,) = orthogonal((left @ values.diag() @ right.T)[None])
    inside = left.T @ found @ right
    assert ((inside.diag() > 0.65) & (inside.diag() < 1.25)).all()
    torch.testing.assert_close(inside, inside.diag().diag(), atol=1e-4, rtol=0)


def test_it_is_torchs_muon_with_the_step_size_of_adamw() -> None:
    """Theirs iterates in bf16."""
    members = parameters()[:4]
    theirs = torch.optim.Muon(members, lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        for number, parameter in enumerate(members):
            parameter.grad = gradient(step, number)
        theirs.step()
    for ours, other, before in zip(trained()[:4], members, parameters(), strict=False):
        assert torch.dist(ours, other) < 0.02 * torch.dist(ours, before)


def test_an_update_has_the_size_of_adamws() -> None:
    members = [torch.nn.Parameter(torch.zeros(64, 256))]
    members[0].grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    MuonAdamW([{"params": members, "orthogonal": True, "precision": "fp32"}], lr=1.0, weight_decay=0.0, fused=True).step()
    assert members[0].square().mean().sqrt().item() == pytest.approx(0.2, rel=0.25)


def test_vectors_have_the_update_of_adamw() -> None:
    vector = parameters()[4]
    adamw = torch.optim.AdamW([vector], lr=0.02, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
    for step in range(3):
        vector.grad = gradient(step, 4)
        adamw.step()
    assert torch.equal(trained()[4], vector)


def test_matrices_are_stacked_by_shape_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    members = parameters()[:4]
    assert [len(stack) for stack in stacks(members)] == [2, 1, 1]
    monkeypatch.setattr(muon, "STACKED_ELEMENTS", 100)
    assert [len(stack) for stack in stacks(members)] == [1, 1, 1, 1]
    assert math.prod(SHAPES[0]) < 100 < 2 * math.prod(SHAPES[0])


def trained_on_shards(ranks: Ranks) -> list[torch.Tensor]:
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("shard",))
    placements = [[Shard(0)], [Shard(1)], [Shard(0)], [Shard(0)], [Shard(0)]]
    members = [
        torch.nn.Parameter(distribute_tensor(p.detach(), mesh, placement))
        for p, placement in zip(parameters(), placements, strict=True)
    ]
    optimizer = optimizer_of(members)
    for step in range(3):
        for number, parameter in enumerate(members):
            parameter.grad = distribute_tensor(gradient(step, number), mesh, placements[number])
        optimizer.step()
    return [p.full_tensor().detach() for p in members]


def test_sharded_matrices_have_the_same_update() -> None:
    """Rows and columns, evenly and not (7 rows on two ranks)."""
    expected = trained()
    for found in run_ranks(2, trained_on_shards):
        for there, here in zip(found, expected, strict=True):
            assert torch.equal(there, here)
