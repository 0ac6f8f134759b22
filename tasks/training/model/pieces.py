"""Which box of a whole tensor this rank holds, and which part of it this rank writes."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from tasks.training.model.mesh import Mesh

MIN_PART_BYTES = 2**22
"""A box that several ranks hold is written in parts by all of them, unless the parts became smaller than this (4 MiB)."""


@dataclass(frozen=True)
class Piece:
    """The box of a whole tensor that this rank holds."""

    name: str
    tensor: Tensor
    """The values, of the shape of the box; shares memory with the parameter or the optimizer's state."""
    shape: tuple[int, ...]
    """Of the whole tensor."""
    offset: tuple[int, ...]
    """Where in the whole tensor the box begins."""
    copy: int = 0
    """Which of the `copies` equal boxes, on as many ranks, this one is."""
    copies: int = 1
    boxes: int = 1
    """How many different boxes the whole tensor is cut into; they may differ in size."""
    is_ours: bool = True
    """False where the caller said that another pipeline stage writes this tensor."""


def pieces_of(tensors: Mapping[str, Tensor], mesh: Mesh, written_elsewhere: Collection[str] = ()) -> list[Piece]:
    """The box that this rank holds of each tensor, in their order.

    A tensor that is no DTensor counts as equal on all ranks of the pipeline stage. `written_elsewhere` names tensors of which
    another stage saves its own copy: the second of two tied matrices under a pipeline.
    """
    pieces = []
    for name, tensor in tensors.items():
        offset, _ = box_of(tensor)
        copy, copies = copy_of(tensor, mesh)
        boxes = mesh.layout.stage_size // copies
        whole, is_ours = tuple(tensor.shape), name not in written_elsewhere
        pieces.append(Piece(name, local_values(tensor), whole, offset, copy, copies, boxes, is_ours))
    return pieces


def box_of(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offset and shape of the box of the whole tensor that this rank holds; the shape may hold a zero.

    Raises ValueError where what it holds is no box: matrices that are packed side by side and sharded each for itself.
    """
    if not isinstance(tensor, DTensor):
        return (0,) * tensor.ndim, tuple(tensor.shape)
    offset, shape = [0] * tensor.ndim, list(tensor.shape)
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None, "this rank is part of the mesh"
    for dim in sharded_mesh_dims(tensor):
        placement = tensor.placements[dim]
        assert hasattr(placement, "dim")
        rows, number = placement.dim, tensor.device_mesh.size(dim)
        chunk = math.ceil(shape[rows] / number)
        start = min(coordinate[dim] * chunk, shape[rows])
        offset[rows] += start
        shape[rows] = min(chunk, shape[rows] - start)
    if tuple(shape) != tuple(local_values(tensor).shape):
        raise ValueError(f"a rank holds {tuple(local_values(tensor).shape)} and not {tuple(shape)} of {tensor.placements}")
    return tuple(offset), tuple(shape)


def sharded_mesh_dims(tensor: DTensor) -> list[int]:
    """The dimensions of its mesh that shard the tensor, in the order in which they cut it.

    FSDP over matrices that tensor parallelism has already cut along the same dimension is a strided shard on an earlier mesh
    dimension that cuts last; its split factor is the number of parts that are there already.
    """
    mesh, placements = tensor.device_mesh, tensor.placements
    plain: list[int] = []
    strided: list[int] = []
    for dim, placement in enumerate(placements):
        if isinstance(placement, Replicate):
            continue
        if not hasattr(placement, "dim"):
            raise ValueError(f"a tensor with the placements {placements} has no values of its own")
        if not hasattr(placement, "split_factor"):
            plain.append(dim)
            continue
        later = [d for d in range(dim + 1, mesh.ndim) if getattr(placements[d], "dim", None) == placement.dim]
        if math.prod(mesh.size(d) for d in later) != placement.split_factor:
            raise ValueError(f"a rank holds no box of a tensor with the placements {placements} on a mesh {mesh.shape}")
        strided.insert(0, dim)
    return plain + strided


def copy_of(tensor: Tensor, mesh: Mesh) -> tuple[int, int]:
    """Which of how many equal boxes on ranks of the same pipeline stage this rank holds."""
    layout, sharded = mesh.layout, set()
    if isinstance(tensor, DTensor):
        names = tensor.device_mesh.mesh_dim_names or ()
        sharded = {names[dim] for dim in sharded_mesh_dims(tensor)}
    sizes = {"replicate": layout.replicate, "shard": layout.shard, "tensor": layout.tensor_parallel}
    copy, copies = 0, 1
    for name, size in sizes.items():
        if name not in sharded:
            copy, copies = copy * size + mesh.coordinate[name], copies * size
    return copy, copies


def local_values(tensor: Tensor) -> Tensor:
    """What this rank holds of the tensor, sharing its memory and without its history."""
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    with torch.no_grad():
        return tensor.to_local()


def shares_of(pieces: list[Piece]) -> list[Piece]:
    """The parts that this rank writes, so that all ranks together write every value once and about as many bytes each.

    All ranks of a pipeline stage must call it with pieces of the same tensors: who writes what follows from the whole shapes.
    """
    shares: list[Piece] = []
    loads: dict[int, list[int]] = {}
    for piece in sorted(pieces, key=lambda piece: (-whole_bytes(piece), piece.name)):
        if not piece.is_ours:
            continue
        writers = next_writers(piece, loads.setdefault(piece.copies, [0] * piece.copies))
        if piece.copy in writers and piece.tensor.numel() > 0:
            share = part_of(piece, writers.index(piece.copy), len(writers))
            shares += [share] if share is not None else []
    return shares


def next_writers(piece: Piece, loads: list[int]) -> list[int]:
    """Which copies of the box write a part each: those with the least to write so far (`loads`, bytes, brought up to date).

    Nothing of one rank counts, only what is the same for all boxes of the tensor.
    """
    box_bytes = whole_bytes(piece) // piece.boxes
    parts = max(1, min(piece.copies, box_bytes // MIN_PART_BYTES, *piece.shape[:1]))
    writers = sorted(range(piece.copies), key=lambda copy: (loads[copy], copy))[:parts]
    for copy in writers:
        loads[copy] += box_bytes // parts
    return writers


def whole_bytes(piece: Piece) -> int:
    return math.prod(piece.shape) * piece.tensor.element_size()


def part_of(piece: Piece, part: int, parts: int) -> Piece | None:
    """Rows of the piece, cut into `parts`; None if there are too few for this part."""
    if parts == 1:
        return piece
    rows = piece.tensor.shape[0]
    chunk = math.ceil(rows / parts)
    start, end = part * chunk, min((part + 1) * chunk, rows)
    if start >= end:
        return None
    offset = (piece.offset[0] + start, *piece.offset[1:])
    return replace(piece, tensor=piece.tensor[start:end], offset=offset)
