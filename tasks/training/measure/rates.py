"""How fast this machine's processors are at what training does most, by trying: products, and what lies between them.

    python -m tasks.training.measure.rates    # prints the rates as JSON, after about two seconds

One thread tries, in repetitions shorter than what a scheduler gives at a time, of which the fastest counts: so it is what a
core can do, and not what others on the machine leave at the moment. The machine is taken to do that on each of its cores.
"""

import os
import time
from collections.abc import Callable
from functools import partial

from pydantic import BaseModel, ConfigDict

ROWS = 512
SHORT, LONG = 128, 512
"""Widths of the square matrices that are multiplied: from both follows how much a short dimension costs."""
KERNEL_BYTES = 28
"""Of each fp32 value that is read and written by SiLU (8), the product with its gate (12) and softmax (8)."""
SECONDS_PER_TRIAL = 0.35


class Rates(BaseModel):
    """Of all processors together."""

    model_config = ConfigDict(frozen=True)

    fp32_flops: float
    """Floating-point operations per second in products of large matrices."""
    bf16_flops: float
    short_dimension: float
    """A product whose smallest dimension is this long runs at half of that; the mean of both precisions."""
    memory_bandwidth: float
    """Bytes per second that kernels between products read and write: those with an exponential are slower than copies."""


def fastest(work: Callable[[], object], seconds: float = SECONDS_PER_TRIAL) -> float:
    """Seconds of the fastest repetition within so many seconds; at least three, of which the first warms up."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def limit_and_short_dimension(short_rate: float, long_rate: float) -> tuple[float, float]:
    """R and S of rate(n) = R n / (n + S), which goes through the rates at SHORT and LONG; S is at most three times LONG."""
    slope = (1 / short_rate - 1 / long_rate) / (1 / SHORT - 1 / LONG)
    slope = min(max(0.0, slope), 0.75 * LONG / long_rate)
    limit = 1 / (1 / long_rate - slope / LONG)
    return limit, slope * limit


def measured() -> Rates:
    """Two seconds of one of the cores that this process may use."""
    import torch  # here, because who reads rates need not load it

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    limits = {}
    for dtype in (torch.float32, torch.bfloat16):
        flops = []
        for width in (SHORT, LONG):
            inputs, matrix = torch.randn(ROWS, width).to(dtype), torch.randn(width, width).to(dtype)
            seconds = fastest(partial(torch.matmul, inputs, matrix))
            seconds += fastest(partial(torch.matmul, inputs.T, inputs))  # as the gradient by the matrix
            flops.append(4 * ROWS * width * width / seconds)
        limits[dtype] = limit_and_short_dimension(*flops)
    values = torch.randn(8 * ROWS, LONG)
    gated = fastest(lambda: torch.nn.functional.silu(values) * values)
    normalised = fastest(partial(torch.softmax, values, -1))
    return Rates(
        fp32_flops=cores * limits[torch.float32][0],
        bf16_flops=cores * limits[torch.bfloat16][0],
        short_dimension=sum(short for _, short in limits.values()) / len(limits),
        memory_bandwidth=cores * KERNEL_BYTES * values.numel() / (gated + normalised),
    )


if __name__ == "__main__":
    print(measured().model_dump_json())
