"""Megatron-LM's published memory formulas, to compare ours with. Nothing here describes what this project trains.

Activations: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models" (arXiv:2205.05198),
table 2 and section 4: bytes per layer with fp16 activations, GELU, dropout masks of one byte, and no flash attention. Weights
and optimizer: `megatron/training/theoretical_memory_usage.py` of Megatron-LM, 18 bytes per parameter.
"""

from dataclasses import dataclass
from typing import Literal

Recomputation = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class MegatronModel:
    """A GPT of the paper's table 3, sequence length 2048 and 51,200 rows of vocabulary."""

    name: str
    num_heads: int
    hidden_size: int
    num_layers: int
    tensor_parallel: int
    pipeline_parallel: int
    virtual_stages: int
    micro_batch_size: int
    sequence_length: int = 2048
    vocab_rows: int = 51_200


PUBLISHED = (
    MegatronModel("22B", 64, 6144, 48, 8, 1, 1, 4),
    MegatronModel("175B (GPT-3)", 96, 12288, 96, 8, 8, 3, 1),
    MegatronModel("530B (MT-NLG)", 128, 20480, 105, 8, 35, 3, 1),
    MegatronModel("1T", 160, 25600, 128, 8, 64, 1, 1),
)
"""Table 3 of the paper."""


def layer_activation_bytes(model: MegatronModel, sequence_parallel: bool, recomputation: Recomputation) -> float:
    """Activations of one layer and micro-batch on one tensor rank: table 2 of the paper, its six rows."""
    s, b, h, a, t = model.sequence_length, model.micro_batch_size, model.hidden_size, model.num_heads, model.tensor_parallel
    attention = 0.0 if recomputation == "selective" else 5 * a * s / (h * t)
    if recomputation == "full":
        return 2.0 * s * b * h
    return s * b * h * ((34 / t if sequence_parallel else 10 + 24 / t) + attention)


def weight_and_optimizer_bytes(model: MegatronModel) -> float:
    """Of the first pipeline stage: its layers and the embedding, 18 bytes per parameter."""
    h = model.hidden_size
    layer = 12 * h * h + 13 * h
    block = layer * model.num_layers + 2 * h
    return 18 * (block / model.pipeline_parallel + model.vocab_rows * h) / model.tensor_parallel


def first_stage_activation_bytes(model: MegatronModel, sequence_parallel: bool, recomputation: Recomputation) -> float:
    """Activations of the first pipeline stage: section 4.3 with its input's dropout, and the head where there is no pipeline.

    The first stage keeps as many micro-batches as there are stages, hence all layers of the model; interleaving keeps
    1 + (p - 1) / (p x virtual stages) times that.
    """
    s, b, h, t, p = (
        model.sequence_length, model.micro_batch_size, model.hidden_size, model.tensor_parallel, model.pipeline_parallel,
    )  # fmt: skip
    total = layer_activation_bytes(model, sequence_parallel, recomputation) * model.num_layers
    total += s * b * h * p / (t if sequence_parallel else 1)
    if model.virtual_stages > 1:
        total *= 1 + (p - 1) / (p * model.virtual_stages)
    if p == 1:
        total += 4 * s * b * h / t * (1 + model.vocab_rows / h)
    return total
