"""What accelerators have: memory, bandwidths, power. And which one this machine has, without loading a driver."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.planning.rates import machine_rates
from tasks.record.errors import ConfigError
from tasks.training.measure.flops import peak_flops
from tasks.training.measure.rates import Rates

GB = 1e9
GPU_INFORMATION = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Accelerator:
    """One kind of device and how it is connected. Bandwidths are per device and direction, in bytes per second."""

    name: str
    memory_bytes: float
    memory_bandwidth: float
    link_bandwidth: float
    """To the other devices of its machine: NVLink, or PCIe where there is none."""
    network_bandwidth: float
    """Its share of its machine's network."""
    watts: float
    per_node: int
    peak_bf16: float
    """Dense FLOP/s."""
    peak_fp32: float
    matmul_fraction: float
    """Share of the peak that large matrix products sustain."""
    attention_fraction: float
    """The same of fused attention, of the FLOPs that the causal mask leaves."""
    short_dimension: float
    """A product whose smallest dimension is this long runs at half of that."""
    reserved_bytes: float
    """Taken before the first tensor: the driver's context, communicators, libraries. An assumption."""
    overlaps: bool = True
    """Collectives run beside computation."""
    layer_overhead_seconds: float = 100e-6
    """Of starting the kernels of a layer's two passes, beyond what runs meanwhile. An assumption."""

    has_fp8: bool = False

    def peak(self, precision: str) -> float:
        return self.peak_bf16 if precision == "bf16" else self.peak_fp32


HOPPER, AMPERE = (0.74, 0.33), (0.80, 0.5)
"""Sustained shares of the peak, of matrix products and of attention: Hopper's power limit holds it below what Ampere reaches.

Products: fitted to published rates (`step_time`). Attention: FlashAttention-2's both passes with heads of 128 and a causal
mask, 335 of 989 TFLOP/s on an H100 and about 160 of 312 on an A100 (Dao 2023, arXiv:2307.08691, figures 5 and 7)."""
SHORT_DIMENSION = 440.0
POWER_EXPONENT = 0.69
"""Rate by power limit, relative to the data sheet's: between 1/3 (frequency and voltage fall together) and 1."""


def _gpu(
    name: str, device: str, memory: float, memory_bandwidth: float, link: float, network: float, watts: float,
    sustained: tuple[float, float],
) -> Accelerator:  # fmt: skip
    """Memory in GB of 10^9 bytes as the driver reports them; bandwidths in GB/s per direction."""
    return Accelerator(
        name, memory * GB, memory_bandwidth * GB, link * GB, network * GB, watts, 8,
        peak_flops(device, "bf16") or 0.0, peak_flops(device, "fp32") or 0.0, *sustained, SHORT_DIMENSION, 1.5 * 2**30,
        has_fp8=peak_flops(device, "fp8") is not None,
    )  # fmt: skip


ACCELERATORS = {
    accelerator.name: accelerator
    for accelerator in (
        _gpu("b200", "B200", 192.0, 8000, 900, 50, 1000, HOPPER),
        _gpu("h200", "H200", 150.7, 4800, 450, 50, 700, HOPPER),
        _gpu("h100", "H100 80GB HBM3", 85.5, 3350, 450, 50, 700, HOPPER),
        _gpu("a100", "A100 80GB", 85.9, 2039, 300, 25, 400, AMPERE),
        _gpu("l40s", "L40S", 48.3, 864, 25, 25, 350, AMPERE),
        _gpu("4090", "RTX 4090", 25.7, 1008, 20, 3, 450, AMPERE),
    )
}
"""Sources: NVIDIA's data sheets of HGX B200, H200, H100 SXM, A100 80GB SXM, L40S and the RTX 4090's white paper (memory
bandwidth, power; NVLink 4 is 900 GB/s in both directions, NVLink 3 600, NVLink 5 1800; PCIe 4.0 x16 is 32 GB/s, of which 25
are had, and 20 through the host's memory, as the 4090 must). Memory of H200 (143,771 MiB), H100 (81,559 MiB), A100 (81,920
MiB) is what nvidia-smi shows, of the others what is printed on the box. Networks are an assumption: 400 Gbit/s per GPU beside
B200, H200 and H100, 200 beside A100 and L40S, 25 beside a 4090. Eight GPUs a machine. That B200 sustains what Hopper does, and
L40S and 4090 what Ampere does, is an assumption too: no run on them was compared."""


def limited(device: Accelerator, watts: float) -> Accelerator:
    """The same device held to fewer watts than its data sheet's; raises ConfigError for a limit that it cannot have."""
    if not 0 < watts <= device.watts:
        raise ConfigError(
            f"--watts={watts:g} is no limit of one {device.name}: it takes {device.watts:g} W at most; give a number up to that"
        )
    share = (watts / device.watts) ** POWER_EXPONENT
    return replace(
        device,
        watts=watts,
        matmul_fraction=share * device.matmul_fraction,
        attention_fraction=share * device.attention_fraction,
    )


CPU_WATTS_PER_CORE = 5.0
CPU_MATMUL_FRACTION = 0.7
"""Of a product alone, in training: by the profile in tests/benchmarks/RESULTS.md 150 of 188 GFLOP/s in fp32, 293 of 480 in
bf16."""
CPU_ATTENTION_FRACTION = 0.3
"""Of the rate of products, for the pairs that the causal mask leaves: an assumption; plain attention computes all of them."""


def cpu(cores: float, share: float, memory_bytes: float, rates: Rates) -> Accelerator:
    """A CPU rank with a share of its machine, which has so many cores and these rates; `memory_bytes` is the rank's.

    Assumptions: ranks talk through memory at 2 GB/s, while they do not compute; starting a layer's kernels takes 1 ms; 5 W a
    core.
    """
    return Accelerator(
        "cpu", memory_bytes, rates.memory_bandwidth * share, 2 * GB, 1 * GB, CPU_WATTS_PER_CORE * cores * share, 2**20,
        rates.bf16_flops * share, rates.fp32_flops * share, CPU_MATMUL_FRACTION, CPU_ATTENTION_FRACTION,
        rates.short_dimension, 0.7 * 2**30, overlaps=False, layer_overhead_seconds=1e-3,
    )  # fmt: skip


def this_cpu(num_ranks: int) -> Accelerator:
    """A rank of `num_ranks` on this machine: its cores, their measured rates and its memory, divided.

    A rank has a core at least: more ranks than cores are taken to be planned for a larger machine.
    """
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return cpu(cores, max(1 / cores, 1 / num_ranks), memory / num_ranks, machine_rates())


def accelerator_named(name: str, num_ranks: int) -> Accelerator:
    """The accelerator of that name; raises ConfigError for one that is not in the table."""
    if name == "cpu":
        return this_cpu(num_ranks)
    if name not in ACCELERATORS:
        known = ", ".join([*ACCELERATORS, "cpu"])
        raise ConfigError(f"--gpu={name!r} is not in the table of accelerators; choose one of {known}")
    return ACCELERATORS[name]


def detected_gpu(information: Path = GPU_INFORMATION) -> str | None:
    """Name in the table of this machine's first NVIDIA GPU, told by its driver's files; None without one, or for another."""
    for file in sorted(information.glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            words = set(re.findall(r"[a-z0-9]+", found.group(1).lower()))
            return next((name for name in ACCELERATORS if name in words), None)
    return None
