"""Training runs that others published, as work that the planner can be asked about, with where each figure stands.

A row is one measured rate. `fitted` rows chose the constants of tasks/planning/step_time.py; the others were only compared.
Hardware that a source does not name is what its machines are known to have: 8 GPUs, 25 GB/s of network for each A100 and 50
GB/s for each H100. OLMo-core does not say on how many machines it measured: 8 are taken, of which each holds a whole copy
(HSDP).
"""

from dataclasses import dataclass, replace
from typing import Literal

from tasks.config.parallel import Layout
from tasks.planning.hardware import ACCELERATORS, Accelerator, limited
from tasks.planning.memory import peak_memory
from tasks.planning.search import with_slack
from tasks.planning.shapes import Shape
from tasks.planning.step_time import step_time
from tasks.planning.work import OURS, Work

TORCHTITAN_A100 = "pytorch/torchtitan docs/performance.md at 0413364"
TORCHTITAN_H100 = "pytorch/torchtitan benchmarks/llama3_h100_202412_torchtitan.md at 31a17bf, measured 2024-12"
TORCHTITAN_H200 = "pytorch/torchtitan benchmarks/llama3_8b_h200_2025-06_torchtitan.md at bcdeaa3"
FMS = "foundation-model-stack/fms-fsdp README.md at 0d31998"
OLMO = "allenai/OLMo-core README.md with a row for 32B (2025-03), and src/scripts/train/OLMo2-*.py, Llama3-8B.py"
OLMO_FIRST = "allenai/OLMo-core OLMo-1B.py at 00d34f6: 45 to 47 thousand by the README.md of v1.2, 44 by that of v1.5 (2024-10)"
OLMO_32B = f"{OLMO}: OLMo2-32B.py at 016e426, on Google's A3 Mega with 200 Gbit/s for each GPU"
LINGUA = "facebookresearch/lingua issue 56, 2024-11-15"
FOUNDRY = "mosaicml/llm-foundry scripts/train/benchmarking/README.md at 061f2c7"
KEMPNER = "KempnerInstitute/KempnerForge benchmarks/mfu_scaling/mfu_scaling_2026-04-05.md at 9f3f03a"
KEMPNER_LARGE = "KempnerInstitute/KempnerForge benchmarks/175b_360gpu/README.md at b62d2e3, 2026-07-03"
LLAMA3 = "The Llama 3 Herd of Models, arXiv:2407.21783, table 4; that a rank has 8 of the interleaved stages is assumed"
KORTHIKANTI = "Korthikanti et al. 2022, arXiv:2205.05198, tables 3 and 5, quoted from memory but for the 56.3 % of 1T"
DGXC_175 = "NVIDIA/dgxc-benchmarking nemo_megatron/README_175b.md at 0b71cfd"
DGXC_340 = "NVIDIA/dgxc-benchmarking nemotron/README_340b.md at 143b90d"
NEMO = "NVIDIA/NeMo docs/source/performance/performance_summary.md at 070a0bb"
BRIDGE = "NVIDIA-NeMo/Megatron-Bridge docs/performance-summary.md at 00b7660"

Software = Literal["eager", "compiled", "megatron"]


@dataclass(frozen=True)
class PublishedRun:
    """One run and its rate."""

    name: str
    source: str
    gpu: str
    """Name in the planner's table of accelerators."""
    shape: Shape
    layout: Layout
    micro_batch_size: int
    sequence_length: int
    micro_batches: int
    recomputed: Literal["none", "selective", "every other product", "full"]
    rate: float
    """Tokens per second and GPU."""
    software: Software
    watts: float | None = None
    """Power limit, where it is not the data sheet's."""
    memory_bandwidth: float | None = None
    """Bytes per second, where the card has another memory than the data sheet's."""
    memory_bytes: float | None = None
    network_bandwidth: float | None = None
    """Bytes per second of a GPU's share, where it is not the table's."""
    per_node: int = 8
    fitted: bool = False
    states: Literal["fp32", "bf16"] = "fp32"


def llama(layers: int, hidden: int, width: int, heads: int, key_value_heads: int, rows: int, norms: bool = False) -> Shape:
    return Shape(
        "llama", layers, hidden, width, heads, key_value_heads, hidden // heads, rows, 0, tied=False, query_key_norm=norms
    )


