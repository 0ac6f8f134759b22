"""Tiny models that can be asked, exported as pretune does, and registered."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tasks.data.tokens.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout
from tasks.record.manifest import Request
from tasks.registry import versions as registry
from tasks.registry.versions import Version
from tasks.training.model.model import export_model, label_settings
from tests.kit.models import tiny_model
from tests.kit.registered_stages import finished_training, new_version

TEXT = "the quick brown fox jumps over the lazy dog and the dog sleeps"
LABELS = ["animals", "plants", "stones"]
MAX_LENGTH = 24
POSITIONS = 96


def export_asked(folder: Path, kind: str = "classification") -> Path:
    """An export whose answers differ from text to text; `kind` as in a fine-tune, or `pretrained`."""
    tokenizer = folder.parent / f"{folder.name}-tokenizer"
    if not tokenizer.exists():
        save_tokenizer(train_tokenizer([TEXT] * 5, 300, 10_000), tokenizer)
    model = tiny_model(max_position_embeddings=POSITIONS, tie_word_embeddings=kind == "classification")
    if kind == "classification":
        body = model
        settings = {key: value for key, value in label_settings(LABELS).items() if key != "local_files_only"}
        model.config.update(settings)
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(model.config).float()
        model.model.load_state_dict(body.model.state_dict())
        torch.nn.init.normal_(model.score.weight)
    else:
        make_talkative(model, load_tokenizer(tokenizer).tokenizer.get_vocab_size(with_added_tokens=True))
    export_model(model, tokenizer, folder)
    return folder


def make_talkative(model: PreTrainedModel, vocab_size: int) -> None:
    """What it says depends on all that it read, and has neither special tokens nor ids that stand for nothing."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        model.lm_head.weight[:4] = 0
        model.lm_head.weight[vocab_size:] = 0


def registered_model(home: Path, kind: str = "classification", name: str = "demo-topic", alias: str = "champion") -> Version:
    """A registered version of a model that can be asked."""
    stage = FinetuneLayout(home, name).attempt("0" * 64).candidate
    write_json(stage.request, Request(kind="finetune", identity={"finetune": {"kind": kind, "max_length": MAX_LENGTH}}))
    export_asked(stage.export, kind)
    manifest = finished_training(stage, {"accuracy": 0.5}, kind=kind)
    return registry.register(home, new_version(stage, manifest, model=name, label="candidate", aliases=(alias,)))


def different_texts(count: int) -> list[str]:
    """Of different lengths, some longer than a classifier reads."""
    words = TEXT.split()
    return [" ".join(words[(i * 7 + k * 3) % len(words)] for k in range(1 + i % 40)) + f" {i}" for i in range(count)]
