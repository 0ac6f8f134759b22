"""Taking in a base that was not made here: read once in a known dtype, made complete, tried, written as every export is."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tasks.data.inputs.bases import (
    TOKENIZER_FILES,
    check_names,
    other_architecture,
    read_settings,
    weight_files,
)
from tasks.data.inputs.files import first_line
from tasks.data.inputs.hub_models import fetched
from tasks.data.tokens.intake import OF_ANOTHER_PLACE, drop_new_tokens, load_given, settle_tokenizer
from tasks.record.errors import DataError, IntegrityError
from tasks.record.failures import Output, explaining
from tasks.record.files import file_entries, file_sha256, read_json, write_json
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request, write_manifest
from tasks.training.export.read import stored_dtypes
from tasks.training.model.model import flushed, without_values
from tasks.training.model.partition import tie
from tasks.training.model.ranks import Ranks

TEXT = (
    "Rivers carry water from the mountains to the sea. On their way they grow wider and slower, and where they meet the sea "
    "they leave the sand that they have brought along."
)
"""A plain text, on which a model that was read rightly is not surprised."""
LINKED_DTYPES = {"F32": "float32", "BF16": "bfloat16"}
"""What is kept as it was stored; other floating point numbers are written as fp32."""


def run(stage: StageLayout, request: Request, ranks: Ranks, attempt: int) -> None:
    """The whole stage; returns when its manifest is written. One rank."""
    journal, said = Journal(stage.journal, attempt), f"base={request.execution['base']!r}"
    with explaining(ranks.rank, lambda: Output(stage.path, None, "the model takes")):
        shutil.rmtree(stage.export, ignore_errors=True)
        stage.export.mkdir(parents=True)
        journal.append("progress", fraction=0.1, message="reading the model")
        source, path = request.identity["source"], request.execution["path"]
        if source["kind"] == "gguf":
            take_gguf(Path(path), stage.export, source, said)
        else:
            folder = fetched(source["name"], source["commit"], said) if source["kind"] == "hub" else Path(path)
            take_folder(folder, stage.export, source, said)
        journal.append("progress", fraction=0.6, message="trying the tokenizer")
        config = AutoConfig.from_pretrained(stage.export, local_files_only=True)
        tokenizer, found = settle_tokenizer(stage.export, ends_of(stage.export, config), config.vocab_size, said)
        settle_settings(stage.export, config, tokenizer)
        journal.append("progress", fraction=0.8, message="trying the model")
        details, metrics = tried(stage.export, tokenizer, said)
        files = flushed(stage.export)
    details |= found | {
        "source": request.execution["base"],
        "kind": source["kind"],
        "licence": request.execution["licence"],
    }
    journal.append("done", durable=True, step=None)
    write_manifest(
        stage.path,
        Manifest(
            kind="base", request_digest=request.digest, inputs=request.inputs, files=file_entries(stage.path, files),
            metrics=metrics, details=details,
        ),
    )  # fmt: skip


def take_folder(folder: Path, export: Path, source: dict[str, Any], said: str) -> None:
    """Weights by reference where they can stay as they are, and config and tokenizer as copies."""
    names = {path.name for path in folder.iterdir()}
    check_names(names, said)
    for name, digest in source.get("files", {}).items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise IntegrityError(f"{folder / name} has changed since {said} was looked at; run the same command again")
    for name in ("generation_config.json", *TOKENIZER_FILES):
        if name in names:
            shutil.copyfile(folder / name, export / name)
    config = known_config(folder, said)
    dtypes = stored_dtypes(folder)
    if set(dtypes.values()) <= LINKED_DTYPES.keys() and names_in(config) <= dtypes.keys():
        for name in weight_files(folder, names, said):
            link(folder / name, export / name)
        shutil.copyfile(folder / "config.json", export / "config.json")
        return
    save(read_model(folder, said), export)


def take_gguf(file: Path, export: Path, source: dict[str, Any], said: str) -> None:
    """The file's numbers as fp32 in a model of its own, for one that comes from a GGUF file refuses to be saved."""
    if file_sha256(file) != source["sha256"]:
        raise IntegrityError(f"{file} has changed since {said} was looked at; run the same command again")
    # Alone in a folder, so that what lies beside it is not read for it.
    alone = export.with_name(".gguf")
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir()
    (alone / "model.gguf").symlink_to(file)
    try:
        known_config(alone, said, gguf_file="model.gguf")
        quantized = read_model(alone, said, gguf_file="model.gguf")
        vars(quantized.config).pop("quantization_config", None)
        model = without_values(quantized.config)
        model.load_state_dict(quantized.state_dict(), assign=True)
        tie(model)
        model.generation_config = quantized.generation_config
        save(model, export)
        load_given(alone, gguf_file="model.gguf").save_pretrained(export)
        drop_new_tokens(export, model.config.vocab_size)
    finally:
        shutil.rmtree(alone)
    for name in ("tokenizer_config.json", "config.json"):
        kept = {
            key: value for key, value in read_json(export / name).items() if key not in (*OF_ANOTHER_PLACE, "_name_or_path")
        }
        write_json(export / name, kept)


