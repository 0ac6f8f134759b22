"""Fine-tuning an exported model, or the same model from random weights, on labelled examples."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.config.finetuning import FinetuneConfig
from tasks.data.order.permutation import samples_of_step
from tasks.data.tokens.digest import samples_digest
from tasks.data.tokens.examples import read_examples
from tasks.data.tokens.packing import pack
from tasks.data.tokens.rows import encode_rows, tokenizer_of
from tasks.record.files import file_entries
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request, input_manifest, sha256_of, write_manifest
from tasks.training.evaluation import (
    Batch,
    answer_losses,
    as_metrics,
    classification_batch,
    classification_metrics,
    instruction_batch,
    predict_classes,
)
from tasks.training.export.export import export_partition
from tasks.training.generate import sample_of
from tasks.training.input_check import InputCheck
from tasks.training.loop import Recipe, Trainer
from tasks.training.measure.plots import loss_curve
from tasks.training.model.model import attention_implementation, autocast, classifier_from, like_exported, load_causal
from tasks.training.model.objective import IGNORED_LABEL, classification_loss
from tasks.training.model.partition import Partition
from tasks.training.model.patches import WithLosses
from tasks.training.model.ranks import Ranks
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, exported_partition, make_trainable, probed_loss, profiled_step, random_partition

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
    truncated: int = 0
    """Examples that were longer than allowed."""

    def batch(self, ids: np.ndarray) -> Batch:
        return self.make([self.rows[i] for i in ids], [self.labels[i] for i in ids], self.pad_id)

    def token_digest(self, places: np.ndarray, ids: np.ndarray, _batch: Batch) -> int:
        """Of some training examples: packed or padded, it is the same."""
        return samples_digest(places.tolist(), ((self.rows[i], np.atleast_1d(self.labels[i])) for i in ids))

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
    InputCheck(ranks, [(base, base_manifest), (examples, examples_manifest)]).conclude()
    labels = examples_manifest.details.get("labels") or []
    setup = Setup.of(request, ranks, pipeline=False)
    partition = initial_partition(config, setup, StageLayout(base).export, labels, request.identity["init"] == "random")
    train, test = (
        encode(config, StageLayout(base).export, read_examples(examples, examples_manifest, split), labels)
        for split in ("train", "test")
    )
    for split, encoded in (("train", train), ("test", test)):
        if encoded.truncated:
            logger.warning(
                "%d of %d %s examples are longer than finetune.max_length=%d tokens and were cut",
                encoded.truncated, len(encoded.rows), split, config.max_length,
            )  # fmt: skip
    recipe = finetuning_recipe(config, request, partition, setup, train, test)
    recipe = replace(recipe, tokenizer_digest=sha256_of(base_manifest, "export/tokenizer.json"))
    trainer = Trainer(recipe, partition, stage, attempt)
    trainer.resume()
    trainer.train()
    counts = {"truncated_train_examples": train.truncated, "truncated_test_examples": test.truncated}
    finish(trainer, config, request, StageLayout(base).export, test, labels, counts)


def initial_partition(config: FinetuneConfig, setup: Setup, export: Path, labels: list[str], random_init: bool) -> Partition:
    """The model before its first step: the export's values, or random ones. All ranks call it."""
    classes = labels if config.kind == "classification" else None

    def build() -> PreTrainedModel:
        model = like_exported(export, classes)
        model.set_attn_implementation(attention_implementation(model, config.max_length, setup.mesh.ranks.device))
        return model

    def load() -> PreTrainedModel:
        model = load_causal(export) if classes is None else classifier_from(export, classes)
        model.set_attn_implementation(attention_implementation(model, config.max_length, setup.mesh.ranks.device))
        return model

    if random_init:
        return random_partition(setup, build, config.precision, config.seed)
    return exported_partition(setup, build, config.precision, config.seed, export, load)


def encode(config: FinetuneConfig, export: Path, examples: list[dict[str, str]], labels: list[str]) -> Encoded:
    """Token ids of the examples, by the tokenizer that the model was exported with."""
    tokenizer = tokenizer_of(export)
    rows = encode_rows(tokenizer, config.kind, examples, labels, config.max_length)
    make = classification_batch if config.kind == "classification" else instruction_batch
    return Encoded(rows.ids, rows.labels, make, tokenizer.pad_id, rows.truncated)


