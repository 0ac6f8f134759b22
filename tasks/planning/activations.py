"""Activations that a layer saves for its backward pass, in bytes per token.

As in table 2 of Korthikanti et al. 2022 (arXiv:2205.05198), with what transformers' modules save under autocast or FSDP2
instead of what Megatron-LM's do. Widths are those on this tensor rank. A test compares each with what autograd really saved.
"""

from tasks.planning.work import Work

FP32_BYTES, BF16_BYTES = 4, 2
STATISTIC_BYTES = FP32_BYTES
"""Of each token that a norm reads, or of each token and head that fused attention reads (its log-sum-exp)."""


def layer_activations(work: Work) -> float:
    """Bytes that one layer saves for its backward pass, per token."""
    if work.saves_fused:
        return fused_activations(work)
    shape, tensor, compute_bytes = work.shape, work.layout.tensor_parallel, work.compute_bytes
    heads = shape.num_heads / tensor
    query, key, width = shape.attention_width / tensor, shape.key_value_width / tensor, shape.width / tensor
    attention = attention_activations(work, query, heads)
    if shape.query_key_norm:
        # An RMSNorm of each head of queries and keys: input in fp32, normalised input, and a statistic of each head.
        attention += (FP32_BYTES + compute_bytes) * (query + key) + STATISTIC_BYTES * (heads + heads * key / query)
    feed_forward = feed_forward_tensors(work) * compute_bytes * width
    # Two dropouts: behind attention and behind the feed-forward part.
    return norm_activations(work) + attention + feed_forward + 2 * dropout_mask(work, compute_bytes)


def fused_activations(work: Work) -> float:
    """Bytes that a compiled layer saves, per token: what its products read, and the residual stream before each half of it.

    Norms, rotations and the repetition of keys are made again from that. It was compared with one measurement: 12 layers of
    width 768 with 32 x 1024 tokens took 11.4 to 12.0 GiB (tests/benchmarks/RESULTS.md, attention), which are 12.4 by this.
    """
    shape, tensor, compute_bytes = work.shape, work.layout.tensor_parallel, work.compute_bytes
    heads, query = shape.num_heads / tensor, shape.attention_width / tensor
    stream = 2 * (work.residual_bytes + compute_bytes) * shape.hidden_size
    attention = 4 * compute_bytes * query + STATISTIC_BYTES * heads
    if shape.query_key_norm:
        attention += compute_bytes * (query + shape.key_value_width / tensor)
    feed_forward = (3 if shape.gated else 2) * compute_bytes * shape.width / tensor
    return stream + attention + feed_forward + 2 * dropout_mask(work, compute_bytes)


def norm_activations(work: Work) -> float:
    """Bytes that a layer's two norms save, and the copies of their output that matrices save as their input."""
    hidden, compute_bytes, residual_bytes = work.shape.hidden_size, work.compute_bytes, work.residual_bytes
    if work.shape.norm_bias:
        # Each norm is read by one matrix: GPT-2 has one for queries, keys and values.
        return 2 * (residual_bytes * hidden + 2 * residual_bytes) + 2 * compute_bytes * hidden
    # Autocast makes a copy of an fp32 output for each of the five matrices that read one; else they share the output.
    copies = 5 if compute_bytes < residual_bytes else 2
    return 2 * (FP32_BYTES * hidden + STATISTIC_BYTES + residual_bytes * hidden) + compute_bytes * hidden * copies


def final_norm_activations(work: Work) -> float:
    """Bytes that the norm behind the last layer saves, as those of a layer do."""
    hidden, residual_bytes = work.shape.hidden_size, work.residual_bytes
    if work.shape.norm_bias:  # LayerNorm: its input, mean and reciprocal deviation.
        return residual_bytes * hidden + 2 * residual_bytes
    # RMSNorm: its input in fp32, one statistic, and the normalised input in its own dtype, which the weights multiply.
    return FP32_BYTES * hidden + STATISTIC_BYTES + residual_bytes * hidden


def feed_forward_tensors(work: Work) -> int:
    """Tensors of the feed-forward width that a layer saves.

    SwiGLU has four: the gate's product, its SiLU, the other product, and what the last matrix reads.
    """
    return 4 if work.shape.gated else work.convention.plain_feed_forward_tensors


def dropout_mask(work: Work, input_bytes: int) -> float:
    """Bytes of one dropout mask of the residual stream's width per token."""
    size = input_bytes if work.convention.dropout_bytes is None else work.convention.dropout_bytes
    return size * work.shape.hidden_size if work.shape.dropout else 0.0


def attention_activations(work: Work, query: float, heads: float) -> float:
    """Bytes that attention saves per token: queries, repeated keys and values, output, and scores or mask."""
    compute_bytes, length = work.compute_bytes, work.sequence_length
    if work.convention.score_bytes is not None:
        key = work.shape.key_value_width / work.layout.tensor_parallel
        return compute_bytes * (2 * query + 2 * key) + work.convention.score_bytes * heads * length
    if work.attention == "eager":
        return 4 * compute_bytes * query + eager_score_bytes(work) * heads * length
    if work.shape.dropout:
        # No fused kernel for this on a CPU: queries, keys and values in fp32 and the output; probabilities, mask and product.
        return (3 * FP32_BYTES + compute_bytes) * query + 3 * FP32_BYTES * heads * length
    return 4 * compute_bytes * query + STATISTIC_BYTES * heads + compute_bytes * length


def eager_score_bytes(work: Work) -> int:
    """Bytes that plain attention saves of each pair of a query and a key, for each head."""
    compute_bytes = work.compute_bytes
    if work.shape.dropout:
        # GPT-2, whose probabilities stay in the dtype of its weights; a mask and a product too.
        return work.residual_bytes + 2 * compute_bytes
    # Probabilities in fp32 and, where that is another dtype, in the compute dtype.
    return FP32_BYTES if compute_bytes == FP32_BYTES else FP32_BYTES + compute_bytes


def checkpointed_activations(work: Work) -> float:
    """Bytes that one layer keeps between its passes, per token, by the kind of activation checkpointing."""
    shape, tensor, compute_bytes = work.shape, work.layout.tensor_parallel, work.compute_bytes
    if work.activation_checkpointing == "none":
        return layer_activations(work)
    kept = float(work.residual_bytes * shape.hidden_size)  # the layer's input
    if work.activation_checkpointing == "selective":
        # Outputs of `partition.SAVED_OPERATIONS`: queries, keys and values, attention, the last matrix of attention and that of
        # the feed-forward part, whose other matrices follow.
        query, key, width = shape.attention_width / tensor, shape.key_value_width / tensor, shape.width / tensor
        feed_forward = compute_bytes * width * (2 if shape.gated else 1)
        products = compute_bytes * (query + 2 * key + 2 * shape.hidden_size) + feed_forward
        kept += compute_bytes * query + products * (1 - work.convention.recomputed_products)
        # Scores are a product of matrices too; fused attention keeps a statistic.
        heads = shape.num_heads / tensor
        kept += compute_bytes * heads * work.sequence_length if work.attention == "eager" else STATISTIC_BYTES * heads
    return kept
