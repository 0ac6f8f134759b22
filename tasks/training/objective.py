"""Losses. Shapes: B sequences, L positions, N = B x L tokens, D width, V vocabulary."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

IGNORED_LABEL = -100
CHUNK_LOGITS = 2**22
"""Logits held at a time, 16 MiB in fp32: the fastest of 2^19 to 2^24 on a CPU, in bf16 and in fp32."""
PROBE_SCALE = 2.0**10


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of `hidden @ weight.T` that never holds all N x V logits.

    The gradients are computed in the forward pass, chunk by chunk, while the logits are there (as in Liger Kernel,
    Hsu et al. 2024, arXiv:2410.10989, section 3.2). The matrix products run in the dtype of `hidden`; losses and sums are fp32.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """hidden (N, D), weight (V, D), labels (N,) with IGNORED_LABEL where there is no target; returns a scalar, nats."""
        needs_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        compute_weight = weight.to(hidden.dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden) if needs_gradient else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_gradient else None
        rows = max(1, CHUNK_LOGITS // weight.shape[0])
        for start in range(0, hidden.shape[0], rows):
            part, target = hidden[start : start + rows], labels[start : start + rows]
            logits = (part @ compute_weight.T).float()
            loss, probabilities_minus_target = cross_entropy_with_gradient(logits, target)
            total += loss
            if grad_hidden is not None and grad_weight is not None:
                delta = probabilities_minus_target.to(hidden.dtype)
                torch.mm(delta, compute_weight, out=grad_hidden[start : start + rows])
                if delta.dtype == grad_weight.dtype:
                    grad_weight.addmm_(delta.T, part)
                else:
                    grad_weight += delta.T @ part
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_total.to(grad_hidden.dtype), (grad_weight * grad_total).to(ctx.weight_dtype), None


def cross_entropy_with_gradient(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss and its gradient by the logits, in the memory of `logits` (rows, V)."""
    counted = labels != IGNORED_LABEL
    index = labels.clamp_min(0).unsqueeze(1)
    target = logits.gather(1, index).squeeze(1)
    highest = logits.amax(1)
    gradient = logits.sub_(highest.unsqueeze(1)).exp_()
    total = gradient.sum(1)
    loss = ((total.log() + highest - target) * counted).sum()
    gradient *= total.reciprocal().unsqueeze(1)
    gradient.scatter_add_(1, index, gradient.new_full(index.shape, -1.0))
    if not bool(counted.all()):
        gradient *= counted.unsqueeze(1)
    return loss, gradient


def causal_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Summed next-token loss in nats of `input_ids`, `labels`, `position_ids`, each (B, L); labels are already shifted.

    `attention_mask` stays None, so that position ids which restart isolate packed documents.
    """
    decoder, head = decoder_and_head(model)
    hidden = decoder(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=None, use_cache=False
    ).last_hidden_state
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    with torch.autocast(hidden.device.type, enabled=False):
        return ChunkedCrossEntropy.apply(hidden.flatten(0, 1), head.weight, batch["labels"].flatten())


def causal_loss_from_logits(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """`causal_loss` for models whose logits are more than hidden states times a matrix (soft-capping, scaling, bias)."""
    logits = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=None, use_cache=False
    ).logits
    return nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), batch["labels"].flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
    )


def classification_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Summed loss in nats of `input_ids` and `attention_mask` (B, L), `labels` (B,)."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    return nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="sum")


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The transformer without its head, and the head."""
    return model.get_decoder(), model.get_output_embeddings()


def choose_causal_loss(model: nn.Module) -> Callable[[nn.Module, dict[str, Tensor]], Tensor]:
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