def gpt(layers: int, hidden: int, heads: int, rows: int, key_value_heads: int = 0, tied: bool = True) -> Shape:
    """With a feed-forward part of four times the width and two matrices."""
    return Shape(
        "gpt2", layers, hidden, 4 * hidden, heads, key_value_heads or heads, hidden // heads, rows, 0, tied=tied, gated=False,
        norm_bias=True,
    )  # fmt: skip


def rate_of(utilisation: float, shape: Shape, sequence_length: int, peak: float) -> float:
    """Tokens per second and GPU of a published model FLOPs utilisation; attention counts in full, as in those papers."""
    return utilisation * peak / shape.flops_per_token(sequence_length)


LLAMA3_8B = llama(32, 4096, 14336, 32, 8, 128256)
LLAMA3_70B = llama(80, 8192, 28672, 64, 8, 128256)
LLAMA3_405B = llama(126, 16384, 53248, 128, 8, 128256)
LLAMA2_7B = llama(32, 4096, 11008, 32, 32, 32000)
LLAMA2_13B = llama(40, 5120, 13824, 40, 40, 32000)
LLAMA2_34B = llama(48, 8192, 22016, 64, 8, 32000)
LLAMA2_70B = llama(80, 8192, 28672, 64, 8, 32000)
OLMO_1B = llama(16, 2048, 8192, 16, 16, 50304)
OLMO2_1B = llama(18, 2048, 5632, 16, 16, 100352, norms=True)
OLMO2_7B = llama(32, 4096, 11008, 32, 32, 100352, norms=True)
OLMO2_13B = llama(40, 5120, 13824, 40, 40, 100352, norms=True)
OLMO2_32B = llama(64, 5120, 27648, 40, 8, 100352, norms=True)
OLMO_LLAMA_8B = llama(32, 4096, 14336, 32, 8, 100352)
KEMPNER_13B = llama(40, 5120, 17920, 40, 8, 128256)
KEMPNER_175B = llama(96, 12288, 39680, 96, 8, 128256)
MPT = {
    "125m": gpt(12, 768, 12, 50368), "1b": gpt(24, 2048, 16, 50368), "3b": gpt(32, 2560, 20, 50368),
    "7b": gpt(32, 4096, 32, 50368), "13b": gpt(40, 5120, 40, 50368), "30b": gpt(48, 7168, 56, 50368),
}  # fmt: skip
GPT3_5B = gpt(24, 4096, 32, 51200)
GPT3_20B = gpt(44, 6144, 48, 51200)
GPT3_22B = gpt(48, 6144, 64, 51200)
GPT3_175B = gpt(96, 12288, 96, 51200)
GPT3_530B = gpt(105, 20480, 128, 51200)
GPT3_1T = gpt(128, 25600, 160, 51200)
NEMOTRON_340B = gpt(96, 18432, 96, 256000, 8, tied=False)

SHARD, HYBRID = Layout(shard=8), Layout(replicate=8, shard=8)
GRAND_TETON = {"watts": 500.0, "memory_bytes": 95 * 2**30, "memory_bandwidth": 2.4e12}
"""H100s of Meta's machines of that name: 96 GB of HBM2e, limited to 500 W."""
FULL, OTHER = "full", "every other product"

