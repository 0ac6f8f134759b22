"""Losses. Shapes: B sequences, L positions, N = B x L tokens, D width, V vocabulary."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from tasks.training.measure.limits import CHUNK_LOGITS
from tasks.training.model.cpu_kernels import product, takes

Batch = dict[str, Tensor]

IGNORED_LABEL = -100
PROBE_SCALE = 2.0**10


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of `hidden @ weight.T` that never holds all N x V logits; see `chunked_cross_entropy`.

    The gradients are computed in the forward pass, chunk by chunk, while the logits are there (as in Liger Kernel,
    Hsu et al. 2024, arXiv:2410.10989, section 3.2). The matrix products run in the dtype of `hidden`; losses and sums are fp32.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, vocab_start: int, group: dist.ProcessGroup | None
    ) -> Tensor:
        needs_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        compute_weight = weight.to(hidden.dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden) if needs_gradient else None
        grad_weight = torch.empty_like(weight, dtype=torch.float32) if needs_gradient else None
        chunks = Chunks(compute_weight, vocab_start, group)
        for start in range(0, hidden.shape[0], chunks.rows):
            end = start + chunks.rows
            part = hidden[start:end]
            losses, delta = chunks.losses_and_gradient(part, labels[start:end])
            total += losses.sum()
            if grad_hidden is not None and grad_weight is not None:
                torch.mm(delta, compute_weight, out=grad_hidden[start:end])
                if delta.dtype == grad_weight.dtype:
                    grad_weight.addmm_(delta.T, part, beta=min(start, 1))
                elif start == 0:
                    grad_weight.copy_(delta.T @ part)
                else:
                    grad_weight += delta.T @ part
        if grad_hidden is not None and group is not None:
            dist.all_reduce(grad_hidden, group=group)
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        grad_weight = (grad_weight * grad_total).to(ctx.weight_dtype)
        return grad_hidden * grad_total.to(grad_hidden.dtype), grad_weight, None, None, None


def chunked_cross_entropy(
    hidden: Tensor, weight: Tensor, labels: Tensor, vocab_start: int = 0, group: dist.ProcessGroup | None = None
) -> Tensor:
    """Summed loss in nats, a scalar, of hidden (N, D), weight (V, D) and labels (N,), IGNORED_LABEL where there is no target.

    With a group, `weight` has this rank's rows of the matrix, the first of which is row `vocab_start`. `hidden` and `labels`
    are the same on all ranks of the group; all of them call it and get the whole loss and the whole gradient by `hidden`.
    """
    return ChunkedCrossEntropy.apply(hidden, weight, labels, vocab_start, group)


class Chunks:
    """Losses and gradients of hidden states by chunks of `rows`, whose logits are always in the same memory.

    Fresh memory of 16 MiB, which the operating system fills with zeros first, costs a CPU as much as the product.
    """

    def __init__(self, weight: Tensor, vocab_start: int = 0, group: dist.ProcessGroup | None = None) -> None:
        """weight (V, D), in the dtype of the hidden states."""
        self._weight, self._vocab_start, self._group = weight, vocab_start, group
        most = max(1, CHUNK_LOGITS.get(weight.device.type, CHUNK_LOGITS["cuda"]) // weight.shape[0])
        # A power of two divides most batches, so that all chunks have one size, which a GPU's kernel is compiled for.
        self.rows = 1 << (most.bit_length() - 1)
        self._product: Tensor | None = None
        self._logits: Tensor | None = None

    def losses_and_gradient(self, part: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Of at most `rows` hidden states (rows, D): the losses (rows,), fp32, and the gradient of their sum by the logits."""
        if part.is_cuda and self._group is None:
            return compiled_cross_entropy()(part @ self._weight.T, labels)
        losses, gradient = cross_entropy_with_gradient(self.logits(part), labels, self._vocab_start, self._group)
        return losses, gradient.to(part.dtype)

    def logits(self, part: Tensor) -> Tensor:
        """(rows, V) in fp32, which the next call overwrites."""
        if takes(part, self._weight):
            return product(part, self._weight)
        if self._product is None or self._logits is None:
            self._product = part.new_empty(len(part), len(self._weight))
            self._logits = self._product if part.dtype == torch.float32 else self._product.float()
        size = len(part)
        torch.mm(part, self._weight.T, out=self._product[:size])
        return self._logits[:size] if self._logits is self._product else self._logits[:size].copy_(self._product[:size])


def cross_entropy_with_gradient(
    logits: Tensor, labels: Tensor, vocab_start: int = 0, group: dist.ProcessGroup | None = None
) -> tuple[Tensor, Tensor]:
    """Loss of each row (rows,), and the gradient of their sum by the logits, in the memory of `logits` (rows, V).

    `vocab_start` and `group` as for `chunked_cross_entropy`: the losses are those of the whole vocabulary.
    """
    counted = labels != IGNORED_LABEL
    here = counted & (labels >= vocab_start) & (labels < vocab_start + logits.shape[1])
    index = ((labels - vocab_start) * here).unsqueeze(1)
    target = logits.gather(1, index).squeeze(1) * here
    highest = logits.amax(1)
    if group is not None:
        dist.all_reduce(highest, dist.ReduceOp.MAX, group)
    gradient = logits.sub_(highest.unsqueeze(1)).exp_()
    total = gradient.sum(1)
    if group is not None:
        sums = torch.stack([total, target])
        dist.all_reduce(sums, group=group)
        total, target = sums
    # Rows without a target are left out by their scale and not by a branch, which would wait for a GPU.
    gradient *= (counted / total).unsqueeze(1)
    # Each row has one target: what is written is read first, since a GPU's scattered sums are in any order.
    gradient.scatter_(1, index, gradient.gather(1, index) - here.to(gradient.dtype).unsqueeze(1))
    return (total.log() + highest - target) * counted, gradient


