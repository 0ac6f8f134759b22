"""What a divided model is given beside transformers' own methods: its losses, and other ways to compute the same values.

`patch` is the only place that changes a model's methods. Names of parameters and state dicts stay as they are.
"""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts, noop_context_fn
from transformers import PreTrainedModel

from tasks.training.model.cpu_kernels import linear_by_onednn, prefers_onednn
from tasks.training.model.model import autocast
from tasks.training.model.objective import Batch, causal_loss, token_losses, token_losses_from_logits
from tasks.training.model.partition import Partition, layers_of

Forward = Callable[..., Any]
Loss = Callable[[PreTrainedModel, Batch], Tensor]
SeedOf = Callable[[int], int]
"""Number of one of this rank's micro-batches -> seed of everything random in it."""
Kernels = Literal["torch", "onednn", "compiled"]

LOSSES_OF_TOKENS: dict[Loss, Loss] = {causal_loss: token_losses}
BESIDE_FORWARD = (causal_loss, token_losses)
"""What does not go through the model's own `forward`, whose hooks gather sharded weights."""
SAVED_OPERATIONS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.mkldnn._linear_pointwise.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
)
"""Kept by selective activation checkpointing; everything else is computed again."""


def patch(partition: Partition, loss: Loss, activation_checkpointing: str = "none", kernels: Kernels = "torch") -> None:
    """Give every part its loss, and let its layers save memory and compute as asked. Once, before the first pass.

    The order matters. The model is divided before: FSDP2 lays its gathering around the losses only where it has sharded a part,
    and oneDNN has to see which linear layers transformers has given a forward of their own, for tensor parallelism. A layer is
    compiled last, so that what is traced in its first pass is all that it calls; its products are then inductor's.
    """
    last = partition.mesh.layout.num_stages - 1
    for stage, part in partition.stages.items():
        add_losses(part, loss)
        if last > 0:
            replace_forward(part, StageForward(part, stage == 0, stage == last))
        for layer in layers_of(part):
            save_activations(layer, activation_checkpointing)
        if kernels == "onednn":
            use_onednn(part)
        elif kernels == "compiled":
            for layer in layers_of(part):
                # Each layer by itself: equal ones share one compilation.
                layer.compile()


def replace_forward(module: nn.Module, forward: Forward) -> None:
    """Compute a module by `forward`, which may keep and call the module's own.

    It is put on the instance and inside of `__call__`, so that hooks stay around it: FSDP2 gathers weights in them.
    """
    module.forward = forward


class WithLosses(Protocol):
    """A part after `patch`."""

    def summed_loss(self, batch: Batch) -> Tensor: ...

    def token_losses(self, batch: Batch) -> Tensor: ...


def add_losses(part: PreTrainedModel, loss: Loss) -> None:
    """`WithLosses`; where a loss passes by the part's `forward`, sharded weights are gathered first."""
    methods = {"summed_loss": loss, "token_losses": LOSSES_OF_TOKENS.get(loss, token_losses_from_logits)}
    for name, method in methods.items():
        setattr(part, name, MethodType(method, part))
        if method in BESIDE_FORWARD:
            register_fsdp_forward_method(part, name)  # wraps the method that is there, and only where the part is sharded


class StageForward:
    """The forward pass of one stage: token ids or the hidden states of the stage before, to hidden states or the loss."""

    def __init__(self, part: PreTrainedModel, is_first: bool, is_last: bool) -> None:
        self._part, self._is_first, self._is_last = part, is_first, is_last
        self.precision = "fp32"
        self.seed_of: SeedOf | None = None
        self._number = 0

    def begin(self, precision: str, seed_of: SeedOf | None) -> None:
        """Micro-batches are counted from here."""
        self.precision, self.seed_of, self._number = precision, seed_of, 0

    def __call__(self, inputs: Tensor, position_ids: Tensor, labels: Tensor) -> Tensor:
        """inputs (B, L) or (B, L, D); returns (B, L, D), or the summed loss as (1,)."""
        if self.seed_of is not None:
            torch.manual_seed(self.seed_of(self._number))
        self._number += 1
        with autocast(inputs.device, self.precision):
            if self._is_last:
                batch = {"inputs_embeds": inputs, "position_ids": position_ids, "labels": labels}
                return causal_loss(self._part, batch).reshape(1)
            name = "input_ids" if self._is_first else "inputs_embeds"
            decoder = self._part.get_decoder()
            return decoder(**{name: inputs}, position_ids=position_ids, attention_mask=None, use_cache=False).last_hidden_state


def stage_forward(part: PreTrainedModel) -> StageForward:
    """The forward pass that `patch` has given a stage of a pipeline."""
    assert isinstance(part.forward, StageForward), "the partition was not patched"
    return part.forward


def save_activations(layer: nn.Module, kind: str) -> None:
    """Activation checkpointing: `full`, or `selective`, which keeps matrix products and attention, or `none`."""
    if kind != "none":
        contexts = partial(create_selective_checkpoint_contexts, policy) if kind == "selective" else noop_context_fn
        replace_forward(layer, partial(checkpoint, layer.forward, use_reentrant=False, context_fn=contexts))


def policy(_context: Any, operation: Any, *_arguments: Any, **_named: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in SAVED_OPERATIONS else CheckpointPolicy.PREFER_RECOMPUTE


def use_onednn(model: nn.Module) -> None:
    """Let linear layers without a bias compute with oneDNN where this machine prefers it, unless their forward is their own."""
    if prefers_onednn():
        for module in model.modules():
            if type(module) is nn.Linear and module.bias is None and "forward" not in vars(module):
                replace_forward(module, partial(linear_by_onednn, module, module.forward))