DENSE = (
    # name, source, gpu, shape, layout, micro-batch, length, count, recomputed, tokens/s/GPU, software
    PublishedRun("torchtitan 8B, 8 GPUs, compiled", TORCHTITAN_H100, "h100", LLAMA3_8B, SHARD, 2, 8192, 1, OTHER, 6667,
                 "compiled", **GRAND_TETON, fitted=True),
    PublishedRun("torchtitan 8B, 128 GPUs, compiled", TORCHTITAN_H100, "h100", LLAMA3_8B, Layout(shard=128), 2, 8192, 1, OTHER,
                 6514, "compiled", **GRAND_TETON),
    PublishedRun("torchtitan 8B, 8 GPUs", TORCHTITAN_H100, "h100", LLAMA3_8B, SHARD, 2, 8192, 1, OTHER, 5762, "eager",
                 **GRAND_TETON, fitted=True),
    PublishedRun("torchtitan 8B, 128 GPUs", TORCHTITAN_H100, "h100", LLAMA3_8B, Layout(shard=128), 2, 8192, 1, OTHER, 5605,
                 "eager", **GRAND_TETON),
    PublishedRun("torchtitan 8B", TORCHTITAN_A100, "a100", LLAMA3_8B, Layout(shard=64), 1, 8192, 1, OTHER, 2973, "eager"),
    PublishedRun("torchtitan 70B", TORCHTITAN_A100, "a100", LLAMA3_70B, Layout(shard=64), 1, 8192, 1, FULL, 331, "eager",
                 fitted=True),
    PublishedRun("torchtitan Llama 2 13B", TORCHTITAN_A100, "a100", LLAMA2_13B, Layout(shard=64), 2, 4096, 1, "none", 2162,
                 "eager", fitted=True),
    PublishedRun("torchtitan Llama 2 13B", TORCHTITAN_A100, "a100", LLAMA2_13B, Layout(shard=64), 2, 4096, 1, OTHER, 1904,
                 "eager"),
    PublishedRun("torchtitan Llama 2 70B", TORCHTITAN_A100, "a100", LLAMA2_70B, Layout(shard=64), 1, 4096, 1, OTHER, 355,
                 "eager"),
    PublishedRun("torchtitan Llama 2 70B", TORCHTITAN_A100, "a100", LLAMA2_70B, Layout(shard=64), 2, 4096, 1, FULL, 353,
                 "eager"),
    PublishedRun("fms-fsdp 7B", FMS, "a100", LLAMA2_7B, Layout(replicate=16, shard=8), 2, 4096, 1, "none", 3760, "eager",
                 fitted=True),
    PublishedRun("fms-fsdp 13B", FMS, "a100", LLAMA2_13B, Layout(replicate=16, shard=8), 1, 4096, 1, "none", 1700, "eager",
                 fitted=True),
    PublishedRun("fms-fsdp 34B", FMS, "a100", LLAMA2_34B, Layout(shard=128), 8, 4096, 1, FULL, 772, "eager"),
    PublishedRun("fms-fsdp 70B", FMS, "a100", LLAMA2_70B, Layout(shard=128), 6, 4096, 1, FULL, 380, "eager"),
    PublishedRun("OLMo-core 1B of 2024", OLMO_FIRST, "h100", OLMO_1B, Layout(shard=64), 4, 4096, 4, "none", 45500, "compiled"),
    PublishedRun("OLMo-core 1B", OLMO, "h100", OLMO2_1B, HYBRID, 8, 4096, 1, "none", 55000, "compiled", fitted=True),
    PublishedRun("OLMo-core 7B", OLMO, "h100", OLMO2_7B, HYBRID, 2, 4096, 8, "none", 10000, "compiled", fitted=True),
    PublishedRun("OLMo-core Llama 8B", OLMO, "h100", OLMO_LLAMA_8B, HYBRID, 2, 4096, 8, "none", 9500, "compiled"),
    PublishedRun("OLMo-core 13B", OLMO, "h100", OLMO2_13B, HYBRID, 1, 4096, 32, "none", 4600, "compiled"),
    PublishedRun("OLMo-core 32B", OLMO_32B, "h100", OLMO2_32B, Layout(replicate=32, shard=16), 1, 4096, 4, FULL, 1500,
                 "compiled", network_bandwidth=25e9),
    PublishedRun("lingua 7B, 8 GPUs", LINGUA, "h100", llama(32, 4096, 11008, 32, 32, 128256), SHARD, 2, 4096, 1, "none", 9080,
                 "compiled"),
    PublishedRun("KempnerForge 8B, one GPU", KEMPNER, "h200", LLAMA3_8B, Layout(), 4, 4096, 2, FULL, 10471, "compiled",
                 per_node=4, states="bf16"),
    PublishedRun("KempnerForge 8B, 4 GPUs", KEMPNER, "h200", LLAMA3_8B, Layout(shard=4), 4, 4096, 2, FULL, 9746, "compiled",
                 per_node=4, states="bf16"),
    PublishedRun("MPT 125m", FOUNDRY, "a100", MPT["125m"], SHARD, 32, 2048, 2, "none", 141737, "compiled"),
    PublishedRun("MPT 1b", FOUNDRY, "a100", MPT["1b"], SHARD, 14, 2048, 4, "none", 20513, "compiled", fitted=True),
    PublishedRun("MPT 3b", FOUNDRY, "a100", MPT["3b"], SHARD, 10, 2048, 2, "none", 10811, "compiled"),
    PublishedRun("MPT 7b", FOUNDRY, "a100", MPT["7b"], SHARD, 6, 2048, 2, "none", 4641, "compiled"),
    PublishedRun("MPT 7b", FOUNDRY, "a100", MPT["7b"], SHARD, 16, 4096, 2, FULL, 3684, "compiled"),
    PublishedRun("MPT 13b", FOUNDRY, "a100", MPT["13b"], SHARD, 2, 2048, 3, "none", 2262, "compiled"),
    PublishedRun("MPT 30b", FOUNDRY, "a100", MPT["30b"], SHARD, 3, 2048, 21, FULL, 916, "compiled"),
)  # fmt: skip