def finetuning_recipe(
    config: FinetuneConfig, request: Request, partition: Partition, setup: Setup, train: Encoded, test: Encoded
) -> Recipe:
    """The recipe; gives the partition its loss. All ranks call it."""
    steps = -(-config.epochs * len(train.rows) // config.batch_size)
    warmup = int(steps * config.warmup_fraction)
    test_batches = test.batches(config.micro_batch_size)
    if config.kind == "classification":
        make_trainable(partition, setup, classification_loss)
    else:
        loss, apart = probed_loss(partition.model.config, setup)
        make_trainable(partition, setup, loss)
        if apart is None:
            train = replace(train, make=packed_batch)
        else:
            logger.warning("every example has a row of its own, which takes longer: %s", apart)
    return Recipe(
        config=config,
        request_digest=request.digest,
        schedule=Schedule(config.learning_rate, 0.0, warmup, max(1, steps - warmup), "linear"),
        max_steps=steps,
        profile_step=profiled_step(request),
        sample_ids=lambda step: samples_of_step(step, config.batch_size, len(train.rows), config.seed),
        read=train.batch,
        num_targets=train.num_targets,
        num_tokens=train.num_tokens,
        evaluate=lambda trainer: measure(trainer, test, test_batches, config.precision),
        on_evaluation=partial(start_decay, warmup=warmup),
        token_digest=train.token_digest,
    )


def packed_batch(input_ids: Sequence[np.ndarray], labels: Sequence[np.ndarray], pad_id: int) -> Batch:
    """The examples of `instruction_batch` in fewer rows, kept apart by `position_ids`."""
    batch = pack(input_ids, labels, pad_id)
    return {name: torch.from_numpy(getattr(batch, name)) for name in ("input_ids", "labels", "position_ids")}


def start_decay(trainer: Trainer, warmup: int) -> None:
    """The horizon is known: the decay follows the warm-up."""
    trainer.state.decay_start = warmup


def measure(trainer: Trainer, test: Encoded, batches: list[Batch], precision: str) -> dict[str, float]:
    """Metrics on the test examples: accuracy, macro_f1 and heldout_loss, or the answer loss in nats/token as heldout_loss."""
    model, mesh = trainer.model, trainer.mesh
    with torch.no_grad(), autocast(mesh.ranks.device, precision):
        if test.make is classification_batch:
            predicted, losses = predict_classes(model, batches, mesh)
            return classification_metrics(predicted, losses, np.array(test.labels))
        losses, counts = answer_losses(model, batches, mesh, lambda part, batch: cast(WithLosses, part).token_losses(batch))
    return {"heldout_loss": float(losses.sum() / counts.sum())}


def finish(
    trainer: Trainer,
    config: FinetuneConfig,
    request: Request,
    base: Path,
    test: Encoded,
    labels: list[str],
    counts: dict[str, int],
) -> None:
    """Final measurement in fp32, export, curve, manifest with the `counts` of examples. All ranks call it; rank 0 writes."""
    stage, state, ranks = trainer.stage, trainer.state, trainer.ranks
    trainer.partition.train(False)
    final = measure(trainer, test, test.batches(config.micro_batch_size), "fp32")
    files = export_partition(trainer.partition, base, stage.export, only=TOKENIZER_FILES)
    environment = trainer.environment()
    if ranks.is_first:
        curve = stage.path / "curve.png"
        unit = "nats/example" if config.kind == "classification" else "nats/token"
        curve.write_bytes(loss_curve(state.evaluations, None, unit))
        measured = {
            "initial_heldout_loss": state.evaluations[0]["heldout_loss"],
            "train_loss": state.evaluations[-1]["train_loss"],
            "num_parameters": trainer.partition.num_parameters,
            "train_examples": len(trainer.recipe.sample_ids(0)) * state.step,
        }
        details: dict[str, Any] = {"kind": config.kind, "init": request.identity["init"], "chain": state.chain}
        if config.kind == "classification":
            details["labels"] = labels
        else:
            details["sample"] = sample_of(trainer.partition, stage.export, config.seed, SAMPLE_QUESTION, chat=True)
        manifest = Manifest(
            kind="finetune",
            request_digest=request.digest,
            inputs=request.inputs,
            files=file_entries(stage.path, [*files, curve]),
            step=state.step,
            tokens_seen=state.tokens_seen,
            environment=environment,
            metrics=as_metrics(final | counts | measured),
            details=details,
        )
        trainer.note("done", durable=True, step=state.step)
        write_manifest(stage.path, manifest)
    ranks.barrier()
