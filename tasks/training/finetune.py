"""Fine-tuning an exported model, or the same model from random weights, on labelled examples."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.config import FinetuneConfig
from tasks.data.examples import encode_classification, encode_instruction, read_examples
from tasks.data.order import samples_of_step
from tasks.data.packing import pack
from tasks.data.tokenizer import load_tokenizer
from tasks.errors import ConfigError
from tasks.manifest import Manifest, Request, file_entries, input_manifest, verify, write_manifest
from tasks.run_layout import StageLayout
from tasks.training.evaluation import (
    Batch,
    answer_losses,
    as_metrics,
    classification_batch,
    classification_metrics,
    instruction_batch,
    predict_classes,
)
from tasks.training.generate import sample_text
from tasks.training.loop import Recipe, Trainer
from tasks.training.model import (
    attention_implementation,
    check_isolation,
    classifier_from,
    export_model,
    load_causal,
    num_parameters,
    random_causal,
)
from tasks.training.objective import IGNORED_LABEL, choose_causal_loss, classification_loss
from tasks.training.plots import loss_curve
from tasks.training.ranks import Ranks
from tasks.training.schedule import Schedule

SAMPLE_QUESTION = "What is music?"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

logger = logging.getLogger("pretune.finetune")


@dataclass(frozen=True)
class Encoded:
    """Examples of one split as token ids."""

    rows: list[np.ndarray]
    labels: list[Any]
    """Class numbers, or per row the token labels with IGNORED_LABEL on all but the answer."""
    make: Callable[..., Batch]
    pad_id: int

    def batch(self, ids: np.ndarray) -> Batch:
        return self.make([self.rows[i] for i in ids], [self.labels[i] for i in ids], self.pad_id)

    def batches(self, size: int) -> list[Batch]:
        """All examples in order, `size` at a time."""
        return [self.batch(np.arange(s, min(s + size, len(self.rows)))) for s in range(0, len(self.rows), size)]

    def num_tokens(self, ids: np.ndarray) -> int:
        return sum(len(self.rows[i]) for i in ids)

    def num_targets(self, ids: np.ndarray) -> int:
        if self.make is classification_batch:
            return len(ids)
        return max(1, sum(int((self.labels[i][1:] != IGNORED_LABEL).sum()) for i in ids))


def run(stage: StageLayout, request: Request, ranks: Ranks, attempt: int) -> None:
    """The whole stage; returns when its manifest is written. All ranks call it."""
    config = FinetuneConfig.model_validate(request.identity["finetune"])
    base, examples = (Path(request.inputs[role].path) for role in ("base", "examples"))
    base_manifest, examples_manifest = input_manifest(request, "base"), input_manifest(request, "examples")
    if attempt == 1 and ranks.is_first:
        verify(base, base_manifest)
        verify(examples, examples_manifest)
    labels = examples_manifest.details.get("labels") or []
    random_init = request.identity["init"] == "random"
    model = initial_model(config, base / "export", labels, random_init)
    model.set_attn_implementation(attention_implementation(model, config.max_length))
    train, test = (
        encode(config, base / "export", read_examples(examples, examples_manifest, split), labels)
        for split in ("train", "test")
    )
    trainer = Trainer(finetuning_recipe(config, request, model, train, test, ranks), model, ranks, stage, attempt)
    trainer.resume()
    trainer.train()
    finish(trainer, config, request, base / "export", test, labels)


def initial_model(config: FinetuneConfig, export: Path, labels: list[str], random_init: bool) -> PreTrainedModel:
    """The model before its first step, fp32, on the CPU."""
    if config.kind == "classification":
        return classifier_from(export, labels, random_init, config.seed)
    return random_causal(export, config.seed) if random_init else load_causal(export)


def encode(config: FinetuneConfig, export: Path, examples: list[dict[str, str]], labels: list[str]) -> Encoded:
    """Token ids of the examples, by the tokenizer that the model was exported with."""
    tokenizer = load_tokenizer(export)
    pad_id = tokenizer.pad_id
    if config.kind == "classification":
        rows, classes = encode_classification(tokenizer, examples, labels, config.max_length)
        return Encoded(rows, list(classes), classification_batch, pad_id)
    rows, targets = encode_instruction(tokenizer, examples, config.max_length)
    return Encoded(rows, targets, instruction_batch, pad_id)


def finetuning_recipe(
    config: FinetuneConfig, request: Request, model: PreTrainedModel, train: Encoded, test: Encoded, ranks: Ranks
) -> Recipe:
    steps = -(-config.epochs * len(train.rows) // config.batch_size)
    warmup = int(steps * config.warmup_fraction)
    test_batches = test.batches(config.micro_batch_size)
    loss = classification_loss if config.kind == "classification" else choose_causal_loss(model)
    if config.kind == "instruction" and keeps_examples_apart(model):
        train = replace(train, make=packed_batch)
    return Recipe(
        request_digest=request.digest,
        seed=config.seed,
        schedule=Schedule(config.learning_rate, 0.0, warmup, max(1, steps - warmup), "linear"),
        max_steps=steps,
        global_batch_size=config.batch_size,
        micro_batch_size=config.micro_batch_size,
        max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay,
        betas=(0.9, 0.999),
        precision=config.precision,
        evaluate_every_steps=config.evaluate_every_steps,
        checkpoint_every_steps=config.checkpoint_every_steps,
        keep_checkpoints=1,
        sample_ids=lambda step: samples_of_step(step, config.batch_size, len(train.rows), config.seed),
        read=train.batch,
        num_targets=train.num_targets,
        num_tokens=train.num_tokens,
        loss=loss,
        evaluate=lambda m: measure(m, test, test_batches, ranks),
        on_evaluation=partial(start_decay, warmup=warmup),
    )


def packed_batch(input_ids: Sequence[np.ndarray], labels: Sequence[np.ndarray], pad_id: int) -> Batch:
    """The examples of `instruction_batch` in fewer rows, kept apart by `position_ids`."""
    batch = pack(input_ids, labels, pad_id)
    return {name: torch.from_numpy(getattr(batch, name)) for name in ("input_ids", "labels", "position_ids")}


def keeps_examples_apart(model: PreTrainedModel) -> bool:
    """Whether examples can share a row; says so in the log where they cannot."""
    try:
        check_isolation(model)
    except ConfigError as error:
        logger.warning("every example has a row of its own, which takes longer: %s", error)
        return False
    return True


def start_decay(trainer: Trainer, warmup: int) -> None:
    """The horizon is known: the decay follows the warm-up."""
    trainer.state.decay_start = warmup


def measure(model: PreTrainedModel, test: Encoded, batches: list[Batch], ranks: Ranks) -> dict[str, float]:
    """Metrics on the test examples: accuracy, macro_f1 and heldout_loss, or the answer loss in nats/token as heldout_loss."""
    if test.make is classification_batch:
        predicted, losses = predict_classes(model, batches, ranks)
        return classification_metrics(predicted, losses, np.array(test.labels), model.config.num_labels)
    losses, counts = answer_losses(model, batches, ranks)
    return {"heldout_loss": float(losses.sum() / counts.sum())}


def finish(trainer: Trainer, config: FinetuneConfig, request: Request, base: Path, test: Encoded, labels: list[str]) -> None:
    """Final measurement in fp32, export, curve, manifest. All ranks call it; rank 0 writes."""
    stage, state, model, ranks = trainer.stage, trainer.state, trainer.model, trainer.ranks
    model.eval()
    with torch.no_grad():
        final = measure(model, test, test.batches(config.micro_batch_size), ranks)
    if ranks.is_first:
        shutil.rmtree(stage.export, ignore_errors=True)
        files = export_model(model, base, stage.export, only=TOKENIZER_FILES)
        curve = stage.path / "curve.png"
        curve.write_bytes(loss_curve(state.evaluations, None))
        metrics = final | {
            "initial_heldout_loss": state.evaluations[0]["heldout_loss"],
            "train_loss": state.evaluations[-1]["train_loss"],
            "num_parameters": num_parameters(model),
            "train_examples": len(trainer.recipe.sample_ids(0)) * state.step,
            "training_seconds": round(state.training_seconds, 1),
        }
        details: dict[str, Any] = {"kind": config.kind, "init": request.identity["init"], "chain": state.chain}
        if config.kind == "classification":
            details["labels"] = labels
        else:
            details["sample"] = sample_text(model, stage.export, config.seed, SAMPLE_QUESTION, chat=True)
        manifest = Manifest(
            kind="finetune",
            request_digest=request.digest,
            inputs=request.inputs,
            files=file_entries(stage.path, [*files, curve]),
            step=state.step,
            tokens_seen=state.tokens_seen,
            metrics=as_metrics(metrics),
            details=details,
        )
        trainer.note("done", durable=True, step=state.step)
        write_manifest(stage.path, manifest)
    ranks.barrier()
