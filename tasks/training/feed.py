"""Micro-batches of the next step, read and digested in a thread while this step computes."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.data.tokens.digest import rows_digest

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Reading:
    """What a rank reads for a step."""

    batches: list[Batch]
    token_digest: int
    """Of all their samples (`tasks.data.tokens.digest`)."""


class Feed:
    """Reads one step ahead. What a step reads is a function of the step, so that nothing is lost by throwing it away."""

    def __init__(self, read: Callable[[int], Reading]) -> None:
        """`read` gives what belongs to a step."""
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[Reading]] | None = None

    def take(self, step: int, prepare_next: bool) -> tuple[Reading, float]:
        """What belongs to `step`, and the seconds that had to be waited for it."""
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        reading = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        waited = time.perf_counter() - began
        if prepare_next:
            self._ahead = (step + 1, self._thread.submit(self._read, step + 1))
        return reading, waited


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: on_device(tensor, device) for name, tensor in batch.items()}


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, which this does not wait for."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def digest_of_rows(places: np.ndarray, _ids: np.ndarray, batch: Batch) -> int:
    """Of a micro-batch in which every row is a sample of text, by its tokens, targets and positions."""
    return rows_digest(places, [batch[name].numpy() for name in ("input_ids", "labels", "position_ids")])


class HostNumbers:
    """Numbers on their way from the device, which need not wait for them."""

    def __init__(self, numbers: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._numbers = numbers
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def get(self) -> list[float]:
        """Wait until they are here."""
        if self._event is not None:
            self._event.synchronize()
        return self._numbers.tolist()
