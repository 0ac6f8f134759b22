"""The box that a rank says it holds is the one it holds, on every layout; and all ranks together write every value once."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

from tasks.config.parallel import Layout
from tasks.training.model import pieces as module
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import box_of, pieces_of, shares_of
from tasks.training.model.ranks import Ranks
from tests.kit.models import ALONE
from tests.kit.ranks import run_ranks

GRID = Layout(shard=2, tensor_parallel=2)
PLACEMENTS = [
    (Replicate(), Replicate()), (Shard(0), Replicate()), (Replicate(), Shard(0)), (Shard(0), Shard(1)), (Shard(1), Shard(0)),
    (Shard(0), Shard(0)), (_StridedShard(0, split_factor=2), Shard(0)), (_StridedShard(1, split_factor=2), Shard(1)),
]  # fmt: skip
SHAPES = [(8, 4), (7, 5), (4, 3), (2, 6), (1, 9)]
# torch does not cut one row into two parts and those again.
CASES = [(s, p) for s in SHAPES for p in PLACEMENTS if s[0] > 1 or not isinstance(p[0], _StridedShard) or p[0].dim == 1]


def counted(shape: tuple[int, ...]) -> torch.Tensor:
    """Every value is its own place, so that a wrong box cannot look right."""
    return torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)


def cut(whole: torch.Tensor, offset: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    return whole[tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))]


def boxes_of_distributed(ranks: Ranks) -> list[tuple[bool, tuple, tuple, tuple]]:
    """For every shape and placement: whether the box holds what this rank holds, and the box with its copy number."""
    mesh = Mesh(GRID, ranks)
    found = []
    for shape, placements in CASES:
        tensor = distribute_tensor(counted(shape), mesh.device_mesh["shard", "tensor"], placements, src_data_rank=None)
        offset, size = box_of(tensor)
        (piece,) = pieces_of({"a": tensor}, mesh)
        same = torch.equal(tensor.to_local(), cut(counted(shape), offset, size)) and piece.offset == offset
        found.append((same, offset, size, (piece.copy, piece.copies, piece.boxes)))
    return found


def test_the_box_of_a_tensor_is_what_the_rank_holds_for_every_pair_of_placements() -> None:
    answers = run_ranks(4, boxes_of_distributed)
    assert all(same for answer in answers for same, *_ in answer)
    empty = 0
    for (shape, placements), held in zip(CASES, zip(*answers, strict=True), strict=True):
        covered = torch.zeros(shape)
        for _, offset, size, (copy, copies, boxes) in held:
            assert copies * boxes == 4
            empty += math.prod(size) == 0
            if copy == 0:
                cut(covered, offset, size).add_(1)
        assert bool((covered == 1).all()), (shape, placements)
    assert empty > 0, "shards without values are among the cases"


def boxes_under_fsdp(ranks: Ranks, layout: Layout, rows: int, columns: int, tensor_dim: int | None) -> list[tuple]:
    """A linear layer under tensor parallelism, then FSDP2 over it: the boxes of its parameters and of AdamW's state."""
    mesh = Mesh(layout, ranks)
    linear = nn.Linear(columns, rows)
    whole = {"weight": counted((rows, columns)), "bias": counted((rows,))}
    with torch.no_grad():
        linear.weight.copy_(whole["weight"])
        linear.bias.copy_(whole["bias"])
    if tensor_dim is not None:
        placed = distribute_tensor(linear.weight.detach(), mesh.device_mesh["tensor"], [Shard(tensor_dim)])
        linear.weight = nn.Parameter(placed)
    over = ("replicate", "shard") if layout.replicate > 1 else ("shard",)
    fully_shard(linear, mesh=mesh.device_mesh[over])
    optimizer = torch.optim.AdamW(linear.parameters(), lr=0.0, foreach=False)
    for parameter in linear.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    parameters = dict(linear.named_parameters())
    state = {f"{name}:{key}": v for name, p in parameters.items() for key, v in optimizer.state[p].items()}
    found = []
    for piece in pieces_of(parameters | state, mesh):
        parameter, _, key = piece.name.partition(":")
        if not key:
            assert torch.equal(piece.tensor, cut(whole[parameter], piece.offset, tuple(piece.tensor.shape)))
            assert isinstance(parameters[parameter], DTensor)
        found.append((piece.name, piece.shape, piece.offset, tuple(piece.tensor.shape), piece.copy, piece.copies))
    return found


