"""Memory of one rank in closed form: what its tensors take at the moment at which they take most.

Letters as in Korthikanti et al. 2022 (arXiv:2205.05198), whose formulas these follow, with what this training keeps instead of
what Megatron-LM keeps: N tokens of a micro-batch, D hidden_size, A query width, K key-value width, F feed-forward width,
V rows of the vocabulary, L sequence_length, H query heads.

Assumptions, each of which `tests/unit/planning/test_memory.py` compares with tensors that were counted:

- Parameters, gradients and AdamW's two moments are fp32, 16 bytes per parameter, or bf16; Muon has one moment for each matrix
  of a layer.
- FSDP2 (a partitioned model with data-parallel ranks) shards all four, gathers a layer at a time in the compute dtype and the
  rest (embedding, last norm, head) for the whole step. In a pipeline the gathered weights of the stage stay for the whole step,
  and gradients of several micro-batches are summed unsharded, in fp32.
- Without FSDP2, bf16 autocast keeps a bf16 copy of each matrix for each micro-batch in flight, an fp32 residual stream, and a
  bf16 copy of a norm's output for each matrix that reads it.
- Tensor parallelism divides matrices, heads, feed-forward width and vocabulary; the residual stream and the norms are whole on
  every rank (no sequence parallelism), and the gradient of the embedding is made for the whole vocabulary first.
- Packed documents are kept apart by a mask, of which fused attention saves a copy in the compute dtype for each layer, and
  keys and values are repeated to the query heads; "eager" attention (CPU, up to 256 tokens) saves L^2 scores per head.
- Cross-entropy holds CHUNK_LOGITS logits at a time (more on a GPU), and the gradients by hidden states (N x D) and by the
  matrix (V x D, fp32).
- Nothing is compiled: `torch.compile` saves fewer activations, so this is an upper bound where it is on.
"""

from dataclasses import dataclass, replace

from tasks.planning.activations import checkpointed_activations, dropout_mask, layer_activations
from tasks.planning.work import Stage, Work, in_flight, stages_of
from tasks.training.measure.limits import CHUNK_LOGITS, STACKED_ELEMENTS

NORM_TENSORS = 5
"""Whole fp32 tensors of the residual's size that the backward pass of an RMSNorm holds beside what it saved."""


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one rank at its peak, by what they are for."""

    place: int
    parameters: int
    optimizer: int
    gradients: int
    gathered: int
    """Weights in the compute dtype: gathered by FSDP2, or cast by autocast."""
    activations: int
    temporary: int
    """Of the loss, of the layer whose backward pass runs, and buffers of the pipeline."""
    moment: str
    """When: "loss" (or "forward" on a rank without a head), "backward", "embedding" or "update"."""

    @property
    def total(self) -> int:
        return self.parameters + self.optimizer + self.gradients + self.gathered + self.activations + self.temporary


def memory_of_ranks(work: Work) -> list[RankMemory]:
    """The peak of one rank of every pipeline stage."""
    return [rank_memory(work, stage) for stage in stages_of(work.shape, work.layout)]


def peak_memory(work: Work) -> RankMemory:
    """The rank that needs most."""
    return max(memory_of_ranks(work), key=lambda memory: memory.total)


def rank_memory(work: Work, stage: Stage) -> RankMemory:
    """The highest of the moments at which a rank's memory can peak."""
    return max(moments(work, stage), key=lambda memory: memory.total)


