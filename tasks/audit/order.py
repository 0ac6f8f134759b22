"""Which samples each step of a stage has to see, and their tokens, from its request and the data set alone.

It needs torch only for a base from elsewhere, whose tokenizer is that of transformers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tasks.config.finetuning import FinetuneConfig
from tasks.config.training import PretrainConfig
from tasks.data.order.permutation import samples_of_step
from tasks.data.order.training import mixture_of
from tasks.data.tokens.digest import rows_digest, samples_digest
from tasks.data.tokens.examples import read_examples
from tasks.data.tokens.rows import encode_rows, tokenizer_of
from tasks.data.tokens.shards import TokenDataset
from tasks.record.layout import StageLayout
from tasks.record.manifest import Request, input_manifest


@dataclass(frozen=True)
class Order:
    """The samples of a stage as a function of the step."""

    sample_ids: Callable[[int], np.ndarray]
    """Step, counted from 0 -> ids of its global batch, (global_batch_size,)."""
    num_tokens: Callable[[np.ndarray], int]
    """Ids -> tokens that the model reads."""
    token_digest: Callable[[np.ndarray], int]
    """Ids of a global batch -> digest of its samples as they are now (`tasks.data.tokens.digest`)."""
    sizes: tuple[int, ...]
    """Samples of each source; ids count through them one after the other."""
    sources: tuple[str, ...]
    """Their names; empty where they are not told apart."""
    unit: str
    """What a sample is."""


def order_of(request: Request) -> Order:
    """Raises IntegrityError where the data set is not there or not the one that was meant."""
    return {"pretrain": pretraining_order, "finetune": finetuning_order}[request.kind](request)


def pretraining_order(request: Request) -> Order:
    config = PretrainConfig.model_validate(request.identity["pretrain"])
    shares = request.identity.get("mixture") or []
    manifest = input_manifest(request, "dataset")
    folder = Path(request.inputs["dataset"].path)
    dataset = TokenDataset(folder, manifest, "train", config.sequence_length, by_source=bool(shares))
    sizes = dataset.sizes
    mixture = mixture_of(config, shares, sizes)

    def token_digest(ids: np.ndarray) -> int:
        batch = dataset.read(ids)
        return rows_digest(np.arange(len(ids)), [batch.input_ids, batch.labels, batch.position_ids])

    return Order(
        sample_ids=partial(mixture.sample_ids, global_batch_size=config.global_batch_size),
        num_tokens=lambda ids: len(ids) * config.sequence_length,
        token_digest=token_digest,
        sizes=tuple(sizes),
        sources=tuple(share["name"] for share in shares)[: len(sizes)],
        unit="sequences",
    )


def finetuning_order(request: Request) -> Order:
    config = FinetuneConfig.model_validate(request.identity["finetune"])
    input_manifest(request, "base")
    manifest = input_manifest(request, "examples")
    examples = read_examples(Path(request.inputs["examples"].path), manifest, "train")
    tokenizer = tokenizer_of(StageLayout(Path(request.inputs["base"].path)).export)
    encoded = encode_rows(tokenizer, config.kind, examples, manifest.details.get("labels") or [], config.max_length)
    rows, labels = encoded.ids, encoded.labels
    lengths = np.array([len(row) for row in rows])
    return Order(
        sample_ids=partial(samples_of_step, global_batch_size=config.batch_size, num_samples=len(examples), seed=config.seed),
        num_tokens=lambda ids: int(lengths[ids].sum()),
        token_digest=lambda ids: samples_digest(range(len(ids)), ((rows[i], np.atleast_1d(labels[i])) for i in ids)),
        sizes=(len(examples),),
        sources=(),
        unit="examples",
    )
