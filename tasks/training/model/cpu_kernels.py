"""fp32 matrix products by oneDNN where it is the faster library: on AMD processors with AVX-512, which MKL does not use there.

Measured on two cores of an EPYC (Zen 4) at the shapes of a 5.5 M-parameter model, forward and input gradient: 187 to 215
GFLOP/s against MKL's 162 to 192, and a whole step a tenth faster. bf16 products are oneDNN's already.
"""

import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


@cache
def prefers_onednn() -> bool:
    """Whether fp32 products are faster with oneDNN on this processor: a property of the machine, never of a timing."""
    processor = Path("/proc/cpuinfo")
    return (
        platform.machine() == "x86_64"
        and processor.exists()
        and "AuthenticAMD" in processor.read_text()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def takes(*tensors: Tensor) -> bool:
    """Whether the product of these is to be computed by `product`."""
    return prefers_onednn() and all(t.dtype == torch.float32 and t.device.type == "cpu" and t.numel() > 0 for t in tensors)


def product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b.T` of (..., K) and (N, K), fp32 on the CPU, without gradients."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


class OneDnnLinear(torch.autograd.Function):
    """`torch.nn.functional.linear` of (..., K), (N, K) and no bias; the weight's gradient is MKL's, which is as fast there."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        by_inputs = product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        by_weight = gradient.flatten(0, -2).T @ inputs.flatten(0, -2) if ctx.needs_input_grad[1] else None
        return by_inputs, by_weight


def linear_by_onednn(module: nn.Linear, forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """`module` of (..., K), by its own `forward` where that is not slower."""
    weight = module.weight
    plain = not isinstance(weight, DTensor) and module.bias is None and inputs.ndim > 1
    if plain and takes(inputs, weight) and not torch.is_autocast_enabled("cpu"):
        return OneDnnLinear.apply(inputs, weight)
    return forward(inputs)