def moments(work: Work, stage: Stage) -> list[RankMemory]:
    """Memory of a rank at each moment that can be its peak."""
    layout, shape, n, kept = work.layout, work.shape, work.tokens, work.convention
    c, r, d = work.compute_bytes, work.residual_bytes, shape.hidden_size
    fsdp, flat = work.uses_fsdp, not layout.is_partitioned
    sharded = stage.elements / layout.shard
    parameter_bytes, gradient_bytes = kept.parameter_bytes * work.state_scale, kept.gradient_bytes * work.state_scale
    state = RankMemory(stage.place, int(parameter_bytes * sharded), int(optimizer_bytes(work, stage)), 0, 0, 0, 0, "")
    flying = in_flight(layout, stage.place, work.micro_batches)
    piped = layout.num_stages > 1
    several = work.waits_with_gradients
    table = shape.embedding / layout.tensor_parallel
    whole = whole_vocabulary_gradient(work, stage)
    before = gradient_bytes * (stage.elements + whole) if flat or several else 0
    if work.micro_batches > 1 and not before:
        before = gradient_bytes * sharded
    gathered = gathered_weights(work, stage, flying)
    saved = n * saved_of_rank(work, stage, flying)
    received, again_saved = pipeline_buffers(work, stage)
    buffers = received - again_saved
    head = 0.0 if not stage.has_head else held_head_gradient(work, stage, table)
    loss = loss_temporaries(work, table) if stage.has_head else 0.0
    again = n * (layer_activations(work) - checkpointed_activations(work))  # nothing without checkpointing
    cast = gathered
    if work.activation_checkpointing != "none" and not fsdp:
        cast /= flying * stage.layers
    backward = layer_temporaries(work, stage) + head
    prefetched = c * 2 * stage.layer if fsdp and not piped else 0.0
    final_norm = stage.has_head * n * (8 + r) * d

    def moment(name: str, gradients: float, weights: float, activations: float, temporary: float) -> RankMemory:
        return replace(
            state, moment=name, gradients=int(gradients), gathered=int(weights), activations=int(activations),
            temporary=int(temporary),
        )  # fmt: skip

    updated = gradient_bytes * (sharded + (0 if fsdp else whole + table * bool(whole)))
    found = [
        moment("loss" if stage.has_head else "forward", before, gathered, saved, buffers + loss),
        moment("backward", before, cast + prefetched, saved + again - final_norm, buffers + backward),
        moment("update", updated, 0.0, 0.0, received + (muon_temporaries(work, stage) if work.optimizer == "muon" else 0.0)),
    ]
    if stage.has_embedding:
        others = stage.elements if not fsdp or several else stage.layers * stage.layer / layout.shard
        end = embedding_temporaries(work, stage, table) + (head if shape.tied else 0)
        still = gathered if piped else fsdp * c * stage.outside
        found.append(moment("embedding", gradient_bytes * others, still, 0.0, buffers + end))
    return found


def optimizer_bytes(work: Work, stage: Stage) -> float:
    """Bytes of the moments that a rank keeps; Muon has one for each matrix of a layer, AdamW two for everything else."""
    moments = work.convention.moment_bytes * work.state_scale * stage.elements
    if work.optimizer == "muon":
        moments -= (
            work.convention.moment_bytes
            * work.state_scale
            / 2
            * stage.layers
            * work.shape.layer_matrices(work.layout.tensor_parallel)
        )
    return moments / work.layout.shard


