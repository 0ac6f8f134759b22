"""Micro-batches of the next step, read in a thread while this step computes."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Batch = dict[str, Tensor]


class Feed:
    """Reads one step ahead. What a step reads is a function of the step, so that nothing is lost by throwing it away."""

    def __init__(self, read: Callable[[int], list[Batch]]) -> None:
        """`read` gives the micro-batches of a step."""
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[list[Batch]]] | None = None

    def take(self, step: int, prepare_next: bool) -> tuple[list[Batch], float]:
        """The micro-batches of `step`, and the seconds that had to be waited for them."""
        began = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        batches = ahead[1].result() if ahead is not None and ahead[0] == step else self._read(step)
        waited = time.perf_counter() - began
        if prepare_next:
            self._ahead = (step + 1, self._thread.submit(self._read, step + 1))
        return batches, waited


def to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


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
