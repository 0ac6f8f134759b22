"""Memory of one rank in closed form: what its tensors take at the moment at which they take most.

As in Korthikanti et al. 2022 (arXiv:2205.05198), with what this training keeps instead of what Megatron-LM keeps. "On this
rank" means after tensor parallelism and before FSDP2's sharding.

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
  keys and values are repeated to the query heads; "eager" attention (CPU, up to 256 tokens) saves sequence_length^2 scores per
  head.
- Cross-entropy holds CHUNK_LOGITS logits at a time (more on a GPU), and the gradients by hidden states and, in fp32, by the
  matrix.
- Nothing is compiled: `torch.compile` saves fewer activations, so this is an upper bound where it is on.
"""

from dataclasses import dataclass, replace

from tasks.planning.activations import (
    BF16_BYTES,
    FP32_BYTES,
    checkpointed_activations,
    dropout_mask,
    feed_forward_tensors,
    final_norm_activations,
    layer_activations,
)
from tasks.planning.work import Stage, Work, in_flight, stages_of
from tasks.training.measure.limits import CHUNK_LOGITS, STACKED_ELEMENTS

NORM_TENSORS = 5
"""Whole fp32 tensors of the residual's size that the backward pass of an RMSNorm holds beside what it saved."""
BATCH_BYTES = 3 * 8
"""Of each token: input_ids, labels and position_ids, int64."""
MASK_BYTES = 1
"""Of each pair of a query and a key: a boolean that keeps packed documents apart."""


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
    gradient_bytes = work.convention.gradient_bytes * work.state_scale
    parameters = work.convention.parameter_bytes * work.state_scale * (stage.elements / work.layout.shard)
    state = RankMemory(stage.place, int(parameters), int(optimizer_bytes(work, stage)), 0, 0, 0, 0, "")
    waiting = gradient_bytes * waiting_gradients(work, stage)
    gathered = gathered_weights(work, stage)
    saved = work.tokens * saved_of_rank(work, stage)
    received, already_saved = pipeline_buffers(work, stage)
    buffers = received - already_saved
    head_gradient = held_head_gradient(work, stage) if stage.has_head else 0.0

    def moment(name: str, gradients: float, weights: float, activations: float, temporary: float) -> RankMemory:
        return replace(
            state, moment=name, gradients=int(gradients), gathered=int(weights), activations=int(activations),
            temporary=int(temporary),
        )  # fmt: skip

    loss = loss_temporaries(work) if stage.has_head else 0.0
    # One layer is computed again; without checkpointing this is nothing.
    recomputed = work.tokens * (layer_activations(work) - checkpointed_activations(work))
    muon = muon_temporaries(work, stage) if work.optimizer == "muon" else 0.0
    found = [
        moment("loss" if stage.has_head else "forward", waiting, gathered, saved, buffers + loss),
        moment(
            "backward", waiting, weights_in_backward(work, stage, gathered), saved + recomputed - freed_by_loss(work, stage),
            buffers + (layer_temporaries(work, stage) + head_gradient),
        ),
        moment("update", gradient_bytes * updated_gradients(work, stage), 0.0, 0.0, received + muon),
    ]  # fmt: skip
    if stage.has_embedding:
        # The layers' gradients are there; those outside of them are among the temporaries unless they wait.
        scattered = work.uses_fsdp and not work.waits_with_gradients
        others = stage.layers * stage.layer / work.layout.shard if scattered else stage.elements
        # Under autocast without a pipeline the casts went with the last layer's activations.
        weights = gathered if work.uses_fsdp or work.layout.num_stages > 1 else 0.0
        temporary = embedding_temporaries(work, stage) + (head_gradient if work.shape.tied else 0)
        found.append(moment("embedding", gradient_bytes * others, weights, 0.0, buffers + temporary))
    return found


def waiting_gradients(work: Work, stage: Stage) -> float:
    """Elements of the gradients that are there while passes run."""
    if not work.layout.is_partitioned or work.waits_with_gradients:
        # FlatGradients' buffer, which is never let go, or what earlier micro-batches of the step have summed.
        return stage.elements + whole_vocabulary_gradient(work, stage)
    # FSDP2 scatters after each micro-batch; the only one of a step finds none.
    return stage.elements / work.layout.shard if work.micro_batches > 1 else 0.0


def updated_gradients(work: Work, stage: Stage) -> float:
    """Elements of the gradients while they are reduced, clipped and used."""
    elements = stage.elements / work.layout.shard
    whole = 0.0 if work.uses_fsdp else whole_vocabulary_gradient(work, stage)
    if whole:
        # `gradients.local_gradient` makes this rank's rows while the gradient of the whole vocabulary is still there.
        elements += whole + vocabulary_elements(work)
    return elements


def vocabulary_elements(work: Work) -> float:
    """Elements of the embedding's or the head's matrix on this rank: its rows of the vocabulary."""
    return work.shape.embedding / work.layout.tensor_parallel