@pytest.mark.parametrize(
    ("layout", "tensor_dim"),
    [(GRID, 0), (GRID, 1), (GRID, None), (Layout(1, 2, 2), None), (Layout(1, 2, 2, 2), 0)],
    ids=["rows", "columns", "fsdp only", "hsdp", "hsdp over rows"],
)  # fmt: skip
@pytest.mark.parametrize("rows", [8, 3])
def test_fsdp_over_tensor_parallel_covers_parameters_and_moments_once(layout: Layout, tensor_dim: int, rows: int) -> None:
    function = functools.partial(boxes_under_fsdp, layout=layout, rows=rows, columns=4, tensor_dim=tensor_dim)
    answers = run_ranks(layout.world_size, function)
    names = {"weight", "bias"} | {f"{n}:{k}" for n in ("weight", "bias") for k in ("exp_avg", "exp_avg_sq", "step")}
    for pieces in zip(*answers, strict=True):
        name, shape = pieces[0][:2]
        names.remove(name)
        covered = torch.zeros(shape)
        for _, _, offset, size, copy, copies in pieces:
            if copy == 0:
                cut(covered, offset, size).add_(1)
            assert not name.endswith(":step") or (shape, copies) == ((), layout.world_size)
        assert bool((covered == 1).all()), name
        per_box: dict = {}
        for _, _, offset, size, copy, copies in pieces:
            if math.prod(size):
                per_box.setdefault(offset, []).append((copy, copies))
        assert all(sorted(c for c, _ in copies) == list(range(copies[0][1])) for copies in per_box.values()), name
    assert names == set()


def test_one_process_holds_everything_and_shares_its_memory() -> None:
    weight = nn.Parameter(counted((3, 4)))
    pieces = pieces_of({"weight": weight, "step": torch.tensor(3.0)}, Mesh(Layout(), ALONE))
    assert [(p.name, p.shape, p.offset, p.copy, p.copies) for p in pieces] == [
        ("weight", (3, 4), (0, 0), 0, 1),
        ("step", (), (), 0, 1),
    ]
    with torch.no_grad():
        weight.add_(1)
    assert torch.equal(pieces[0].tensor, weight)
    assert not pieces[0].tensor.requires_grad
    assert [p.name for p in shares_of(pieces)] == ["weight", "step"]


def refusals(ranks: Ranks) -> list[str]:
    mesh = Mesh(Layout(tensor_parallel=2), ranks)
    packed = distribute_tensor(counted((8, 2)), mesh.device_mesh["tensor"], [_StridedShard(0, split_factor=2)])
    partial = DTensor.from_local(counted((2, 2)), mesh.device_mesh["tensor"], [Partial()])
    said = []
    for tensor in (packed, partial):
        try:
            box_of(tensor)
        except ValueError as error:
            said.append(str(error))
    return said


def test_what_is_no_box_is_refused() -> None:
    packed, partial = run_ranks(2, refusals)[0]
    assert packed.startswith("a rank holds no box of a tensor with the placements (_StridedShard(dim=0, sf=2),)"), packed
    assert partial == "a tensor with the placements (Partial(sum),) has no values of its own"


def shares_of_replicas(ranks: Ranks, sizes: dict[str, tuple[int, ...]]) -> list[tuple[str, tuple, tuple]]:
    module.MIN_PART_BYTES = 64
    mesh = Mesh(Layout(replicate=ranks.world_size), ranks)
    tensors = {name: counted(shape) for name, shape in sizes.items()}
    shares = shares_of(pieces_of(tensors, mesh, written_elsewhere=["tied"]))
    assert all(torch.equal(s.tensor, cut(tensors[s.name], s.offset, tuple(s.tensor.shape))) for s in shares)
    return [(share.name, share.offset, tuple(share.tensor.shape)) for share in shares]


@pytest.mark.parametrize("world_size", [2, 3])
def test_replicas_share_the_writing_evenly_and_write_every_value_once(world_size: int) -> None:
    sizes = {"embedding": (64, 8), "odd": (5, 9), "row": (1, 100), "step": (), "none": (0, 4), "tied": (64, 8)}
    sizes |= {f"norm{i}": (8,) for i in range(6)}
    answers = run_ranks(world_size, functools.partial(shares_of_replicas, sizes=sizes))
    covered = {name: torch.zeros(shape) for name, shape in sizes.items()}
    for share in (share for answer in answers for share in answer):
        name, offset, size = share
        cut(covered[name], offset, size).add_(1)
    assert not covered.pop("tied").any(), "another pipeline stage writes it"
    assert all(bool((count == 1).all()) for count in covered.values())
    values = [sum(math.prod(size) for *_, size in answer) for answer in answers]
    assert max(values) - min(values) <= 100, "no more apart than the largest tensor that is not cut"
    assert all(any(name == "embedding" for name, *_ in answer) for answer in answers)