PIPELINES = (
    PublishedRun("Llama 3 405B, 8,192 GPUs", LLAMA3, "h100", LLAMA3_405B, Layout(16, 1, 64, 8, 8), 1, 8192, 32, "none",
                 rate_of(0.43, LLAMA3_405B, 8192, 989.4e12), "megatron"),
    PublishedRun("Llama 3 405B, 16,384 GPUs", LLAMA3, "h100", LLAMA3_405B, Layout(16, 1, 128, 8, 8), 1, 8192, 16, "none",
                 rate_of(0.41, LLAMA3_405B, 8192, 989.4e12), "megatron"),
    PublishedRun("GPT-3 175B, 128 GPUs", DGXC_175, "h100", GPT3_175B, Layout(8, 1, 4, 4, 12), 1, 2048, 64, "none",
                 63099 / 128, "megatron"),
    PublishedRun("GPT-3 175B, 2,048 GPUs", DGXC_175, "h100", GPT3_175B, Layout(8, 1, 64, 4, 12), 1, 2048, 64, "none",
                 988057 / 2048, "megatron"),
    PublishedRun("Nemotron 340B, 128 GPUs", DGXC_340, "h100", NEMOTRON_340B, Layout(8, 1, 2, 8, 12), 1, 4096, 16, "none",
                 28432 / 128, "megatron"),
    PublishedRun("Nemotron 340B, 2,048 GPUs", DGXC_340, "h100", NEMOTRON_340B, Layout(8, 1, 32, 8, 12), 1, 4096, 16, "none",
                 433296 / 2048, "megatron"),
    PublishedRun("GPT-3 175B", KORTHIKANTI, "a100", GPT3_175B, Layout(8, 1, 1, 8, 3), 1, 2048, 64, "selective",
                 rate_of(0.514, GPT3_175B, 2048, 312e12), "megatron"),
    PublishedRun("530B", KORTHIKANTI, "a100", GPT3_530B, Layout(35, 1, 1, 8, 3), 1, 2048, 280, "selective",
                 rate_of(0.560, GPT3_530B, 2048, 312e12), "megatron"),
    PublishedRun("1T, not interleaved", KORTHIKANTI, "a100", GPT3_1T, Layout(64, 1, 1, 8), 1, 2048, 512, "selective",
                 rate_of(0.563, GPT3_1T, 2048, 312e12), "megatron"),
)  # fmt: skip

TENSOR = (
    PublishedRun("KempnerForge 8B, 4 GPUs", KEMPNER, "h200", LLAMA3_8B, Layout(tensor_parallel=4), 4, 4096, 2, FULL, 25135 / 4,
                 "compiled", per_node=4, states="bf16"),
    PublishedRun("KempnerForge 13B, 32 GPUs", KEMPNER, "h200", KEMPNER_13B, Layout(shard=8, tensor_parallel=4), 4, 4096, 4,
                 FULL, 104309 / 32, "compiled", per_node=4, states="bf16"),
    PublishedRun("KempnerForge 175B, 360 GPUs", KEMPNER_LARGE, "h200", KEMPNER_175B, Layout(shard=90, tensor_parallel=4), 8,
                 4096, 1, FULL, 154523 / 360, "compiled", per_node=4),
)  # fmt: skip

