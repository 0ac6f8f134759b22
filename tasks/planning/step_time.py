"""How long one optimizer step takes, from sizes, peaks and bandwidths: an estimate whose assumptions are all in this file.

- A matrix product runs at its device's share of the data sheet's peak (`Accelerator.matmul_fraction`), less where its smallest
  dimension is short. In fp8, which is planned for comparison only, the layers' products are FP8_SPEEDUP times as fast.
- Attention's two products run at a share of their own, over the half of the pairs that the causal mask leaves.
- Everything between the products (norms, rotations, activations, residuals) is bound by memory: how often each width goes over
  the bus is counted below. Kernels that are not compiled into each other move UNFUSED times as much. Starting a layer's kernels
  costs a little, whatever its size.
- Recomputation costs time and is no model FLOP. A layer that is checkpointed whole is computed again up to its last product,
  whose output nobody needs (torch.utils.checkpoint stops early).
- Collectives move their bytes at LINK_EFFICIENCY of the slowest link of the group. Gathers and scatters go around a ring, with
  LATENCY_SECONDS for each rank in a machine and NETWORK_LATENCY_SECONDS for each machine; all-reduces go up and down a tree.
- FSDP2's collectives run beside the passes and slow them by CONTENTION of their own time; what is longer than OVERLAP of the
  passes is waited for, and the first layer's gather; so are the copies into and out of its flat buffers. Tensor-parallel
  all-reduces and the flat all-reduce of pure replication are waited for.
- A pipeline idles (stages - 1) / (virtual_stages x micro-batches) of its passes (Narayanan et al. 2021, arXiv:2104.04473). Its
  transfers are waited for in 1F1B, whose sends and receives torch fuses and waits for; interleaved, torch posts receives ahead
  and waits for sends at the end of the step, so that they run beside the passes.
- Data loading, evaluation and checkpoints cost nothing.

Seven constants were fitted to eleven published rates: UNFUSED, CONTENTION, FP8_SPEEDUP, SHORT_DIMENSION and POWER_EXPONENT,
and the shares of the peak that Ampere and Hopper reach (tasks/planning/hardware.py). `tests/kit/published_runs.py` has these
and those that were held out, each with its source, and `python -m tests.benchmarks.published_runs` prints how far the
estimates are from them.
"""

from dataclasses import dataclass
from math import log2

from tasks.config.parallel import Layout
from tasks.planning.hardware import Accelerator
from tasks.planning.work import Work, stages_of
from tasks.training.measure.limits import MUON_ITERATIONS

FP8_SPEEDUP = 1.57
"""Of the products of layers, over bf16, with the casts that they need; the peak is twice bf16's."""
STREAM_PASSES = 27
"""How often a tensor as wide as the residual stream goes over the memory bus for a layer: forward, two norms read and write one
each, two sums read two and write one, and one is cast; the backward pass moves twice as much."""
ROTATED_PASSES = 6
"""Of queries and keys: read and written by the rotation, and twice in the backward pass."""
NORMALISED_PASSES = 12
"""Of queries and keys where each head has a norm."""
GATED_PASSES, PLAIN_PASSES = 9, 6
"""Of the feed-forward width: the activation reads its input (and the gate's) and writes; and twice in the backward pass."""
SCORE_PASSES = 12
"""Of the scores of plain attention: written, scaled, masked, exponentiated and read; and twice in the backward pass."""
UNFUSED = 2.8
MEMORY_EFFICIENCY = 0.85
"""Share of the memory's bandwidth that a kernel gets: 2.90 of 3.35 TB/s by copies on an H100 (Azure/AI-benchmarking-guide)."""
LINK_EFFICIENCY = 0.75
TRANSFER_EFFICIENCY = 0.9
"""Of a link between two, which has no ring to keep in step: an assumption."""
OVERLAP = 0.9
CONTENTION = 0.48
"""A collective takes so much of the device while it runs: of its multiprocessors and of its memory's bandwidth."""
LATENCY_SECONDS = 2e-6
NETWORK_LATENCY_SECONDS = 6e-6
ADAMW_TRAFFIC_BYTES = 28
"""Of each parameter in fp32: weight, gradient and two moments are read, all but the gradient are written."""
CLIP_TRAFFIC_BYTES = 8
"""Of each parameter in fp32: clipping reads its gradient and writes it."""
LOGIT_TRAFFIC_BYTES = 16
"""Of each logit: four times over the bus in fp32."""
PASSES_OF_FORWARD = 3
"""A forward pass and its backward pass take so many times the forward pass: of each product two gradients are made."""
ATTENTION_PASSES = 3.5
"""As many for attention, whose backward pass makes the scores again (Dao 2023, arXiv:2307.08691, section 4)."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step, by what they go to."""

    compute: float
    bubble: float
    tensor_parallel: float
    pipeline_transfers: float
    data_parallel: float
    """Gathering weights, scattering and reducing gradients, as far as it is not hidden behind the passes."""
    optimizer: float

    @property
    def total(self) -> float:
        return self.compute + self.bubble + self.tensor_parallel + self.pipeline_transfers + self.data_parallel + self.optimizer


