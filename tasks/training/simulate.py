"""One rank of any layout, simulated on this CPU: its training step on tensors without memory, and what they would take.

The process group is a fake one (collectives return at once), the partition is the one that trains, and the tensors are fake
(they have shapes and no values). Read from standard input and written to standard output as JSON: `python -m
tasks.training.simulate`.
"""

import json
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage, ScheduleInterleaved1F1B
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from tasks.config.parallel import Layout
from tasks.training.gradients import FlatGradients, ShardedGradients
from tasks.training.measure.simulation import SimulatedPeak, SimulationRequest
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model, with_parameters_in
from tasks.training.model.objective import Batch, causal_loss
from tasks.training.model.partition import Partition, materialise, partitioned
from tasks.training.model.patches import patch, stage_forward
from tasks.training.model.ranks import Ranks
from tasks.training.optimizer import allocate_state, build_optimizer
from tasks.training.passes import WholePasses

Passes = Callable[[Partition, SimulationRequest], Callable[[list[Batch]], None]]
"""What makes the forward and backward passes of a rank's micro-batches."""
PHASES = ("passes", "update")
"""A step's two halves: forward and backward passes; reduction, clipping and optimizer."""


class MemoryTracker(TorchDispatchMode):
    """Bytes of all tensor storages that operations have made and that are still alive, and their highest sum.

    Counts what tensors hold, real or fake; not what a kernel takes for itself, nor what an allocator keeps in reserve. (torch's
    own `MemTracker` does the same for a single micro-batch and refuses several.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.peak_bytes = 0, 0
        self._alive: dict[int, int] = {}
        self._resize = torch.UntypedStorage.resize_

    def add(self, tensor: Tensor) -> None:
        """Count a tensor that was there before."""
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        if local.device.type != "meta":
            self._add(local.untyped_storage())

    def reset_peak(self) -> None:
        self.peak_bytes = self.bytes

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._alive:
            weakref.finalize(storage, self._change, storage._cdata, None)
            self._change(storage._cdata, storage.nbytes())

    def _change(self, key: int, size: int | None) -> None:
        before = self._alive.pop(key, 0)
        if size is not None:
            self._alive[key] = size
        self.bytes += (size or 0) - before
        self.peak_bytes = max(self.peak_bytes, self.bytes)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out

    def __enter__(self) -> "MemoryTracker":
        def resize(storage: Any, size: int) -> Any:
            # FSDP2 frees gathered weights by resizing their storage, which is no operation on tensors.
            result = self._resize(storage, size)
            if storage._cdata in self._alive:
                self._change(storage._cdata, storage.nbytes())
            else:
                self._add(storage)
            return result

        torch.UntypedStorage.resize_ = resize  # type: ignore[assignment, method-assign]  # for as long as it is open
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]  # for as long as it is open
        super().__exit__(*details)


@contextmanager
def fake_ranks(layout: Layout, rank: int) -> Iterator[Ranks]:
    """This process as one rank of a world whose other ranks are not there."""
    if layout.world_size > 1:
        dist.init_process_group("fake", rank=rank, world_size=layout.world_size, store=FakeStore())
    try:
        yield Ranks(rank, layout.world_size, torch.device("cpu"))
    finally:
        if layout.world_size > 1:
            dist.destroy_process_group()


def simulated_peak(request: SimulationRequest) -> SimulatedPeak:
    """Highest tensor memory of one rank in a step, at two small depths, extrapolated linearly to the model's."""
    began = time.perf_counter()
    with fake_ranks(request.layout, request.rank) as ranks:
        mesh = Mesh(request.layout, ranks)
        points = [step_peaks(request, mesh, layers) for layers in request.depths]
    (near, far), (low, high) = request.depths, points
    slope = (request.layers_of_rank - near) / max(1, far - near)
    peaks = {phase: round(low[phase] + slope * (high[phase] - low[phase])) for phase in PHASES}
    return SimulatedPeak(
        peak_memory_bytes=max(peaks.values()), phases=peaks, depths=request.depths, seconds=time.perf_counter() - began
    )


def step_peaks(request: SimulationRequest, mesh: Mesh, layers_of_rank: int) -> dict[str, int]:
    """Peak bytes of each phase of a step of a model with so many layers on each rank of the pipeline."""
    layers = layers_of_rank * request.layout.pipeline_parallel
    config = request.model.model_copy(update={"num_hidden_layers": layers})

    def build() -> PreTrainedModel:
        model = build_model(config, request.vocab_rows, 0, 0)
        model.set_attn_implementation("eager" if request.attention == "eager" else "sdpa")
        return with_parameters_in(model, request.state_precision)

    partition = partitioned(build, mesh, request.precision)
    with FakeTensorMode(allow_non_fake_inputs=True):
        return measured_step(partition, request)


