"""Configurations to plan: large models with nothing prepared."""

from tasks.config.config import Config
from tasks.config.presets import parse_config

EIGHT_BILLION = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "tie_word_embeddings": False, "max_position_embeddings": 8192, "vocab_size": 128_256,
}  # fmt: skip
SEVENTY_BILLION = EIGHT_BILLION | {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip


def large(model: dict = EIGHT_BILLION, ranks: int = 64, sequences: int = 4096, **sections: dict) -> Config:
    """4096 sequences of 4096 tokens a step."""
    pretrain = {
        "sequence_length": 4096, "micro_batch_size": 1, "global_batch_tokens": sequences * 4096,
        "train_tokens": 1_500_000_000_000, "milestone_every_steps": 10_000, "checkpoint_every_steps": 1000,
        "evaluate_every_steps": 500,
    } | sections.pop("pretrain", {})  # fmt: skip
    values = {"model": model, "pretrain": pretrain, "launch": {"num_processes": ranks, "device": "gpu"}} | sections
    return parse_config(values)
