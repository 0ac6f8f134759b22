"""From a configuration and the manifests of earlier stages to the request of the next one. Pure."""

from typing import Any

from tasks.config.config import Config
from tasks.config.data import DataConfig
from tasks.config.finetuning import FinetuneFile
from tasks.config.gate import ASKING
from tasks.config.layouts import check_layout
from tasks.record.errors import ConfigError
from tasks.record.manifest import Input, Manifest, Request

FINETUNE_FORMAT = 1
"""Raised whenever the same base, examples and recipe would give another model, so that a refresh makes it anew."""

Identity = dict[str, Any]
Version = dict[str, Any]
"""A registered version: name, version, path of its folder, digest."""


def pretrain_request(config: Config, dataset: Input, dataset_manifest: Manifest) -> Request:
    """Raises ConfigError where the model's vocabulary is smaller than the tokenizer's or does not divide, or text is short."""
    check_dataset(config, dataset_manifest)
    return Request(
        kind="pretrain",
        identity={
            "model": config.model.model_dump(mode="json"),
            "pretrain": config.pretrain.model_dump(mode="json"),
            "convergence": config.convergence.model_dump(mode="json"),
        }
        | mixture_identity(config.data),
        inputs={"dataset": dataset},
        execution=execution(config),
    )


def mixture_identity(data: DataConfig) -> Identity:
    """How often each source is drawn from, where that is set."""
    shares = [
        {"name": n, "weight": s.weight, "max_epochs": s.max_epochs}
        for n, s in zip(data.source_names, data.sources, strict=True)
    ]
    chosen = any(share["weight"] or share["max_epochs"] for share in shares)
    return {"mixture": shares} if chosen else {}


def check_dataset(config: Config, dataset: Manifest) -> None:
    entries, rows = int(dataset.metrics["vocab_size"] or 0), config.model.vocab_size
    if rows is not None and rows < entries:
        raise ConfigError(
            f"model.vocab_size={rows} is smaller than the tokenizer's vocabulary of {entries}; "
            f"leave model.vocab_size empty or set it to at least {entries}"
        )
    check_layout(config.model, rows or entries, config.parallel.layout(config.launch.num_processes))
    length = config.pretrain.sequence_length
    for split in ("train", "heldout"):
        tokens = int(dataset.metrics[f"{split}_tokens"] or 0)
        if tokens <= length:
            raise ConfigError(
                f"pretrain.sequence_length={length} needs more than {length} tokens in the {split} split, which has "
                f"{tokens}; give more text or set a shorter sequence"
            )


def check_length(finetune: FinetuneFile, positions: int | None) -> None:
    """Raises ConfigError for examples that are longer than the base has positions; None has no end."""
    if positions is not None and finetune.max_length > positions:
        raise ConfigError(
            f"{finetune.place}max_length={finetune.max_length} is longer than the {positions} positions of the base; "
            f"set it to at most {positions}"
        )


def finetune_request(finetune: FinetuneFile, base: Input, examples: Input, random_init: bool) -> Request:
    return Request(
        kind="finetune",
        identity={
            "format": FINETUNE_FORMAT,
            "finetune": finetune.recipe,
            "init": "random" if random_init else "base",
        },
        inputs={"base": base, "examples": examples},
        execution=execution(finetune),
    )


def execution(config: Config | FinetuneFile) -> dict[str, Any]:
    """How training is done, which is no part of what is made."""
    return {"launch": config.launch.model_dump(mode="json"), "parallel": config.parallel.model_dump(mode="json")}


def evaluate_request(
    finetune: FinetuneFile, inputs: dict[str, Input], champion: Version | None, best: Version | None
) -> Request:
    """`inputs` has `candidate`, `base`, `examples` and, where the gate asks for it, `random_init`.

    `champion` is the version that the candidate is compared with, `best` the best that was ever champion, if that is another
    one; each has name, version, path and digest. Against another champion it is another evaluation.
    """
    return Request(
        kind="evaluate",
        identity={
            "kind": finetune.kind,
            "gate": finetune.gate.model_dump(mode="json", exclude=ASKING),
            "max_length": finetune.max_length,
            "champion": champion and [champion["version"], champion["digest"]],
            "best": best and [best["version"], best["digest"]],
        },
        inputs=inputs,
        execution={
            "champion": champion,
            "best": best,
            "launch": finetune.launch.model_dump(mode="json") | {"num_processes": 1},
        },
    )