def muon_temporaries(work: Work, stage: Stage) -> float:
    """Bytes of the largest stack of matrices of one shape that Muon makes orthogonal: three of it, two of its products."""
    width, d = work.shape.width, work.shape.hidden_size
    count = min(max(1, STACKED_ELEMENTS // (width * d)), stage.layers * (2 if work.shape.gated else 1))
    return work.compute_bytes * count * (3 * width * d + 2 * min(width, d) ** 2)


def saved_of_rank(work: Work, stage: Stage, flying: float) -> float:
    """Bytes of activations that a rank holds at its fullest, per token of a micro-batch."""
    shape, d = work.shape, work.shape.hidden_size
    per_layer = checkpointed_activations(work)
    r = work.residual_bytes
    saved = flying * stage.layers * per_layer
    rotary = 0 if shape.positions else 2 * shape.head_dim * r / work.micro_batch_size
    mask = 1 * work.sequence_length if work.attention == "fused" else r * work.sequence_length
    saved += flying * (rotary + mask)
    if not stage.has_head:
        saved += flying * r * d  # what was sent to the next stage is kept for its backward pass
    if stage.has_head:
        final = (r * d + 2 * r) if shape.norm_bias else (4 * d + 4 + r * d)
        saved += final + r * d
    if stage.has_embedding:
        saved += flying * dropout_mask(work, r)
    return saved + 24 * min(work.micro_batches, 2)


def gathered_weights(work: Work, stage: Stage, flying: float) -> float:
    """Bytes of weights in the compute dtype that a rank holds beside the fp32 ones."""
    c = work.compute_bytes
    if work.uses_fsdp:
        if work.layout.num_stages > 1:
            return c * stage.elements
        return c * stage.outside
    if not work.weights_are_cast:
        return 0.0
    return flying * 2 * stage.layers * work.shape.layer_matrices(work.layout.tensor_parallel)


def loss_temporaries(work: Work, table: float) -> float:
    """Bytes of the chunked cross-entropy at its fullest; `table` is the number of elements of the head's matrix here."""
    n, d, c = work.tokens, work.shape.hidden_size, work.compute_bytes
    rows = work.shape.vocab_rows // work.layout.tensor_parallel
    in_chunk = 1 << (max(1, CHUNK_LOGITS["cuda" if work.on_gpu else "cpu"] // rows).bit_length() - 1)
    chunk = min(n, in_chunk) * rows
    cast = (2 * table if work.weights_are_cast else 0) + (c * n * d if c < work.residual_bytes else 0)
    result = c * n * d + 4 * table
    if work.on_gpu and work.layout.tensor_parallel == 1:
        logits = gradient = c  # compiled: no fp32 copy
    else:
        logits, gradient = (4 + c, c) if c == 2 else (4, 0)
    several = 2 if n > in_chunk else 1  # the gradient of the chunk before is let go when the next is there
    forward = cast + result + max(chunk * (logits + several * gradient), chunk * (logits + gradient) + c * table * (c == 2))
    backward = result + 4 * table + (c * n * d) + (2 * table if work.uses_fsdp and c == 2 else 0)
    return max(forward, backward)


def held_head_gradient(work: Work, stage: Stage, table: float) -> float:
    """Bytes of the head's gradient that wait: a tied one for the embedding's, a sharded one for the end of the step."""
    c = work.compute_bytes
    dtype = c if work.uses_fsdp else 4
    if work.shape.tied and not stage.head_is_copy:
        return dtype * table
    if work.uses_fsdp:
        return dtype * table
    return 4 * table if work.layout.is_partitioned else 0.0


def layer_temporaries(work: Work, stage: Stage) -> float:
    """Bytes beyond what is saved, while the backward pass is in the feed-forward part of a layer or in the norm before."""
    shape, c, r, n = work.shape, work.compute_bytes, work.residual_bytes, work.tokens
    d, width = shape.hidden_size, shape.width / work.layout.tensor_parallel
    matrix = c * width * d
    product = max(c * n * width + matrix, 2 * c * n * width - (0 if work.uses_fsdp or c == 4 else matrix))
    # In the norm before the feed-forward part, whose own activations are gone by then.
    freed = (4 if shape.gated else work.convention.plain_feed_forward_tensors) * c * width + c * d * (2 if c < r else 1)
    norm = 0.0 if shape.norm_bias else (4 * NORM_TENSORS + 2 * r) * n * d - freed * n
    stream = 0 if not stage.has_head else 2 * r * n * d
    scattered = (c + 4) * stage.layer if work.uses_fsdp and work.layout.num_stages == 1 else 0.0
    return max(product + stream, norm) + scattered


def embedding_temporaries(work: Work, stage: Stage, table: float) -> float:
    """Bytes at the end of the backward pass, when the embedding's gradient is made and added."""
    c, shape = work.compute_bytes, work.shape
    whole = shape.embedding
    dtype = c if work.uses_fsdp else 4
    made = dtype * whole + dtype * table
    if work.uses_fsdp:
        summed = work.waits_with_gradients  # then the gradients to scatter are among those that wait
        made = max(dtype * whole, (4 if summed else dtype + 4) * stage.outside)
    return made + work.residual_bytes * work.tokens * shape.hidden_size


def whole_vocabulary_gradient(work: Work, stage: Stage) -> float:
    """Elements that the embedding's gradient has beyond this tensor rank's rows: it is made whole, and stays so while it waits.

    A tied embedding without a pipeline is added to the head's gradient at once, which has only this rank's rows.
    """
    tied_here = work.shape.tied and work.layout.num_stages == 1
    if not stage.has_embedding or tied_here:
        return 0.0
    return work.shape.embedding * (1 - 1 / work.layout.tensor_parallel)


def pipeline_buffers(work: Work, stage: Stage) -> tuple[float, float]:
    """Bytes that torch's pipeline keeps for received hidden states and gradients, one for every micro-batch of a step.

    The second number is how much of it is counted among the saved activations: an fp32 norm saves its input as it was received.
    """
    layout = work.layout
    if layout.num_stages == 1:
        return 0.0, 0.0
    one = work.tokens * work.shape.hidden_size * work.residual_bytes
    virtual = layout.virtual_stages
    received = virtual - (stage.place == 0)
    received_gradients = virtual - (stage.place == layout.pipeline_parallel - 1)
    saved = in_flight(layout, stage.place, work.micro_batches) * received if work.residual_bytes == 4 else 0.0
    return one * work.micro_batches * (received + received_gradients), one * saved