def product_rate(device: Accelerator, precision: str, *dimensions: float) -> float:
    """FLOP/s of a product of these dimensions."""
    shortest = min(dimensions)
    return device.peak(precision) * device.matmul_fraction * shortest / (shortest + device.short_dimension)


def step_time(work: Work, device: Accelerator) -> StepTime:
    """Seconds of one optimizer step of `work` on devices of one kind."""
    layout, shape = work.layout, work.shape
    stages = stages_of(shape, layout)
    layer, head = layer_seconds(work, device), head_seconds(work, device)
    slowest = max(stage.layers * layer + stage.has_head * head for stage in stages)
    count = work.micro_batches
    compute = slowest * count
    most_layers = max(stage.layers for stage in stages)
    tensor = count * tensor_parallel_seconds(work, device, most_layers)
    transfers = count * pipeline_seconds(work, device)
    if layout.virtual_stages > 1 and device.overlaps:
        transfers = max(0.0, transfers - OVERLAP * (compute + tensor))
    filling = (layout.pipeline_parallel - 1) / (layout.virtual_stages * count)
    elements = max(stage.elements for stage in stages)
    return StepTime(
        compute=compute,
        bubble=(compute + tensor + transfers) * filling,
        tensor_parallel=tensor,
        pipeline_transfers=transfers,
        data_parallel=data_parallel_seconds(work, device, elements, compute + tensor),
        optimizer=optimizer_seconds(work, device, elements, most_layers),
    )


def optimizer_seconds(work: Work, device: Accelerator, elements: float, layers: int) -> float:
    """Clipping and the update of this rank's shard; Muon's directions are computed whole on every rank."""
    traffic_bytes = elements / work.layout.shard * (ADAMW_TRAFFIC_BYTES + CLIP_TRAFFIC_BYTES) * work.state_scale
    update = memory_seconds(traffic_bytes, device)
    if work.optimizer == "adamw":
        return update
    shape, hidden = work.shape, work.shape.hidden_size
    # Queries and what attention puts out, keys and values, and the feed-forward matrices.
    widths = [shape.attention_width] * 2 + [shape.key_value_width] * 2 + [shape.width] * (3 if shape.gated else 2)
    flops = sum(orthogonal_flops(min(hidden, width), max(hidden, width)) for width in widths)
    return update + layers * flops / product_rate(device, work.precision, hidden, shape.width)


def orthogonal_flops(short: int, long: int) -> int:
    """FLOPs of `muon.orthogonal` for one matrix: the Gram matrix, its square, and their product with the matrix."""
    return MUON_ITERATIONS * (4 * short**2 * long + 2 * short**3)


def memory_seconds(size: float, device: Accelerator) -> float:
    """Seconds for so many bytes over the memory bus."""
    return size / (device.memory_bandwidth * MEMORY_EFFICIENCY)


def product_seconds(work: Work, device: Accelerator, width: float, other: float) -> float:
    """Forward product of a micro-batch with one of a layer's matrices."""
    flops = 2 * width * other * work.tokens
    speedup = FP8_SPEEDUP if work.fp8_products else 1.0
    return flops / (speedup * product_rate(device, work.precision, work.tokens, width, other))


