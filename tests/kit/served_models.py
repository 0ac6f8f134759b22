"""Exports of tiny models with tokenizer and chat template, as a training leaves them, for whoever loads or serves them."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from tasks.data.tokens.tokenizer import save_tokenizer, train_tokenizer
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout, StageLayout
from tasks.record.manifest import Input, Request
from tasks.registry.publish import final_version
from tasks.registry.versions import Version, register
from tasks.stages.work import Result
from tests.kit.registered_stages import begun_stage, finished_training

LABELS = ("cat", "dog", "owl")
WORDS = "the cat sat on a mat while dogs ran over green hills and birds sang in trees near water all day long with joy"


def export_with_tokenizer(folder: Path, labels: tuple[str, ...] = (), seed: int = 0) -> None:
    """A Llama of one layer with random weights: a classifier where there are labels."""
    tokenizer = train_tokenizer([WORDS] * 4, 300, 10_000)
    save_tokenizer(tokenizer, folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=tokenizer.pad_id, bos_token_id=tokenizer.end_of_text_id,
        eos_token_id=tokenizer.end_of_text_id,
        **({"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}} if labels else {}),
    )  # fmt: skip
    (LlamaForSequenceClassification if labels else LlamaForCausalLM)(config).save_pretrained(folder)


def registered_classifier(home: Path, model: str = "demo-topic", max_length: int = 8) -> Version:
    stage = tuned(home, "classified", {"kind": "classification", "max_length": max_length})
    export_with_tokenizer(stage.export, LABELS)
    manifest = finished_training(stage, verdict=None, kind="classification", labels=list(LABELS))
    return register(home, final_version(Result(stage, manifest), model, "champion"))


def registered_chat(home: Path, model: str = "demo-chat") -> Version:
    stage = tuned(home, "instructed", {"kind": "instruction", "max_length": 32})
    export_with_tokenizer(stage.export)
    manifest = finished_training(stage, verdict=None, kind="instruction")
    return register(home, final_version(Result(stage, manifest), model, "champion"))


def registered_base(home: Path, model: str = "demo-base") -> Version:
    stage = begun_stage(home)
    export_with_tokenizer(stage.export)
    return register(home, final_version(Result(stage, finished_training(stage)), model, "champion"))


def tuned(home: Path, run: str, finetune: dict[str, object]) -> StageLayout:
    stage = FinetuneLayout(home, f"{run}-topic").attempt("0" * 64).candidate
    base = Input(path=str(home / "runs" / run / "02-pretrain"), digest="b" * 64)
    write_json(stage.request, Request(kind="finetune", identity={"finetune": finetune, "init": "base"}, inputs={"base": base}))
    return stage
