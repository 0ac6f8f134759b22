"""From configuration to a `transformers` model: built, initialised, checked, exported."""

import dataclasses
import difflib
import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from tasks.config.model import ModelConfig
from tasks.record.errors import ConfigError
from tasks.record.files import fsync_folder
from tasks.training.measure.limits import SHORT_SEQUENCE
from tasks.training.model.objective import causal_loss_from_logits

ATTENTION_DROPOUT_NAMES = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""What architectures call the dropout of attention's probabilities."""
GENERATION = "generation_config.json"
WIDTH_NAMES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
"""What architectures call the width of the feed-forward layer."""

logger = logging.getLogger("pretune.model")


def attention_implementation(model: PreTrainedModel, sequence_length: int, device: torch.device) -> str:
    """Name of the attention kernel: the fused one where the model has it, but plain attention for short sequences on a CPU.

    On a GPU it is the one that skips the blocks between packed documents and adds in a fixed order. All keep documents apart.
    """
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        return "eager"  # transformers 5.17 chooses sdpa here, which ignores the cap
    if device.type == "cpu":
        return "eager" if sequence_length <= SHORT_SEQUENCE else model.config._attn_implementation
    return "flex_attention" if takes_flex_attention(model) else model.config._attn_implementation


def takes_flex_attention(model: PreTrainedModel) -> bool:
    """Whether attention can skip the blocks between documents, instead of masking them out: not with dropout of its scores."""
    rates = (getattr(model.config, name, 0.0) for name in ATTENTION_DROPOUT_NAMES)
    return model._supports_flex_attn and model.config._attn_implementation == "sdpa" and not any(rates)


def build_model(config: ModelConfig, vocab_size: int, end_of_text_id: int, pad_id: int) -> PreTrainedModel:
    """A causal model whose parameters are on the meta device (they have shapes and no values) and fp32; buffers are real.

    `vocab_size` is the tokenizer's; the embedding has that many rows or `config.vocab_size`.
    Raises ConfigError for an architecture that transformers does not know or that rejects or ignores a setting.
    """
    special = {"bos_token_id": end_of_text_id, "eos_token_id": end_of_text_id, "pad_token_id": pad_id}
    try:
        values = architecture_settings(config) | special | {"vocab_size": config.vocab_size or vocab_size}
        transformers_config = AutoConfig.for_model(config.architecture, **values | config.extra)
        with init_empty_weights(include_buffers=False):
            model = AutoModelForCausalLM.from_config(transformers_config)
    except (ValueError, KeyError, TypeError, RuntimeError, StrictDataclassError) as error:
        raise ConfigError(
            f"model.architecture={config.architecture!r} cannot be built as a causal model: {shortened(error)}; "
            "choose a causal model_type of transformers, such as llama, qwen3, gpt2, and settings that it knows"
        ) from None
    return model.float()


def with_parameters_in(model: PreTrainedModel, precision: str) -> PreTrainedModel:
    """The model with its parameters in bf16 or fp32; buffers (the rotary frequencies) stay as they are."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    return model


def architecture_settings(config: ModelConfig) -> dict[str, Any]:
    """The model's shape under the names of its architecture; raises ConfigError for a setting that would have no effect."""
    values: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    known = known_settings(config.architecture)
    if config.num_key_value_heads is not None or "num_key_value_heads" in known:
        values["num_key_value_heads"] = config.num_key_value_heads or config.num_attention_heads
    width = config.intermediate_size or (3 * config.hidden_size if config.architecture == "llama" else None)
    width_name = next((name for name in WIDTH_NAMES if name in known), WIDTH_NAMES[0])
    if width is not None:
        values[width_name] = width
    asked = {f"extra.{key}": (key, value) for key, value in config.extra.items()}
    if config.num_key_value_heads is not None:
        asked["num_key_value_heads"] = ("num_key_value_heads", config.num_key_value_heads)
    if config.intermediate_size is not None:
        asked["intermediate_size"] = (width_name, config.intermediate_size)
    for field, (key, value) in asked.items():
        if known and key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "remove it"
            raise ConfigError(f"model.{field}={value!r} has no effect on model.architecture={config.architecture!r}; {hint}")
    return values


