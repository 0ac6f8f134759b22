"""Models of a few thousand parameters, and batches for them."""

from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import build_model
from tasks.training.model.ranks import Ranks
from tasks.training.setup import Setup, random_partition

ALONE = Ranks(0, 1, torch.device("cpu"))
VOCABULARY = 384


def tiny_model(architecture: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    values: dict[str, Any] = {
        "architecture": architecture, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    config = ModelConfig(**values | changes)

    def build() -> PreTrainedModel:
        return build_model(config, VOCABULARY, end_of_text_id=0, pad_id=1)

    return random_partition(Setup(Mesh(Layout(), ALONE), ParallelConfig()), build, "fp32", seed).model


def text_batch(rows: int = 2, length: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    """Two documents in every row, the second from the middle on."""
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, VOCABULARY, (rows, length + 1), generator=chance)
    positions = torch.arange(length).remainder(length // 2).expand(rows, length).contiguous()
    return {"input_ids": ids[:, :-1], "labels": ids[:, 1:].contiguous(), "position_ids": positions}


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
