"""Muon for the matrices of the layers, AdamW for everything else, as one optimizer.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; with the step size of Liu et al. 2025, arXiv:2502.16982, section
2.2, so that learning rate and weight decay are those of AdamW.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tasks.training.measure.limits import MUON_ITERATIONS, STACKED_ELEMENTS
from tasks.training.model.pieces import box_of

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the iteration's polynomial a x + b x^3 + c x^5: Jordan et al. 2024."""
ADAMW_ROOT_MEAN_SQUARE = 0.2
"""Of AdamW's usual update, which Muon's is scaled to (Liu et al. 2025)."""


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose parameter groups with `orthogonal=True` are matrices that are optimised with Muon.

    A sharded matrix is gathered for its step, and every rank that holds a part of it computes the whole direction.
    """

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` must be None. All ranks call it."""
        assert closure is None
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["orthogonal"]]
        super().step()
        self.param_groups = groups
        for group in groups:
            if group["orthogonal"]:
                self.step_matrices(group)

    @torch.no_grad()
    def step_matrices(self, group: dict[str, Any]) -> None:
        # fp32 keeps every layout on one loss curve; the products of bf16 take half as long on a CPU.
        dtype = torch.bfloat16 if group["precision"] == "bf16" else torch.float32
        for stack in stacks([p for p in group["params"] if p.grad is not None]):
            directions = orthogonal(torch.stack([self.gathered_momentum(p).to(dtype) for p in stack]))
            scale = ADAMW_ROOT_MEAN_SQUARE * math.sqrt(max(stack[0].shape))
            for parameter, direction in zip(stack, directions, strict=True):
                offset, shape = box_of(parameter)
                box = tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))
                local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
                local.mul_(1 - group["lr"] * group["weight_decay"])
                local.add_(direction[box].to(local.dtype), alpha=-group["lr"] * scale)

    def gathered_momentum(self, parameter: nn.Parameter) -> Tensor:
        """Nesterov's momentum of a whole matrix after its newest gradient."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None, "the loop has reduced a gradient for every parameter"
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(state["momentum"], MOMENTUM)
        return ahead.full_tensor() if isinstance(ahead, DTensor) else ahead


def stacks(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one shape together, at most `STACKED_ELEMENTS` values but at least one parameter in each list."""
    by_shape: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_shape.setdefault(parameter.shape, []).append(parameter)
    for shape, members in by_shape.items():
        count = max(1, STACKED_ELEMENTS // shape.numel())
        for start in range(0, len(members), count):
            yield members[start : start + count]


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (count, rows, columns) with the same singular vectors and singular values near 1, between about 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices  # so that the Gram matrix is the smaller of the two
    # No singular value is larger than this norm (Frobenius), so that none is above 1; from 1.27 on the iteration diverges.
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(MUON_ITERATIONS):
        gram = x @ x.mT
        # (a + b gram + c gram^2) x
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
