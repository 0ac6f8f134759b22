"""Gradients of one optimizer step: summed over the ranks that share them, measured over all ranks, clipped."""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tasks.training.model.mesh import Mesh
from tasks.training.model.partition import Partition
from tasks.training.model.pieces import sharded_mesh_dims

NORM_BLOCK = 4096


class FlatGradients:
    """All gradients as views of one buffer: one all-reduce, one norm, and the same summation order on every start.

    For a model that every rank holds whole. (DistributedDataParallel sorts its buckets anew after the first step, so that a
    resumed run would sum in another order.)
    """

    def __init__(self, partition: Partition) -> None:
        self._ranks = partition.mesh.ranks
        parameters = [p for p in partition.parameters().values() if p.requires_grad]
        self.buffer = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device, dtype=parameters[0].dtype)
        start = 0
        for parameter in parameters:
            parameter.grad = self.buffer[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()

    def zero(self) -> None:
        self.buffer.zero_()  # in place: a gradient that is None would be made anew by the next pass, outside of the buffer

    def reduce(self) -> None:
        """Sum over the ranks. All ranks call it."""
        self._ranks.sum_(self.buffer)

    def clip(self, max_norm: float | None) -> Tensor:
        """Scale to at most `max_norm` (None: leave); returns the norm before it, a scalar tensor."""
        norm = square_sum(self.buffer).sqrt().float()
        if max_norm is not None:
            # As torch's `clip_grad_norm_`, and as there without a branch, for which a GPU would have to be waited for.
            self.buffer *= (max_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm


class ShardedGradients:
    """Gradients of a partitioned model, which FSDP2 has summed over the data-parallel ranks.

    torch's `clip_grad_norm_` raises on parameters of several meshes, and gives every pipeline stage a norm of its own.
    """

    def __init__(self, partition: Partition) -> None:
        self._mesh = partition.mesh
        self._parameters = {name: p for name, p in partition.parameters().items() if p.requires_grad}
        self._partial = [p for name, p in self._parameters.items() if name in partition.summed_over_tensor]
        self._tied = partition.tied_copy
        self._tied_head = partition.tied_head
        self._ends = ends_of_pipelines(self._mesh) if partition.is_tied_across_stages else None

    def zero(self) -> None:
        for parameter in self._parameters.values():
            parameter.grad = None

    def reduce(self) -> None:
        """Sum what nothing else sums: partial norms over tensor ranks, tied copies over stages. All ranks call it."""
        if self._partial and self._mesh.device_mesh is not None:
            local = [local_gradient(p) for p in self._partial]
            flat = torch.cat([gradient.flatten() for gradient in local])
            dist.all_reduce(flat, group=self._mesh.device_mesh["tensor"].get_group())
            for gradient, part in zip(local, flat.split([g.numel() for g in local]), strict=True):
                gradient.copy_(part.view_as(gradient))
        if self._tied is not None:
            dist.all_reduce(local_gradient(self._tied), group=self._ends)

    @torch.no_grad()
    def clip(self, max_norm: float | None) -> Tensor:
        """Scale to at most `max_norm` (None: leave); returns the norm of the whole gradient before it. All ranks call it.

        The squares of each gradient count once: they are divided by the number of ranks that hold the same part.
        """
        device = self._mesh.ranks.device
        every = []
        square = torch.zeros((), dtype=torch.float64, device=device)
        for parameter in self._parameters.values():
            every.append(local_gradient(parameter))
            if parameter is not self._tied_head:  # the embedding, on the first stage, has the same gradient and counts for both
                square += square_sum(every[-1]) / num_copies(parameter, self._mesh)
        norm = self._mesh.ranks.sum_(square).sqrt().float()
        if max_norm is not None:
            torch._foreach_mul_(every, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm


def square_sum(tensor: Tensor) -> Tensor:
    """Sum of squares in double precision, of single-precision norms of `NORM_BLOCK` values.

    On CPUs one single-precision norm of 5.5 M values was off by 1.5e-4, and one in double precision took 40 times as long.
    """
    flat = tensor.reshape(-1)
    blocks = flat[: len(flat) // NORM_BLOCK * NORM_BLOCK].view(-1, NORM_BLOCK)
    norms = torch.linalg.vector_norm(blocks, dim=1, dtype=torch.float32).double()
    rest = flat[len(blocks) * NORM_BLOCK :].double()
    return norms.square().sum() + rest.square().sum()


def local_gradient(parameter: nn.Parameter) -> Tensor:
    """This rank's part of a gradient, divided as the parameter is; zeros where the parameter took no part in the loss."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    gradient = parameter.grad
    if not isinstance(parameter, DTensor) or not isinstance(gradient, DTensor):
        return gradient
    if gradient.placements != parameter.placements:
        parameter.grad = gradient = gradient.redistribute(parameter.device_mesh, parameter.placements)
    return gradient.to_local()


def num_copies(parameter: nn.Parameter, mesh: Mesh) -> int:
    """Ranks of a pipeline stage that hold the same part of a parameter."""
    if not isinstance(parameter, DTensor):
        return mesh.layout.stage_size
    return mesh.layout.stage_size // math.prod(parameter.device_mesh.size(dim) for dim in sharded_mesh_dims(parameter))


def ends_of_pipelines(mesh: Mesh) -> dist.ProcessGroup:
    """The first and the last rank of this rank's pipeline. All ranks call it, and all make all groups."""
    layout = mesh.layout
    mine = None
    for place in range(layout.stage_size):
        ends = [place, place + (layout.pipeline_parallel - 1) * layout.stage_size]
        group = dist.new_group(ends)
        if mesh.ranks.rank % layout.stage_size == place:
            mine = group
    assert mine is not None
    return mine
