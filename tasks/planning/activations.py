"""Activations that a layer saves for its backward pass, in bytes per token.

Letters as in Korthikanti et al. 2022 (arXiv:2205.05198), whose table 2 these follow, with what transformers' modules save under
autocast or FSDP2 instead of what Megatron-LM's do: D hidden_size, A query width, K key-value width, F feed-forward width, L
sequence_length, H query heads; c bytes of the compute dtype, r of the residual stream. A test compares each with what autograd
really saved.
"""

from tasks.planning.work import Work


def layer_activations(work: Work) -> float:
    """Bytes that one layer saves for its backward pass, per token."""
    shape, tensor = work.shape, work.layout.tensor_parallel
    c, r = work.compute_bytes, work.residual_bytes
    heads = shape.num_heads / tensor
    query, key, width = shape.attention_width / tensor, shape.key_value_width / tensor, shape.width / tensor
    d = shape.hidden_size
    # LayerNorm: its input and two statistics; one matrix reads each. RMSNorm: its input in fp32, one statistic, the normalised
    # input in its own dtype; autocast makes a copy of an fp32 norm for each of the five matrices that read one.
    layer_norms = 2 * (r * d + 2 * r) + 2 * c * d
    rms_norms = 2 * (4 * d + 4 + r * d) + c * d * (5 if c < r else 2)
    norms = layer_norms if shape.norm_bias else rms_norms
    attention = attention_activations(work, query, heads)
    if shape.query_key_norm:
        attention += (4 + c) * (query + key) + 4 * (heads + heads * key / query)
    feed_forward = (4 if shape.gated else work.convention.plain_feed_forward_tensors) * c * width
    return norms + attention + feed_forward + 2 * dropout_mask(work, c)


def dropout_mask(work: Work, input_bytes: int) -> float:
    """Bytes of one dropout mask of the residual stream's width per token."""
    size = input_bytes if work.convention.dropout_bytes is None else work.convention.dropout_bytes
    return size * work.shape.hidden_size if work.shape.dropout else 0.0


def attention_activations(work: Work, query: float, heads: float) -> float:
    """Bytes that attention saves per token: queries, repeated keys and values, output, and scores or mask."""
    c, length = work.compute_bytes, work.sequence_length
    if work.convention.score_bytes is not None:
        key = work.shape.key_value_width / work.layout.tensor_parallel
        return c * (2 * query + 2 * key) + work.convention.score_bytes * heads * length
    if work.attention == "eager":
        # Probabilities in fp32 and, where that is another dtype, in the compute dtype; with dropout (GPT-2, whose probabilities
        # stay in the dtype of its weights) a mask and a product too.
        scores = (4 if c == 4 else 4 + c) if not work.shape.dropout else work.residual_bytes + 2 * c
        return 4 * c * query + scores * heads * length
    if work.shape.dropout:  # no fused kernel for this on a CPU: fp32 queries, keys and values, probabilities, mask, product
        return (12 + c) * query + 12 * heads * length
    return 4 * c * query + 4 * heads + c * length


def checkpointed_activations(work: Work) -> float:
    """Bytes that one layer keeps between its passes, per token, by the kind of activation checkpointing."""
    shape, tensor, c = work.shape, work.layout.tensor_parallel, work.compute_bytes
    kind, d = work.activation_checkpointing, shape.hidden_size
    if kind == "none":
        return layer_activations(work)
    kept = float(work.residual_bytes * d)
    if kind == "selective":
        query, key, width = shape.attention_width / tensor, shape.key_value_width / tensor, shape.width / tensor
        kept += c * (query + 2 * key + query + 2 * d) + c * width * (2 if shape.gated else 1)
        kept += work.compute_bytes * shape.num_heads / tensor * work.sequence_length if work.attention == "eager" else (
            4 * shape.num_heads / tensor)  # fmt: skip
    return kept
