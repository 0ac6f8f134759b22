"""From configuration to a `transformers` model: built, initialised, checked, exported."""

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from tasks.config import ModelConfig
from tasks.errors import ConfigError
from tasks.manifest import fsync_folder
from tasks.training.objective import causal_loss_from_logits

SHORT_SEQUENCE = 256
"""Tokens up to which plain attention was faster than the fused kernel on CPU (1.2 to 1.6 times, forward and backward, bf16)."""

logger = logging.getLogger("pretune.model")


def attention_implementation(sequence_length: int) -> str:
    """Name of the attention kernel: the fused one, but for short sequences on a CPU. Both keep packed documents apart."""
    on_cpu = os.environ.get("PRETUNE_DEVICE", "cpu") == "cpu"
    return "eager" if on_cpu and sequence_length <= SHORT_SEQUENCE else "sdpa"


def build_model(config: ModelConfig, vocab_size: int, end_of_text_id: int, pad_id: int, seed: int) -> PreTrainedModel:
    """A causal model with random weights, fp32, on the CPU; the same weights for the same seed.

    `vocab_size` is the tokenizer's; the embedding has that many rows or `config.vocab_size`.
    Raises ConfigError for an architecture that transformers does not know or that rejects a setting.
    """
    values: dict[str, Any] = {
        "vocab_size": config.vocab_size or vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "pad_token_id": pad_id,
    }
    if config.num_key_value_heads is not None:
        values["num_key_value_heads"] = config.num_key_value_heads
    width = config.intermediate_size or (3 * config.hidden_size if config.architecture == "llama" else None)
    if width is not None:
        values["n_inner" if config.architecture == "gpt2" else "intermediate_size"] = width
    try:
        transformers_config = AutoConfig.for_model(config.architecture, **values | config.extra)
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(transformers_config, attn_implementation="sdpa")
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"model.architecture={config.architecture!r} cannot be built as a causal model: {str(error).splitlines()[0]}; "
            "choose a causal model_type of transformers, such as llama, qwen3, gpt2, and settings that it knows"
        ) from None
    return model.float()


def check_isolation(model: PreTrainedModel) -> None:
    """Raises ConfigError if a token's loss changes with the document before it in a packed sequence."""
    model.eval()
    device = next(model.parameters()).device
    positions = torch.arange(8, device=device).repeat(2).expand(1, 16)
    labels = torch.full((1, 16), -100, device=device)
    labels[:, 8:] = 3
    losses = []
    for first in (1, 2):
        ids = torch.tensor([[first] * 8 + list(range(1, 9))], device=device)
        with torch.no_grad():
            losses.append(causal_loss_from_logits(model, {"input_ids": ids, "labels": labels, "position_ids": positions}))
    model.train()
    if not torch.allclose(losses[0], losses[1], rtol=1e-6):
        raise ConfigError(
            f"model.architecture={model.config.model_type!r} lets documents of a packed sequence attend to each other "
            f"(the loss moved by {abs(float(losses[0] - losses[1])):.2e}); choose an architecture that honours position_ids, "
            "such as llama"
        )


def load_causal(folder: Path) -> PreTrainedModel:
    """An exported causal model, fp32, on the CPU."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True)


def random_causal(folder: Path, seed: int) -> PreTrainedModel:
    """The architecture of an exported causal model with random weights, fp32, on the CPU."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").float()


def classifier_from(folder: Path, labels: list[str], random_init: bool, seed: int) -> PreTrainedModel:
    """A sequence classifier on the exported model's body: its weights, or random ones; the head is new; fp32."""
    torch.manual_seed(seed)
    settings = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "local_files_only": True,
    }
    if random_init:
        config = AutoConfig.from_pretrained(folder, **settings)
        return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").float()
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", **settings
    )


def autocast(device: torch.device, precision: str) -> Any:
    """Context of the forward pass: bf16 arithmetic over fp32 parameters, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def export_model(model: PreTrainedModel, tokenizer: Path, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """Write a new folder in Hugging Face layout, flushed to disk, and return its files. One rank calls it.

    The tokenizer's files are copied from the folder `tokenizer`: all of them, or those named in `only`.
    """
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    for source in sorted(p for p in tokenizer.iterdir() if only is None or p.name in only):
        (folder / source.name).write_bytes(source.read_bytes())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    fsync_folder(folder)
    return files


def num_parameters(model: nn.Module) -> int:
    """Tied weights count once."""
    return sum(p.numel() for p in model.parameters())


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, tied ones once."""
    seen: set[int] = set()
    unique = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            unique[name] = tensor
    return unique