def measured_step(partition: Partition, request: SimulationRequest, passes: Passes | None = None) -> dict[str, int]:
    """Peak bytes of each phase of a step with all optimizer state, on fake tensors or on real ones. All ranks call it.

    Without `passes` the rank makes its passes alone.
    """
    tracker = MemoryTracker()
    materialise(partition, partition.mesh.ranks.device)
    patch(partition, causal_loss, request.activation_checkpointing)
    optimizer = build_optimizer(partition, 1e-3, 0.1, (0.9, 0.95), request.optimizer, request.precision)
    flat = not partition.mesh.layout.is_partitioned
    gradients = FlatGradients(partition) if flat else ShardedGradients(partition)
    partition.train()
    for parameter in partition.parameters().values():
        tracker.add(parameter.data)
        if parameter.grad is not None:
            tracker.add(parameter.grad)
    with tracker:
        number = request.micro_batches if passes else request.simulated_micro_batches
        device = partition.mesh.ranks.device
        batches = [batch_of(request, device) for _ in range(number)]
        train = (passes or RankPasses)(partition, request)
        allocate_state(optimizer)
        tracker.reset_peak()
        gradients.zero()
        train(batches)
        peaks = {"passes": tracker.peak_bytes}
        tracker.reset_peak()
        gradients.reduce()
        gradients.clip(1.0)
        optimizer.step()
        return peaks | {"update": tracker.peak_bytes}


def batch_of(request: SimulationRequest, device: torch.device) -> Batch:
    """One micro-batch of two documents a row."""
    size = (request.micro_batch_size, request.sequence_length)
    ids = torch.ones(size, dtype=torch.long, device=device)
    places = torch.arange(request.sequence_length, device=device)
    positions = places.remainder(request.sequence_length // 2).expand(size).contiguous()
    return {"input_ids": ids, "labels": torch.ones_like(ids), "position_ids": positions}


class RankPasses:
    """The passes of one rank alone; those of a pipeline in the order of its schedule, with the buffers that torch keeps."""

    def __init__(self, partition: Partition, request: SimulationRequest) -> None:
        self._partition, self._request, self._layout = partition, request, partition.mesh.layout
        self._place = partition.mesh.coordinate["pipeline"]
        self._whole = WholePasses(partition, request.precision) if self._layout.num_stages == 1 else None
        if self._whole is None:
            self._stages = partition.stages
            self._order = self._schedule()
            dtype = torch.bfloat16 if any(isinstance(p, FSDPModule) for p in partition.parts) and (
                request.precision == "bf16") else torch.float32  # fmt: skip
            size = (request.micro_batch_size, request.sequence_length, request.model.hidden_size)
            # torch allocates what is received, hidden states and gradients, for every micro-batch of a step and keeps it.
            count = range(request.micro_batches)
            self._received = {
                n: [torch.zeros(size, dtype=dtype, requires_grad=True) for _ in count] for n in self._stages if n > 0
            }
            self._received_gradients = {
                n: [torch.zeros(size, dtype=dtype) for _ in count] for n in self._stages if n < self._layout.num_stages - 1
            }

    def _schedule(self) -> list[tuple[str, int, int]]:
        """Actions of this rank: "F" or "B", stage, micro-batch."""
        number, pipeline = self._request.simulated_micro_batches, self._layout.pipeline_parallel
        if self._layout.virtual_stages == 1:
            ahead = min(pipeline - self._place, number)
            warm_up = [("F", self._place, i) for i in range(ahead)]
            steady = [a for i in range(number - ahead) for a in (("B", self._place, i), ("F", self._place, ahead + i))]
            return warm_up + steady + [("B", self._place, i) for i in range(number - ahead, number)]
        assert self._partition.mesh.device_mesh is not None
        group = self._partition.mesh.device_mesh["pipeline"].get_group()
        stages: list[Any] = [
            PipelineStage(part, n, self._layout.num_stages, torch.device("cpu"), group=group)
            for n, part in self._stages.items()
        ]
        order = ScheduleInterleaved1F1B(stages, number, loss_fn=torch.sum, scale_grads=False).pipeline_order[self._place]
        kinds = {"FORWARD": "F", "FULL_BACKWARD": "B"}
        actions = [a for a in order if a is not None and a.microbatch_index is not None]
        return [(kinds[a.computation_type.name], a.stage_index, a.microbatch_index or 0) for a in actions]

    def __call__(self, batches: list[Batch]) -> None:
        """Forward and backward passes of all micro-batches."""
        if self._whole is not None:
            self._whole.train(batches, lambda number: 0, 1)
            return
        kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        for part in self._stages.values():
            stage_forward(part).begin(self._request.precision, None)
        last_backward = {stage: i for i, (kind, stage, _) in enumerate(self._order) if kind == "B"}
        for i, (kind, stage, number) in enumerate(self._order):
            part, batch = self._stages[stage], batches[number]
            if kind == "F":
                taken = self._received[stage][number] if stage > 0 else batch["input_ids"]
                kept[stage, number] = taken, part(taken, batch["position_ids"], batch["labels"])
                continue
            if isinstance(part, FSDPModule):
                last = last_backward[stage] == i
                part.set_is_last_backward(last)
                part.set_reshard_after_backward(last)
                part.set_requires_gradient_sync(last)
            taken, made = kept.pop((stage, number))
            given = self._received_gradients[stage][number] if stage < self._layout.num_stages - 1 else None
            made.backward(given)
            taken.grad = None


if __name__ == "__main__":
    json.dump(simulated_peak(SimulationRequest.model_validate_json(sys.stdin.read())).model_dump(), sys.stdout)
