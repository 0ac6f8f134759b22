"""How well training goes: rate, utilisation, memory, and what share of the time counted."""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from tasks.record.journal import read_journal
from tasks.training.measure.flops import flops_per_token, peak_flops

WINDOW_STEPS = 20
"""Steps that a rate is taken over."""
FIRST_BYTES = 1 << 20
"""Of a journal, more than its first lines need."""


def matmul_parameters(model: nn.Module) -> float:
    """Parameters of the whole, unpartitioned model (meta device or real) that a token is multiplied with.

    All matrices but those that are only looked up; a head that shares the embedding's matrix counts once. Of the experts of a
    mixture, as many as a token is sent to.
    """
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    heads = {id(p) for p in head.parameters()} if head is not None else set()
    lookups = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()} - heads
    per_token = getattr(getattr(model, "config", None), "num_experts_per_tok", None)
    total = 0.0
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or id(parameter) in lookups:
            continue
        share = 1.0
        if per_token is not None and parameter.dim() == 3 and ".experts." in f".{name}.":
            share = per_token / parameter.shape[0]
        total += parameter.numel() * share
    return total


def attention_width(config: PretrainedConfig) -> int:
    """Heads x head_dim, which is not always the model's width."""
    heads = config.num_attention_heads
    return heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)


def model_flops_per_token(model: PreTrainedModel, sequence_length: int) -> float | None:
    """`flops_per_token` of a whole, unpartitioned model, on the meta device or real; None where it is no transformer."""
    config = model.config.get_text_config()
    if not all(isinstance(getattr(config, key, None), int) for key in ("num_hidden_layers", "num_attention_heads")):
        return None
    return flops_per_token(matmul_parameters(model), config.num_hidden_layers, attention_width(config), sequence_length)


def device_peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak of one accelerator in the arithmetic that `precision` has there; None for a CPU or an unknown one."""
    if device.type != "cuda":
        return None
    tf32 = precision == "fp32" and torch.get_float32_matmul_precision() != "highest"
    return peak_flops(torch.cuda.get_device_name(device), "tf32" if tf32 else precision)


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory that this rank held so far: allocated tensors on an accelerator, all resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage: its maximum is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def first_start(journal: Path) -> float | None:
    """When the very first attempt began, seconds since 1970, by the journal's first line; None before there is one."""
    lines, _ = read_journal(journal, max_bytes=FIRST_BYTES)
    return float(lines[0]["time"]) if lines else None


class Meter:
    """Numbers of one rank's training, step by step.

    `tokens_per_second`: median over the last 20 steps of this attempt, the first one left out as soon as there is another (it
    compiles and warms up). Tokens are those of the global batch.
    `mfu`: tokens_per_second x flops_per_token / peak of all devices; absent where the peak is unknown.
    `data_loading_share`: of the same steps, time waited for data over time in all.
    `peak_memory_bytes`: of this rank; the largest of all ranks is the caller's business.
    `checkpoint_stall_seconds`: what training waited for checkpoints in this attempt, as the caller adds it up.
    `goodput`: time in steps that count over wall time since the very first attempt began; at most 1. A step that was lost in a
    crash and done again counts once, because `training_seconds` goes back with the state to the checkpoint; start-up,
    evaluation, saving, crashes and down time are losses. Waiting for data within a step is not.
    """

    def __init__(
        self, began_at: float, flops_per_token: float | None = None, all_peak_flops: float | None = None,
        device: torch.device | None = None, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`began_at` is `first_start` of the journal, `all_peak_flops` the peak of one device x ranks."""
        self._began_at, self._device, self._clock = began_at, device or torch.device("cpu"), clock
        self._utilisation = flops_per_token / all_peak_flops if flops_per_token and all_peak_flops else None
        self._steps: deque[tuple[float, float, int]] = deque(maxlen=WINDOW_STEPS)
        self._recorded = 0
        self.latest: dict[str, Any] = {}
        """What the last `record` gave; empty before the first step of this attempt."""

    def record(
        self, step_seconds: float, data_seconds: float, tokens: int, training_seconds: float,
        checkpoint_stall_seconds: float = 0.0,
    ) -> dict[str, Any]:  # fmt: skip
        """The numbers after one more step.

        `training_seconds` is the time in steps that count over all attempts, this step included.
        """
        if self._recorded == 1:
            self._steps.clear()
        self._recorded += 1
        self._steps.append((max(step_seconds, 1e-9), data_seconds, tokens))
        rate = median(count / seconds for seconds, _, count in self._steps)
        wall = max(self._clock() - self._began_at, training_seconds, 1e-9)
        found: dict[str, Any] = {"tokens_per_second": round(rate, 1)}
        if self._utilisation is not None:
            found["mfu"] = round(rate * self._utilisation, 4)
        self.latest = found | {
            "data_loading_share": round(sum(s[1] for s in self._steps) / sum(s[0] for s in self._steps), 4),
            "peak_memory_bytes": peak_memory_bytes(self._device),
            "checkpoint_stall_seconds": round(checkpoint_stall_seconds, 3),
            "goodput": round(training_seconds / wall, 4),
        }
        return self.latest

    @property
    def typical_step_seconds(self) -> float:
        """Median over the same steps, for an estimate of the time left; 0 before the first step."""
        return median(seconds for seconds, _, _ in self._steps) if self._steps else 0.0