def known_settings(architecture: str) -> set[str]:
    """Names that the configuration of an architecture takes; empty where transformers does not say."""
    if architecture not in CONFIG_MAPPING or not dataclasses.is_dataclass(config_class := CONFIG_MAPPING[architecture]):
        return set()
    fields = {field.name for field in dataclasses.fields(config_class)} | set(config_class.attribute_map)
    # Older spellings, which transformers turns into `rope_parameters`.
    return fields | ({"rope_theta", "rope_scaling", "partial_rotary_factor"} if "rope_parameters" in fields else set())


def shortened(error: Exception) -> str:
    """The first 200 characters of a library's message, on one line."""
    return " ".join(str(error).split())[:200]


def check_isolation(model: PreTrainedModel) -> None:
    """Raises ConfigError if a token's loss changes with the document before it in a packed sequence, or cannot be had."""
    model.eval()
    device = next(model.parameters()).device
    positions = torch.arange(8, device=device).repeat(2).expand(1, 16)
    labels = torch.full((1, 16), -100, device=device)
    labels[:, 8:] = 3
    losses = []
    for first in (1, 2):
        ids = torch.tensor([[first] * 8 + list(range(1, 9))], device=device)
        batch = {"input_ids": ids, "labels": labels, "position_ids": positions}
        try:
            with torch.no_grad():
                losses.append(causal_loss_from_logits(model, batch))
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"model.architecture={model.config.model_type!r} cannot read a packed sequence with these settings: "
                f"{shortened(error)}; choose an architecture that honours position_ids, such as llama, or another shape"
            ) from None
    model.train()
    if not torch.allclose(losses[0], losses[1], rtol=1e-6):
        raise ConfigError(
            f"model.architecture={model.config.model_type!r} lets documents of a packed sequence attend to each other "
            f"(the loss moved by {abs(float(losses[0] - losses[1])):.2e}); choose an architecture that honours position_ids, "
            "such as llama"
        )


def load_causal(folder: Path) -> PreTrainedModel:
    """An exported causal model, fp32, on the CPU."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def without_values(config: PreTrainedConfig) -> PreTrainedModel:
    """A causal model of this shape on the meta device, fp32; buffers are real."""
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(config).float()


def like_exported(folder: Path, labels: list[str] | None) -> PreTrainedModel:
    """A model of an exported architecture on the meta device, fp32: causal, or with `labels` a sequence classifier."""
    kind: type[AutoModelForCausalLM] | type[AutoModelForSequenceClassification]
    if labels is None:
        config, kind = AutoConfig.from_pretrained(folder, local_files_only=True), AutoModelForCausalLM
    else:
        config, kind = AutoConfig.from_pretrained(folder, **label_settings(labels)), AutoModelForSequenceClassification
    with init_empty_weights(include_buffers=False):
        model = kind.from_config(config).float()
    if labels is None and (folder / GENERATION).is_file():
        # What is made from the config alone forgets ends of a text that only generation knows.
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def classifier_from(folder: Path, labels: list[str]) -> PreTrainedModel:
    """A sequence classifier with the exported model's body, fp32, on the CPU; the head's values are transformers' own."""
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **label_settings(labels))


def label_settings(labels: list[str]) -> dict[str, Any]:
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: i for i, label in enumerate(labels)},
        "local_files_only": True,
    }


def autocast(device: torch.device, precision: str) -> Any:
    """Context of the forward pass: bf16 arithmetic over fp32 parameters, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def export_model(model: PreTrainedModel, tokenizer: Path, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """Write a new folder in Hugging Face layout, flushed to disk, and return its files; `only` as for `add_tokenizer`."""
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    return add_tokenizer(tokenizer, folder, only)


def add_tokenizer(tokenizer: Path, folder: Path, only: tuple[str, ...] | None = None) -> list[Path]:
    """Copy the files of `tokenizer`, or those named in `only`, to an export, flush all of it to disk, return its files."""
    for source in sorted(p for p in tokenizer.iterdir() if only is None or p.name in only):
        (folder / source.name).write_bytes(source.read_bytes())
    return flushed(folder)


def flushed(folder: Path) -> list[Path]:
    """Every file below the folder, on disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    fsync_folder(folder)
    return files