FP8 = (
    PublishedRun("torchtitan 8B, 8 GPUs", TORCHTITAN_H100, "h100", LLAMA3_8B, SHARD, 2, 8192, 1, OTHER, 8532, "compiled",
                 **GRAND_TETON, fitted=True),
    PublishedRun("torchtitan 8B, 128 GPUs", TORCHTITAN_H100, "h100", LLAMA3_8B, Layout(shard=128), 2, 8192, 1, OTHER, 8380,
                 "compiled", **GRAND_TETON),
    PublishedRun("torchtitan 8B, 64 GPUs", TORCHTITAN_H200, "h200", LLAMA3_8B, Layout(shard=64), 2, 8192, 1, OTHER, 10753,
                 "compiled"),
    PublishedRun("OLMo-core 1B", OLMO, "h100", OLMO2_1B, HYBRID, 8, 4096, 1, "none", 65000, "compiled"),
    PublishedRun("OLMo-core 7B", OLMO, "h100", OLMO2_7B, HYBRID, 2, 4096, 8, "none", 13000, "compiled", fitted=True),
    PublishedRun("OLMo-core Llama 8B", OLMO, "h100", OLMO_LLAMA_8B, HYBRID, 2, 4096, 8, "none", 12500, "compiled"),
    PublishedRun("OLMo-core 13B", OLMO, "h100", OLMO2_13B, HYBRID, 1, 4096, 32, "none", 5500, "compiled"),
    PublishedRun("OLMo-core 32B", OLMO_32B, "h100", OLMO2_32B, Layout(replicate=32, shard=16), 1, 4096, 4, FULL, 1800,
                 "compiled", network_bandwidth=25e9),
    PublishedRun("GPT-3 5B", NEMO, "h100", GPT3_5B, Layout(replicate=64), 4, 2048, 8, "none", 22521, "megatron"),
    PublishedRun("Llama 2 7B", NEMO, "h100", LLAMA2_7B, Layout(replicate=8), 1, 4096, 16, "none", 16847, "megatron"),
    PublishedRun("Llama 2 13B, pipeline", NEMO, "h100", LLAMA2_13B, Layout(4, 1, 4, 1, 10), 1, 4096, 32, "none", 8646,
                 "megatron"),
    PublishedRun("Llama 2 70B, pipeline", NEMO, "h100", LLAMA2_70B, Layout(4, 1, 4, 4, 20), 1, 4096, 32, "none", 1707,
                 "megatron"),
    PublishedRun("Llama 3 8B", BRIDGE, "h100", LLAMA3_8B, SHARD, 1, 8192, 16, "none", 14451, "megatron"),
    PublishedRun("Llama 3 70B, pipeline", BRIDGE, "h100", LLAMA3_70B, Layout(8, 1, 2, 4, 5), 1, 8192, 64, "none", 1602,
                 "megatron"),
    PublishedRun("GPT-3 175B, 128 GPUs", DGXC_175, "h100", GPT3_175B, Layout(8, 1, 4, 4, 12), 1, 2048, 64, "none",
                 93190 / 128, "megatron"),
)  # fmt: skip

OUT_OF_MEMORY = (
    PublishedRun("torchtitan Llama 2 70B with two sequences", f"{TORCHTITAN_A100}, footnote 1", "a100", LLAMA2_70B,
                 Layout(shard=64), 2, 4096, 1, OTHER, 0, "eager"),
    PublishedRun("torchtitan 8B on two GPUs", "pytorch/torchtitan issue 620, 2024-10-15: two RTX 6000 Ada with 48 GB", "l40s",
                 LLAMA3_8B, Layout(shard=2), 1, 8192, 1, OTHER, 0, "eager"),
)  # fmt: skip
"""Runs that ended for want of memory."""


def device_of(run: PublishedRun) -> Accelerator:
    """The planner's device as that run had it."""
    device = ACCELERATORS[run.gpu] if run.watts is None else limited(ACCELERATORS[run.gpu], run.watts)
    return replace(
        device,
        per_node=run.per_node,
        memory_bytes=run.memory_bytes or device.memory_bytes,
        memory_bandwidth=run.memory_bandwidth or device.memory_bandwidth,
        network_bandwidth=run.network_bandwidth or device.network_bandwidth,
    )


def work_of(run: PublishedRun, fp8: bool = False) -> Work:
    half = run.recomputed == OTHER
    return Work(
        run.shape, run.layout, run.micro_batch_size, run.sequence_length, run.micro_batches, "bf16",
        "selective" if half else run.recomputed, on_gpu=True, compiled=run.software != "eager", state_precision=run.states,
        convention=replace(OURS, residual_bytes=2, recomputed_products=0.5 if half else 0.0), fp8_products=fp8,
    )  # fmt: skip


def least_memory(run: PublishedRun) -> float:
    """Bytes with less of which the planner would refuse the run."""
    return with_slack(peak_memory(replace(work_of(run), saves_fused=True)).total, device_of(run))


def predicted(run: PublishedRun, fp8: bool = False) -> float:
    """Tokens per second and GPU, by the planner."""
    work = work_of(run, fp8)
    tokens = work.tokens * work.micro_batches * run.layout.data_parallel
    return tokens / run.layout.world_size / step_time(work, device_of(run)).total
