"""Measuring a model on held-out text and on frozen examples. Losses are nats; sums are double precision."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tasks.data.tokens.shards import TokenDataset
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import IGNORED_LABEL, choose_token_losses
from tasks.training.significance import macro_f1

Batch = dict[str, Tensor]
TokenLosses = Callable[[PreTrainedModel, Batch], Tensor]


def read_text(dataset: TokenDataset, sample_ids: np.ndarray) -> Batch:
    """`input_ids`, `labels` and `position_ids`, each (batch, sequence)."""
    batch = dataset.read(sample_ids)
    return {
        name: torch.from_numpy(np.ascontiguousarray(getattr(batch, name))) for name in ("input_ids", "labels", "position_ids")
    }


def heldout_batches(
    dataset: TokenDataset, num_sequences: int, batch_size: int, data_rank: int, data_parallel: int
) -> Iterator[Batch]:
    """This rank's batches of the first `num_sequences` sequences, all of one size, and as many on every rank.

    What fills them up has no targets.
    """
    rounds = -(-num_sequences // (batch_size * data_parallel))
    for number in range(rounds):
        ids = np.arange(batch_size) + (number * data_parallel + data_rank) * batch_size
        batch = read_text(dataset, np.where(ids < num_sequences, ids, 0))
        batch["labels"][torch.from_numpy(ids >= num_sequences)] = IGNORED_LABEL
        yield batch


def heldout_metrics(loss_sum: float, dataset: TokenDataset, num_sequences: int) -> dict[str, float]:
    """`heldout_loss` (nats/token) and `bits_per_byte` from the summed loss (nats) of the first `num_sequences` sequences.

    Bits per byte are the bits of all targets, ends of documents included, over the UTF-8 bytes of their text.
    """
    return {
        "heldout_loss": loss_sum / (num_sequences * dataset.sequence_length),
        "bits_per_byte": loss_sum / math.log(2) / dataset.byte_count(num_sequences),
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
    batches: Sequence[Batch], mesh: Mesh, measure: Callable[[Batch], tuple[Tensor, Tensor]]
) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of every example, both (examples,). All ranks call it and get all of it.

    Every data-parallel rank measures as many batches, because sharded weights are gathered together; the last rounds may
    measure the first batch again, for nothing.
    """
    device, width = mesh.ranks.device, mesh.layout.data_parallel
    starts = [0, *accumulate(len(batch["input_ids"]) for batch in batches)]
    found = torch.zeros(2, starts[-1], dtype=torch.float64, device=device)
    for number in range(mesh.data_rank, -(-len(batches) // width) * width, width):
        counts = number < len(batches)
        first, second = measure({k: v.to(device) for k, v in batches[number if counts else 0].items()})
        if counts:
            found[0, starts[number] : starts[number + 1]], found[1, starts[number] : starts[number + 1]] = first, second
    mesh.ranks.sum_(found)
    # Ranks that share matrices have measured the same examples.
    found /= mesh.layout.tensor_parallel
    return found[0].cpu().numpy(), found[1].cpu().numpy()


def predict_classes(model: PreTrainedModel, batches: Sequence[Batch], mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Predicted class and loss (nats) of every example, both (examples,). All ranks call it and get all of it."""

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
        logits = model(**inputs, use_cache=False).logits.float()
        return logits.argmax(1), torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")

    classes, losses = over_examples(batches, mesh, measure)
    return classes.astype(np.int64), losses


def answer_losses(
    model: PreTrainedModel, batches: Sequence[Batch], mesh: Mesh, token_losses: TokenLosses | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss (nats) and number of answer tokens of every example, both (examples,). All ranks call it.

    `token_losses` is found by a probe where it is not given, for which the model must be whole on this rank.
    """
    losses = token_losses or choose_token_losses(model)

    def measure(batch: Batch) -> tuple[Tensor, Tensor]:
        return losses(model, batch).sum(1), (batch["labels"] != IGNORED_LABEL).sum(1)

    return over_examples(batches, mesh, measure)


def classification_metrics(predicted: np.ndarray, losses: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """`accuracy`, `macro_f1` (mean over the classes that occur in `labels`) and `heldout_loss`; NaN without losses."""
    return {
        "heldout_loss": float(losses.mean()) if len(losses) else math.nan,
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": macro_f1(predicted, labels),
    }


def as_metrics(values: dict[str, Any]) -> dict[str, float]:
    """The finite numbers among the values, as a manifest holds them."""
    return {k: float(v) for k, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}