def optimizer_bytes(work: Work, stage: Stage) -> float:
    """Bytes of the moments that a rank keeps; Muon has one for each matrix of a layer, AdamW two for everything else."""
    both_moments_bytes = work.convention.moment_bytes * work.state_scale
    moments = both_moments_bytes * stage.elements
    if work.optimizer == "muon":
        moments -= both_moments_bytes / 2 * stage.layers * work.shape.layer_matrices(work.layout.tensor_parallel)
    return moments / work.layout.shard


def muon_temporaries(work: Work, stage: Stage) -> float:
    """Bytes of the largest stack of matrices of one shape that Muon makes orthogonal (`muon.orthogonal`).

    Most are the feed-forward ones, width x hidden_size: one of a layer, or two where it is gated (the third has another shape).
    """
    width, hidden = work.shape.width, work.shape.hidden_size
    per_layer = 2 if work.shape.gated else 1
    matrices = min(max(1, STACKED_ELEMENTS // (width * hidden)), stage.layers * per_layer)
    # The stack, its normalised form and the next iterate; the Gram matrix and the polynomial of it.
    return work.compute_bytes * matrices * (3 * width * hidden + 2 * min(width, hidden) ** 2)


def saved_of_rank(work: Work, stage: Stage) -> float:
    """Bytes of activations that a rank holds at its fullest, per token of a micro-batch."""
    shape, residual_bytes = work.shape, work.residual_bytes
    flying = in_flight(work.layout, stage.place, work.micro_batches)
    saved = flying * stage.layers * checkpointed_activations(work)
    # All layers share cosines and sines of the positions (of one sequence, as if it were the only one), and the mask: booleans
    # for fused attention, for eager attention addends in the residual's dtype.
    rotary = 0 if shape.positions else 2 * shape.head_dim * residual_bytes / work.micro_batch_size
    mask = (MASK_BYTES if work.attention == "fused" else residual_bytes) * work.sequence_length
    saved += flying * (rotary + mask)
    if not stage.has_head:
        saved += flying * residual_bytes * shape.hidden_size  # what was sent to the next stage is kept for its backward pass
    if stage.has_head:
        # Of one micro-batch: its backward pass follows at once.
        saved += final_norm_activations(work) + residual_bytes * shape.hidden_size
    if stage.has_embedding:
        saved += flying * dropout_mask(work, residual_bytes)
    return saved + BATCH_BYTES * min(work.micro_batches, 2)


def freed_by_loss(work: Work, stage: Stage) -> float:
    """Bytes of `saved_of_rank` that are gone when the last layer's backward pass runs: the last norm's and the loss's."""
    # Where the residual stream is bf16 it counts 2 bytes less for each value; the tests' 5 % hold with this.
    freed_bytes = 2 * FP32_BYTES + work.residual_bytes
    return work.tokens * freed_bytes * work.shape.hidden_size if stage.has_head else 0.0


def gathered_weights(work: Work, stage: Stage) -> float:
    """Bytes of weights in the compute dtype that a rank holds beside the fp32 ones."""
    if work.uses_fsdp:
        # `partition.shard`: the group outside of the layers stays gathered, in a pipeline the layers do too.
        return work.compute_bytes * (stage.elements if work.layout.num_stages > 1 else stage.outside)
    if not work.weights_are_cast:
        return 0.0
    # autograd saves autocast's copy of each matrix, and each forward pass makes a new one.
    flying = in_flight(work.layout, stage.place, work.micro_batches)
    return flying * BF16_BYTES * stage.layers * work.shape.layer_matrices(work.layout.tensor_parallel)


def weights_in_backward(work: Work, stage: Stage, gathered: float) -> float:
    """Bytes of weights in the compute dtype while a layer's backward pass runs; `gathered`: those of the forward pass."""
    if work.uses_fsdp:
        # The layer's own weights, and FSDP2 has gathered those of the next one meanwhile. A pipeline has them all.
        return gathered + (work.compute_bytes * 2 * stage.layer if work.layout.num_stages == 1 else 0.0)
    if work.activation_checkpointing != "none":
        # Only the layer that is computed again has its casts.
        return gathered / (in_flight(work.layout, stage.place, work.micro_batches) * stage.layers)
    return gathered


def loss_temporaries(work: Work) -> float:
    """Bytes of `objective.ChunkedCrossEntropy` at its fullest, in its forward or its backward pass."""
    compute_bytes, matrix_elements = work.compute_bytes, vocabulary_elements(work)
    computes_in_bf16 = compute_bytes == BF16_BYTES
    rows = work.shape.vocab_rows // work.layout.tensor_parallel
    # As `objective.Chunks.rows`: a power of two of hidden states.
    most = max(1, CHUNK_LOGITS["cuda" if work.on_gpu else "cpu"] // rows)
    tokens_in_chunk = 1 << (most.bit_length() - 1)
    chunk_logits = min(work.tokens, tokens_in_chunk) * rows
    hidden_bytes = compute_bytes * work.tokens * work.shape.hidden_size
    matrix_cast_bytes = BF16_BYTES * matrix_elements if work.weights_are_cast else 0
    casts = matrix_cast_bytes + (hidden_bytes if compute_bytes < work.residual_bytes else 0)
    gradients = hidden_bytes + FP32_BYTES * matrix_elements
    if work.on_gpu and work.layout.tensor_parallel == 1:
        logits_bytes = gradient_bytes = compute_bytes  # `compiled_cross_entropy` makes no fp32 copy
    elif computes_in_bf16:
        logits_bytes, gradient_bytes = FP32_BYTES + compute_bytes, compute_bytes  # the product and its fp32 copy
    else:
        logits_bytes, gradient_bytes = FP32_BYTES, 0  # the gradient lies in the memory of the logits
    # The gradient of the chunk before is let go when the next is there.
    num_gradients = 2 if work.tokens > tokens_in_chunk else 1
    in_chunk = chunk_logits * (logits_bytes + num_gradients * gradient_bytes)
    # A bf16 gradient by the matrix is a tensor of its own before it is added to the sum in fp32.
    addend_bytes = compute_bytes * matrix_elements if computes_in_bf16 else 0
    in_sum = chunk_logits * (logits_bytes + gradient_bytes) + addend_bytes
    forward = casts + gradients + max(in_chunk, in_sum)
    # Both gradients again, times that of the loss; FSDP2's weights are bf16, and so is what they are given.
    matrix_gradient_bytes = BF16_BYTES * matrix_elements if work.uses_fsdp and computes_in_bf16 else 0
    backward = gradients + FP32_BYTES * matrix_elements + hidden_bytes + matrix_gradient_bytes
    return max(forward, backward)


def held_head_gradient(work: Work, stage: Stage) -> float:
    """Bytes of the head's gradient that wait: a tied one for the embedding's, a sharded one for the end of the step."""
    if work.uses_fsdp:
        return work.compute_bytes * vocabulary_elements(work)
    waits_for_embedding = work.shape.tied and not stage.head_is_copy
    # FlatGradients' buffer takes an untied one at once.
    return FP32_BYTES * vocabulary_elements(work) if waits_for_embedding or work.layout.is_partitioned else 0.0


def layer_temporaries(work: Work, stage: Stage) -> float:
    """Bytes beyond what is saved, while the backward pass is in the feed-forward part of a layer or in the norm before."""
    shape, compute_bytes, residual_bytes, tokens = work.shape, work.compute_bytes, work.residual_bytes, work.tokens
    hidden, width = shape.hidden_size, shape.width / work.layout.tensor_parallel
    matrix_gradient = compute_bytes * width * hidden
    width_gradient = compute_bytes * tokens * width
    # In the last matrix: its own gradient and that of its input. In the product with the gate: two of the feed-forward width,
    # and autocast's copy of that matrix, which is counted among the gathered weights, is gone.
    freed_cast = matrix_gradient if not work.uses_fsdp and compute_bytes != FP32_BYTES else 0
    products = max(width_gradient + matrix_gradient, 2 * width_gradient - freed_cast)
    # Two gradients as wide as the residual stream; a rank without a head has its own in the pipeline's buffers.
    stream = 2 * residual_bytes * tokens * hidden if stage.has_head else 0
    # In the norm before the feed-forward part, whose own activations are gone by then, as are the copies of the norm's output
    # that its matrices read. torch's LayerNorm is one kernel and holds nothing.
    freed = feed_forward_tensors(work) * compute_bytes * width
    freed += compute_bytes * hidden * (2 if compute_bytes < residual_bytes else 1)
    in_norm = (FP32_BYTES * NORM_TENSORS + 2 * residual_bytes) * tokens * hidden - freed * tokens
    norm = 0.0 if shape.norm_bias else in_norm
    # FSDP2 scatters a layer's gradients from an fp32 buffer (`reduce_dtype`), while those in the compute dtype are there.
    scatters = work.uses_fsdp and work.layout.num_stages == 1
    return max(products + stream, norm) + ((compute_bytes + FP32_BYTES) * stage.layer if scatters else 0.0)


def embedding_temporaries(work: Work, stage: Stage) -> float:
    """Bytes at the end of the backward pass, when the embedding's gradient is made and added."""
    # By the gradient of the residual stream the gradient of all rows of the vocabulary is made, and of this the rank's rows.
    stream = work.residual_bytes * work.tokens * work.shape.hidden_size
    if not work.uses_fsdp:
        return FP32_BYTES * work.shape.embedding + FP32_BYTES * vocabulary_elements(work) + stream
    # FSDP2 scatters all that is outside of the layers from one fp32 buffer; gradients that wait are counted already.
    scattered_bytes = FP32_BYTES if work.waits_with_gradients else work.compute_bytes + FP32_BYTES
    return max(work.compute_bytes * work.shape.embedding, scattered_bytes * stage.outside) + stream


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
    hidden_bytes = work.tokens * work.shape.hidden_size * work.residual_bytes
    virtual = layout.virtual_stages
    received = virtual - (stage.place == 0)  # the first stage of all gets token ids
    received_gradients = virtual - (stage.place == layout.pipeline_parallel - 1)  # the last has the loss
    is_fp32 = work.residual_bytes == FP32_BYTES
    saved = in_flight(layout, stage.place, work.micro_batches) * received if is_fp32 else 0.0
    return hidden_bytes * work.micro_batches * (received + received_gradients), hidden_bytes * saved