def layer_seconds(work: Work, device: Accelerator) -> float:
    """Forward and backward pass of one layer for one micro-batch, recomputation included."""
    shape, tensor = work.shape, work.layout.tensor_parallel
    hidden, query, key = shape.hidden_size, shape.attention_width / tensor, shape.key_value_width / tensor
    last = product_seconds(work, device, shape.width / tensor, hidden)
    forward = 2 * product_seconds(work, device, hidden, query) + 2 * product_seconds(work, device, hidden, key)
    forward += (3 if shape.gated else 2) * last
    # A multiplication and an addition for each pair of tokens, for their score and for what it is multiplied with; of half of
    # the pairs. (MFU counts all of them.)
    attention_flops = 2 * query * work.sequence_length * work.tokens
    attention = attention_flops / (device.peak(work.precision) * device.attention_fraction)
    products = PASSES_OF_FORWARD * forward + ATTENTION_PASSES * attention
    between = between_seconds(work, device) + device.layer_overhead_seconds
    # Another forward pass beside the three of before: of all, or of what lies between the products.
    again = (PASSES_OF_FORWARD + 1) / PASSES_OF_FORWARD
    if work.activation_checkpointing == "full":
        return products + forward - last + attention + between * again
    if work.activation_checkpointing == "selective":
        return products + work.convention.recomputed_products * forward + between * again
    return products + between


def between_seconds(work: Work, device: Accelerator) -> float:
    """What a layer does between its products in both passes of one micro-batch: memory traffic."""
    shape, tensor = work.shape, work.layout.tensor_parallel
    rotated = (shape.attention_width + shape.key_value_width) / tensor
    passes = ROTATED_PASSES + (NORMALISED_PASSES if shape.query_key_norm else 0)
    wide = (GATED_PASSES if shape.gated else PLAIN_PASSES) * shape.width / tensor
    size = STREAM_PASSES * shape.hidden_size * work.residual_bytes + (passes * rotated + wide) * work.compute_bytes
    if work.attention == "eager":
        size += SCORE_PASSES * work.residual_bytes * shape.num_heads / tensor * work.sequence_length
    return memory_seconds((1.0 if work.is_compiled else UNFUSED) * size * work.tokens, device)


def head_seconds(work: Work, device: Accelerator) -> float:
    """Logits, their loss and both gradients for one micro-batch."""
    shape, tensor, tokens = work.shape, work.layout.tensor_parallel, work.tokens
    flops = PASSES_OF_FORWARD * 2 * shape.embedding / tensor * tokens
    products = flops / product_rate(device, work.precision, tokens, shape.hidden_size)
    return products + memory_seconds(LOGIT_TRAFFIC_BYTES * shape.vocab_rows / tensor * tokens, device)


def tensor_parallel_seconds(work: Work, device: Accelerator, layers: int) -> float:
    """All-reduces of one micro-batch: two per layer and pass (Shoeybi et al. 2019), two more when recomputed."""
    layout = work.layout
    if layout.tensor_parallel == 1:
        return 0.0
    hidden_bytes = work.tokens * work.shape.hidden_size * work.compute_bytes
    per_layer = 6 if work.activation_checkpointing == "full" else 4
    outside = 2  # what the embedding puts out, and in the backward pass the gradient that the head's rows give
    return (per_layer * layers + outside) * all_reduce_seconds(hidden_bytes, device, layout.tensor_parallel, 1)


def pipeline_seconds(work: Work, device: Accelerator) -> float:
    """Transfers of one micro-batch to and from the neighbours, both passes."""
    layout = work.layout
    if layout.pipeline_parallel == 1:
        return 0.0
    hidden_bytes = work.tokens * work.shape.hidden_size * work.residual_bytes
    within = layout.world_size <= device.per_node
    bandwidth = device.link_bandwidth if within else device.network_bandwidth
    latency = LATENCY_SECONDS if within else NETWORK_LATENCY_SECONDS
    return 2 * layout.virtual_stages * (hidden_bytes / (bandwidth * TRANSFER_EFFICIENCY) + latency)