def known_config(folder: Path, said: str, **where: Any) -> PreTrainedConfig:
    """Raises DataError for an architecture that transformers does not know, or that is no causal language model."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **where)
    except (ValueError, KeyError, OSError) as error:
        name = str(read_settings(folder / "config.json", said)["model_type"]) if not where else first_line(error)
        raise other_architecture(said, name, name) from None
    decides = getattr(config, "is_decoder", True) is not False and not config.is_encoder_decoder
    if type(config) not in AutoModelForCausalLM._model_mapping or not decides:
        raise other_architecture(said, type(config).__name__.removesuffix("Config"), config.model_type)
    return config


def names_in(config: PreTrainedConfig) -> set[str]:
    """Names of the model's parameters; a head that is the embedding has none."""
    model = without_values(config)
    tie(model)
    return {name for name, _ in model.named_parameters()}


def read_model(folder: Path, said: str, **where: Any) -> PreTrainedModel:
    """The model in fp32, on the CPU; raises DataError where weights are missing or are not those of its config."""
    try:
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True, **where
        )
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise DataError(f"{said} cannot be read ({first_line(error)}); fetch it again, or give another") from None
    model, report = read
    if missing := sorted(set(report["missing_keys"]) - set(model.all_tied_weights_keys or ())):
        raise DataError(
            f"{said} has no weights for {missing[0]}, and {len(missing) - 1} more; give a whole causal language model"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def save(model: PreTrainedModel, export: Path) -> None:
    model.config.dtype, model.config.architectures = torch.float32, [type(model).__name__]
    model.save_pretrained(export)


def link(source: Path, target: Path) -> None:
    """The same bytes under another name where both lie in one file system, else a copy."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def ends_of(export: Path, config: PreTrainedConfig) -> list[int]:
    """Ids at which the model stops, by its generation settings first."""
    file = export / "generation_config.json"
    found = [read_json(file).get("eos_token_id") if file.is_file() else None, config.eos_token_id]
    return list(
        dict.fromkeys(one for value in found for one in (value if isinstance(value, list) else [value]) if one is not None)
    )


def settle_settings(export: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let config and generation agree with the tokenizer about where a text ends and what fills up a row."""
    own = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) else []
    ends = list(dict.fromkeys([*ends_of(export, config), *own]))
    settings = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    named = {"bos_token_id": tokenizer.bos_token_id} if tokenizer.bos_token_id is not None else {}
    for name in ("config.json", "generation_config.json"):
        file = export / name
        known = read_json(file) if file.is_file() else {}
        # What the model was trained to begin with is its own business where it says so.
        write_json(file, named | known | settings)
    try:
        GenerationConfig.from_pretrained(export, local_files_only=True).validate(strict=True)
    except ValueError:
        # transformers reads settings that contradict each other, and refuses to write them: after a whole fine-tune.
        write_json(export / "generation_config.json", named | settings)


def tried(export: Path, tokenizer: PreTrainedTokenizerBase, said: str) -> tuple[dict[str, Any], dict[str, float | int | None]]:
    """Details and metrics of the export, read as every later stage reads it; raises DataError where it gives no finite loss."""
    model = read_model(export, said).eval()
    positions = getattr(model.config, "max_position_embeddings", None)
    ids = torch.tensor([tokenizer(TEXT)["input_ids"][:positions]])
    with torch.no_grad():
        loss = float(model(input_ids=ids, labels=ids, use_cache=False).loss)
    if not math.isfinite(loss):
        raise DataError(f"{said} gives a loss of {loss} for a plain sentence; its weights are damaged, fetch it again")
    dtypes = {LINKED_DTYPES.get(kind, kind.lower()) for kind in stored_dtypes(export).values()}
    details = {
        "architecture": model.config.model_type,
        "num_parameters": model.num_parameters(),
        "dtype": "/".join(sorted(dtypes)),
        "max_length": positions,
        "vocab_size": model.config.vocab_size,
    }
    return details, {"num_parameters": model.num_parameters(), "intake_loss": loss}