def fusible_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """`cross_entropy_with_gradient` without writing in place: compiled, it reads `logits` twice and writes the gradient once.

    The gradient has the dtype of `logits`.
    """
    counted, index = labels != IGNORED_LABEL, labels.clamp_min(0).unsqueeze(1)
    exact = logits.float()
    log_sums = exact.logsumexp(1, keepdim=True)
    losses = (log_sums - exact.gather(1, index)).squeeze(1) * counted
    is_target = torch.arange(logits.shape[1], device=logits.device) == index
    gradient = ((exact - log_sums).exp() - is_target.float()) * counted.unsqueeze(1)
    return losses, gradient.to(logits.dtype)


@cache
def compiled_cross_entropy() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """For GPUs; TORCH_COMPILE_DISABLE=1 switches it off, as all compilation."""
    return torch.compile(fusible_cross_entropy, dynamic=False)


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Output of the transformer without its head, (B, L, D), in the dtype that autocast asks for.

    The batch has `input_ids` (B, L) or, behind the first stage of a pipeline, `inputs_embeds` (B, L, D).
    """
    inputs = {name: batch[name] for name in ("input_ids", "inputs_embeds") if name in batch}
    hidden = model.get_decoder()(
        **inputs, position_ids=batch["position_ids"], attention_mask=None, use_cache=False
    ).last_hidden_state
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    return hidden


def head_rows(model: PreTrainedModel) -> tuple[Tensor, int, dist.ProcessGroup | None]:
    """The rows of the output matrix that this rank holds, the number of the first, and the ranks that hold the others."""
    weight = model.get_output_embeddings().weight
    if not isinstance(weight, DTensor):
        return weight, 0, None
    (placement,), mesh = weight.placements, weight.device_mesh
    local = weight.to_local(grad_placements=[placement])
    if placement.is_replicate():
        return local, 0, None
    return local, mesh.get_local_rank() * -(-weight.shape[0] // mesh.size()), mesh.get_group()


def causal_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Summed next-token loss in nats of `input_ids`, `labels`, `position_ids`, each (B, L); labels are already shifted.

    `attention_mask` stays None, so that position ids which restart isolate packed documents. Where the head's matrix is divided
    over tensor ranks, all of them call it and get the whole loss.
    """
    hidden = hidden_states(model, batch)
    weight, vocab_start, group = head_rows(model)
    with torch.autocast(hidden.device.type, enabled=False):
        return chunked_cross_entropy(hidden.flatten(0, 1), weight, batch["labels"].flatten(), vocab_start, group)


@torch.no_grad()
def token_losses(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Loss of every position in nats, (B, L), fp32, 0 where there is no target; never holds all logits.

    The batch and who calls it are as for `causal_loss`.
    """
    hidden = hidden_states(model, batch).flatten(0, 1)
    labels = batch["labels"].flatten()
    weight, vocab_start, group = head_rows(model)
    chunks = Chunks(weight.to(hidden.dtype), vocab_start, group)
    with torch.autocast(hidden.device.type, enabled=False):
        losses = [
            chunks.losses_and_gradient(part, target)[0]
            for part, target in zip(hidden.split(chunks.rows), labels.split(chunks.rows), strict=True)
        ]
    return torch.cat(losses).view_as(batch["labels"])


def causal_loss_from_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """`causal_loss` for models whose logits are more than hidden states times a matrix (soft-capping, scaling, bias)."""
    return losses_from_logits(model, batch, "sum")


def token_losses_from_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """`token_losses` for models whose logits are more than hidden states times a matrix."""
    with torch.no_grad():
        return losses_from_logits(model, batch, "none").view_as(batch["labels"])


def losses_from_logits(model: PreTrainedModel, batch: Batch, reduction: str) -> Tensor:
    logits = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=None, use_cache=False
    ).logits
    return nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=IGNORED_LABEL, reduction=reduction
    )


def classification_loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Summed loss in nats of `input_ids` and `attention_mask` (B, L), `labels` (B,)."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    return nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")


def choose_causal_loss(model: PreTrainedModel) -> Callable[[PreTrainedModel, Batch], Tensor]:
    """`causal_loss` if it agrees with the model's own logits on a probe, else `causal_loss_from_logits`.

    The logits of new weights are so small that soft-capping does not show, so the head is scaled up for the probe, by a power
    of two and back, which is exact; and a bias that still is zero does not show either, so any bias decides by itself.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or head.bias is not None:
        return causal_loss_from_logits
    device = next(model.parameters()).device
    ids = torch.arange(16, device=device).reshape(2, 8) + 1
    batch = {"input_ids": ids, "labels": ids + 1, "position_ids": torch.arange(8, device=device).expand(2, 8)}
    training = model.training
    model.eval()
    with torch.no_grad():
        head.weight.mul_(PROBE_SCALE)
        exact = causal_loss_from_logits(model, batch)
        try:
            chunked = causal_loss(model, batch)
        except (AttributeError, NotImplementedError, TypeError):
            chunked = torch.full_like(exact, torch.nan)
        head.weight.div_(PROBE_SCALE)
    model.train(training)
    return causal_loss if torch.isclose(chunked, exact, rtol=1e-4) else causal_loss_from_logits


def choose_token_losses(model: PreTrainedModel) -> Callable[[PreTrainedModel, Batch], Tensor]:
    """`token_losses` or `token_losses_from_logits`, as `choose_causal_loss`; the model is whole on this rank."""
    return token_losses if choose_causal_loss(model) is causal_loss else token_losses_from_logits
