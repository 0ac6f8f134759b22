"""Forward and backward passes of one rank over its micro-batches, whatever the layout.

Every result is a share of the summed loss: the shares of all ranks add up to the loss of the global batch.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B

from tasks.training.model.model import autocast
from tasks.training.model.objective import IGNORED_LABEL, Batch
from tasks.training.model.partition import Partition
from tasks.training.model.patches import SeedOf, WithLosses, stage_forward


class WholePasses:
    """Passes through a model whose layers are all on this rank, sharded or not."""

    def __init__(self, partition: Partition, precision: str) -> None:
        self._model, self._precision = partition.parts[0], precision
        self._ranks, self._copies = partition.mesh.ranks, partition.mesh.layout.tensor_parallel

    def train(self, batches: list[Batch], seed_of: SeedOf, num_targets: int) -> Tensor:
        """Add the gradients of loss / num_targets of the micro-batches; returns this rank's share of the summed loss."""
        total = torch.zeros((), device=self._ranks.device)
        for number, batch in enumerate(batches):
            torch.manual_seed(seed_of(number))
            if isinstance(self._model, FSDPModule):
                # Every micro-batch is scattered, so that no rank holds a whole gradient; replicas sum theirs once.
                self._model.set_requires_all_reduce(number == len(batches) - 1)
            with autocast(self._ranks.device, self._precision):
                loss = cast(WithLosses, self._model).summed_loss(batch)
            (loss / num_targets).backward()
            total += loss.detach()
        return total / self._copies

    def measure(self, batches: Iterable[Batch], precision: str) -> Tensor:
        """This rank's share of the summed loss of the batches, without gradients. All ranks call it with as many batches."""
        total = torch.zeros((), device=self._ranks.device, dtype=torch.float64)
        with torch.no_grad(), autocast(self._ranks.device, precision):
            for batch in batches:
                total += cast(WithLosses, self._model).summed_loss(batch)
        return total / self._copies


class PipelinePasses:
    """Passes through a model whose layers are cut into stages on several ranks: 1F1B, interleaved with virtual stages."""

    def __init__(self, partition: Partition, precision: str, num_micro_batches: int) -> None:
        mesh = partition.mesh
        layout, place, device = mesh.layout, mesh.coordinate["pipeline"], mesh.ranks.device
        assert mesh.device_mesh is not None
        group = mesh.device_mesh["pipeline"].get_group()
        self._device, self._precision, self._copies = device, precision, layout.tensor_parallel
        self._num_micro_batches = num_micro_batches
        self._is_first, self._is_last = place == 0, place == layout.pipeline_parallel - 1
        self._forwards = [stage_forward(part) for part in partition.parts]
        stages: list[Any] = [
            PipelineStage(part, number, layout.num_stages, device, group=group) for number, part in partition.stages.items()
        ]
        self._schedule: Schedule1F1B | ScheduleInterleaved1F1B
        if layout.virtual_stages > 1:
            self._schedule = ScheduleInterleaved1F1B(stages, num_micro_batches, self._scaled, scale_grads=False)
        else:
            self._schedule = Schedule1F1B(stages[0], num_micro_batches, self._scaled, scale_grads=False)
        self._num_targets = 1

    def _scaled(self, loss: Tensor, _target: Tensor) -> Tensor:
        return loss.sum() / self._num_targets

    def train(self, batches: list[Batch], seed_of: SeedOf, num_targets: int) -> Tensor:
        """Add the gradients of loss / num_targets of the micro-batches; returns this rank's share of the summed loss."""
        for forward in self._forwards:
            forward.begin(self._precision, seed_of)
        self._num_targets = num_targets
        return self._run(self._schedule.step, batches) * num_targets

    def measure(self, batches: Iterable[Batch], precision: str) -> Tensor:
        """This rank's share of the summed loss of the batches, without gradients. All ranks call it with as many batches."""
        total = torch.zeros((), device=self._device, dtype=torch.float64)
        self._num_targets = 1
        batches = iter(batches)
        while group := list(islice(batches, self._num_micro_batches)):
            empty = group[0] | {"labels": torch.full_like(group[0]["labels"], IGNORED_LABEL)}
            for forward in self._forwards:
                forward.begin(precision, None)
            with torch.no_grad():
                total += self._run(self._schedule.eval, group + [empty] * (self._num_micro_batches - len(group)))
        return total

    def _run(self, run: Callable[..., Any], batches: list[Batch]) -> Tensor:
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in ("input_ids", "position_ids", "labels")}
        inputs = (whole["input_ids"],) if self._is_first else ()
        losses: list[Tensor] = []
        targets = {"target": whole["labels"], "losses": losses} if self._is_last else {}
        run(*inputs, **targets, position_ids=whole["position_ids"], labels=whole["labels"])
        total = torch.zeros((), device=self._device)
        return total + torch.stack([loss.detach() for loss in losses]).sum() / self._copies if losses else total


def passes_of(partition: Partition, precision: str, num_micro_batches: int) -> WholePasses | PipelinePasses:
    """The passes for the partition's layout; `num_micro_batches` are of this rank in one step."""
    if partition.mesh.layout.num_stages > 1:
        return PipelinePasses(partition, precision, num_micro_batches)
    return WholePasses(partition, precision)
