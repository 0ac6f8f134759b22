"""Arithmetic of training a transformer, and what accelerators can do at most. Pure: needs no torch."""

import re

TERA = 1e12
PEAKS: dict[str, dict[str, float]] = {
    "gb200": {"fp8": 5000, "bf16": 2500, "tf32": 1250, "fp32": 80},
    "b200": {"fp8": 4500, "bf16": 2250, "tf32": 1125, "fp32": 75},
    "gh200": {"fp8": 1979, "bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "h200 nvl": {"fp8": 1671, "bf16": 835.5, "tf32": 417.5, "fp32": 60},
    "h200": {"fp8": 1979, "bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "h100 nvl": {"fp8": 1671, "bf16": 835.5, "tf32": 417.5, "fp32": 60},
    "h100 pcie": {"fp8": 1513, "bf16": 756, "tf32": 378, "fp32": 51.2},
    "h100": {"fp8": 1979, "bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "h800 pcie": {"fp8": 1513, "bf16": 756, "tf32": 378, "fp32": 51.2},
    "h800": {"fp8": 1979, "bf16": 989.4, "tf32": 494.7, "fp32": 66.9},
    "h20": {"fp8": 296, "bf16": 148, "tf32": 74, "fp32": 44},
    "a100": {"bf16": 312, "tf32": 156, "fp32": 19.5},
    "a800": {"bf16": 312, "tf32": 156, "fp32": 19.5},
    "a10": {"bf16": 125, "tf32": 62.5, "fp32": 31.2},
    "a6000": {"bf16": 154.8, "tf32": 77.4, "fp32": 38.7},
    "l40s": {"fp8": 733, "bf16": 362, "tf32": 183, "fp32": 91.6},
    "l40": {"fp8": 362, "bf16": 181, "tf32": 90.5, "fp32": 90.5},
    "l4": {"fp8": 242.5, "bf16": 121, "tf32": 60, "fp32": 30.3},
    "6000 ada": {"fp8": 728.5, "bf16": 364.2, "tf32": 182.1, "fp32": 91.1},
    "rtx 5090": {"fp8": 419, "bf16": 209.5, "tf32": 104.8, "fp32": 104.8},
    "rtx 4090": {"fp8": 330.3, "bf16": 165.2, "tf32": 82.6, "fp32": 82.6},
    "rtx 3090": {"bf16": 71, "tf32": 35.6, "fp32": 35.6},
    "mi300x": {"fp8": 2614.9, "bf16": 1307.4, "tf32": 653.7, "fp32": 163.4},
}
"""Dense TFLOPS at boost clock with fp32 accumulation, by words of the device's name; a more special name stands first.

Half of what data sheets print with 2:4 sparsity. Sources: NVIDIA's data sheets of GB200 NVL72, HGX B200, GH200, H200, H100
NVL, A100, A10, RTX A6000, L40S, L40, L4 and RTX 6000 Ada; its white papers "H100 Tensor Core GPU Architecture" (SXM, PCIe),
"Ampere GA102", "Ada GPU Architecture" and "RTX Blackwell GPU Architecture" for the GeForce cards; AMD's data sheet of the
MI300X. H800 and A800 compute as H100 and A100 do, H20 by the published comparisons.
"""
SLOWER_VARIANTS = {"laptop", "mobile", "max", "mig", "d", "ti", "super"}
"""Words that make a name another, unlisted device, or a part of one."""


def flops_per_token(num_matmul_parameters: float, num_layers: int, attention_width: int, sequence_length: int) -> float:
    """Floating-point operations of training on one token, forward and backward: 6 N + 12 layers x width x sequence_length.

    The convention of model FLOPs utilisation in Chowdhery et al., "PaLM", 2022, appendix B: each parameter in a matrix product
    costs a multiplication and an addition three times; the two products of attention count in full, without a discount for
    the causal mask; recomputation does not count. `num_matmul_parameters` leaves the embedding lookup out and counts the head;
    `attention_width` is heads x head_dim.
    """
    return 6.0 * num_matmul_parameters + 12.0 * num_layers * attention_width * sequence_length


def peak_flops(device_name: str, precision: str) -> float | None:
    """Dense peak of one device per second in "bf16", "fp32" (plain), "tf32" (fp32 inputs on tensor cores) or "fp8".

    `device_name` is what `torch.cuda.get_device_name` says. None for a device or precision that is not in the table: a
    utilisation of a guessed peak would be worth nothing.
    """
    words = re.findall(r"[a-z0-9]+", device_name.lower())
    if SLOWER_VARIANTS & set(words):
        return None
    for name, peaks in PEAKS.items():
        if set(name.split()) <= set(words):
            return peaks[precision] * TERA if precision in peaks else None
    return None