def data_parallel_seconds(work: Work, device: Accelerator, elements: float, passes: float) -> float:
    """What is waited for of gathers, scatters and reductions over the data-parallel ranks in one step."""
    layout = work.layout
    if layout.data_parallel == 1:
        return 0.0
    weight_bytes, gradient_bytes = work.compute_bytes * elements, 4.0 * elements  # gradients are reduced in fp32
    if not work.uses_fsdp:
        return all_reduce_seconds(gradient_bytes, device, layout.replicate, layout.tensor_parallel)
    groups = work.shape.num_layers // layout.pipeline_parallel + 1  # FSDP2's: each layer, and what is outside of them
    # Each pass of each micro-batch gathers; in a pipeline gathered weights stay for the step.
    gathers = 1 if layout.pipeline_parallel > 1 else 2 * work.micro_batches
    gather = gather_seconds(weight_bytes, device, layout.shard, layout.tensor_parallel, groups)
    scatter = gather_seconds(gradient_bytes, device, layout.shard, layout.tensor_parallel, groups)
    scatters = 1 if work.waits_with_gradients else work.micro_batches
    copies = all_reduce_seconds(gradient_bytes / layout.shard, device, layout.replicate, layout.tensor_parallel * layout.shard)
    collectives = gathers * gather + scatters * scatter + copies
    hidden = min(collectives, OVERLAP * passes) if layout.pipeline_parallel == 1 and device.overlaps else 0.0
    copied = memory_seconds(2 * gathers * weight_bytes + 2 * scatters * gradient_bytes, device)
    if not device.overlaps:
        copied += device.layer_overhead_seconds * groups * (gathers + scatters)
    return collectives - hidden + CONTENTION * hidden + gather / groups + copied


def gather_seconds(size: float, device: Accelerator, ranks: int, stride: int, calls: int = 1) -> float:
    """All-gathers to, or reduce-scatters of, `size` bytes in so many calls over ranks that stand `stride` apart."""
    if ranks == 1:
        return 0.0
    machines = -(-ranks * stride // device.per_node)
    latency = LATENCY_SECONDS * -(-ranks // machines) + NETWORK_LATENCY_SECONDS * (machines - 1)
    return size * (ranks - 1) / ranks / slowest_link(device, ranks, stride) + calls * latency


def all_reduce_seconds(size: float, device: Accelerator, ranks: int, stride: int) -> float:
    """A sum of `size` bytes that all ranks of the group get."""
    if ranks == 1:
        return 0.0
    hop = LATENCY_SECONDS if ranks * stride <= device.per_node else NETWORK_LATENCY_SECONDS
    return 2 * (size * (ranks - 1) / ranks / slowest_link(device, ranks, stride) + hop * log2(2 * ranks))


def slowest_link(device: Accelerator, ranks: int, stride: int) -> float:
    """Bytes per second and rank of a ring over ranks that stand `stride` apart.

    Between machines the ring uses the network of all its ranks in a machine.
    """
    if ranks * stride <= device.per_node:
        return device.link_bandwidth * LINK_EFFICIENCY
    in_node = max(1, device.per_node // stride)
    return min(device.link_bandwidth, in_node * device.network_bandwidth) * LINK_EFFICIENCY


def model_flops(work: Work, tokens: float) -> float:
    """FLOPs of the convention for so many tokens."""
    return work.shape.flops_per_token(work.sequence_length) * tokens


def utilisation(work: Work, device: Accelerator, seconds: float) -> float:
    """Model FLOPs utilisation (0 to 1) of a step that takes so long."""
    tokens = work.tokens * work.micro_batches * work.layout.data_parallel
    return model_flops(work, tokens) / (seconds * work.layout.world_size * device.peak(work.precision))


def describe(layout: Layout) -> str:
    """Which kinds of parallelism a layout uses."""
    parts = []
    if layout.pipeline_parallel > 1:
        parts.append("interleaved pipeline" if layout.virtual_stages > 1 else "pipeline")
    if layout.tensor_parallel > 1:
        parts.append("tensor")
    if layout.shard > 1:
        parts.append("hybrid shard" if layout.replicate > 1 else "shard")
    elif layout.replicate > 1:
        parts.append("replicate")
    return " + ".join(parts) or "one rank"
