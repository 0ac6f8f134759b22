"""Measuring a model on held-out text and on frozen examples. Losses are nats; sums are double precision."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.data.shards import TokenDataset
from tasks.training.objective import IGNORED_LABEL, choose_token_losses
from tasks.training.ranks import Ranks

Batch = dict[str, Tensor]
CausalLoss = Callable[[PreTrainedModel, Batch], Tensor]
TokenLosses = Callable[[PreTrainedModel, Batch], Tensor]


def read_text(dataset: TokenDataset, sample_ids: np.ndarray) -> Batch:
    """`input_ids`, `labels` and `position_ids`, each (batch, sequence)."""
    batch = dataset.read(sample_ids)
    return {
        name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name))) for name in ("input_ids", "labels", "position_ids")
    }


def heldout_metrics(
    model: PreTrainedModel, dataset: TokenDataset, num_sequences: int, batch_size: int, loss: CausalLoss, ranks: Ranks
) -> dict[str, float]:
    """`heldout_loss` (nats/token) and `bits_per_byte` over the first `num_sequences` sequences. All ranks call it.

    Bits per byte are the bits of all targets, ends of documents included, over the UTF-8 bytes of their text.
    """
    total = 0.0
    for number, start in enumerate(range(0, num_sequences, batch_size)):
        if number % ranks.world_size == ranks.rank:
            ids = np.arange(start, min(start + batch_size, num_sequences))
            batch = {k: v.to(ranks.device) for k, v in read_text(dataset, ids).items()}
            total += loss(model, batch).item()
    (total,) = ranks.sums([total])
    num_bytes = dataset.byte_count(num_sequences)
    return {
        "heldout_loss": total / (num_sequences * dataset.sequence_length),
        "bits_per_byte": total / math.log(2) / num_bytes,
    }


def pad(rows: Sequence[np.ndarray], fill: int) -> Tensor:
    """Rows of different lengths as one (rows, longest) tensor, filled on the right."""
    out = torch.full((len(rows), max(len(row) for row in rows)), fill, dtype=torch.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.from_numpy(np.asarray(row, dtype=np.int64))
    return out


def classification_batch(input_ids: Sequence[np.ndarray], labels: np.ndarray, pad_id: int) -> Batch:
    """`input_ids` and `attention_mask` (batch, longest), `labels` (batch,)."""
    lengths = torch.tensor([len(row) for row in input_ids])
    ids = pad(input_ids, pad_id)
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(ids.shape[1]) < lengths[:, None]).long(),
        "labels": torch.from_numpy(np.asarray(labels, dtype=np.int64)),
    }


def instruction_batch(input_ids: Sequence[np.ndarray], labels: Sequence[np.ndarray], pad_id: int) -> Batch:
    """`input_ids`, `labels` (shifted: the target of each position) and `position_ids`, each (batch, longest - 1).

    Padding lies behind the last token, which no earlier position attends to, so it needs no mask.
    """
    ids = pad(input_ids, pad_id)[:, :-1]
    return {
        "input_ids": ids,
        "labels": pad([row[1:] for row in labels], IGNORED_LABEL),
        "position_ids": torch.arange(ids.shape[1]).expand(ids.shape[0], -1).contiguous(),
    }


def over_examples(
    batches: Sequence[Batch], ranks: Ranks, measure: Callable[[Batch], tuple[Tensor, Tensor]]
) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of every example, both (examples,), each batch measured by one rank. All ranks call it and get all of it."""
    count = sum(len(b["input_ids"]) for b in batches)
    found = torch.zeros(2, count, dtype=torch.float64, device=ranks.device)
    start = 0
    for number, batch in enumerate(batches):
        end = start + len(batch["input_ids"])
        if number % ranks.world_size == ranks.rank:
            found[0, start:end], found[1, start:end] = measure({k: v.to(ranks.device) for k, v in batch.items()})
        start = end
    ranks.sum_(found)
    return found[0].cpu().numpy(), found[1].cpu().numpy()


def predict_classes(model: PreTrainedModel, batches: Sequence[Batch], ranks: Ranks) -> tuple[np.ndarray, np.ndarray]:
    """Predicted class and loss (nats) of every example, both (examples,). All ranks call it and get all of it."""

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
        logits = model(**inputs, use_cache=False).logits.float()
        return logits.argmax(1), torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")

    classes, losses = over_examples(batches, ranks, measure)
    return classes.astype(np.int64), losses


def answer_losses(
    model: PreTrainedModel, batches: Sequence[Batch], ranks: Ranks, token_losses: TokenLosses | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss (nats) and number of answer tokens of every example, both (examples,). All ranks call it.

    `token_losses` is found by a probe where it is not given, for which the model must be whole on this rank.
    """
    losses = token_losses or choose_token_losses(model)

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        return losses(model, batch).sum(1), (batch["labels"] != IGNORED_LABEL).sum(1)

    return over_examples(batches, ranks, measure)


def classification_metrics(predicted: np.ndarray, losses: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[str, float]:
    """`accuracy`, `macro_f1` (mean over the classes that occur in `labels`) and `heldout_loss`."""
    scores = []
    for k in range(num_classes):
        hits = int(((predicted == k) & (labels == k)).sum())
        both = int((predicted == k).sum() + (labels == k).sum())
        if (labels == k).any():
            scores.append(2 * hits / both)
    return {
        "heldout_loss": float(losses.mean()),
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(np.mean(scores)),
    }


def paired_bootstrap(difference: np.ndarray, confidence: float, samples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the mean of per-example differences (Efron & Tibshirani 1993, chapter 13)."""
    random = np.random.default_rng(seed)
    means = [difference[random.integers(0, len(difference), len(difference))].mean() for _ in range(samples)]
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


def as_metrics(values: dict[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, as a manifest holds them."""
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
