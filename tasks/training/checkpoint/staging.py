"""A copy of weights and moments in memory that is used again and again, made while training goes on."""

import math
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.training.checkpoint.files import bytes_of
from tasks.training.model.pieces import Piece

ALIGNMENT = 64
"""Bytes; every tensor of the copy begins at a multiple of it."""


class Staging:
    """One buffer, as large as what this rank writes. On GPU machines it is page-locked.

    For each checkpoint: `start` and `hold_back` on the training thread, `complete` on the thread that writes.
    """

    def __init__(self) -> None:
        self._layout: list[tuple[torch.dtype, torch.Size]] = []
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._copies: list[Tensor] = []
        self._sources: list[Tensor] = []
        self._stream: torch.cuda.Stream | None = None
        self._copied: torch.cuda.Event | None = None
        self._lock_ends: weakref.finalize | None = None

    def start(self, shares: list[Piece]) -> list[Tensor]:
        """Begin to copy; returns the tensors of the copy, which hold the values after `complete`.

        Values on a GPU are copied by a stream of its own, behind what has been launched so far; those in memory by `complete`.
        """
        sources = [share.tensor for share in shares]
        layout = [(source.dtype, source.shape) for source in sources]
        if layout != self._layout:
            self._reserve(sources)
            self._layout = layout
        self._sources, self._copied = sources, None
        device = next((source.device for source in sources if source.is_cuda), None)
        if device is not None:
            self._stream = self._stream or torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(self._stream):
                for copy, source in zip(self._copies, sources, strict=True):
                    copy.copy_(source, non_blocking=True)
                self._copied = self._stream.record_event()
        return self._copies

    def hold_back(self) -> bool:
        """Make what is launched on the GPU from now on wait for its copy, while the CPU goes on; False without a GPU."""
        if self._copied is None:
            return False
        torch.cuda.current_stream().wait_event(self._copied)
        return True

    def complete(self) -> None:
        """Copy what lies in memory, or wait until the GPU has copied."""
        if self._copied is not None:
            self._copied.synchronize()
        else:
            for copy, source in zip(self._copies, self._sources, strict=True):
                # numpy, since it copies with one thread: torch would start a second team of them beside the training's.
                np.copyto(np.asarray(bytes_of(copy)), np.asarray(bytes_of(source)))
        self._sources = []

    def _reserve(self, sources: list[Tensor]) -> None:
        starts, size = [], 0
        for source in sources:
            starts.append(size)
            size += math.ceil(source.numel() * source.element_size() / ALIGNMENT) * ALIGNMENT
        if size != self._buffer.numel():
            self._unlock()
            self._buffer = torch.empty(size, dtype=torch.uint8)
            if any(source.is_cuda for source in sources):
                self._lock()
        self._copies = []
        for start, source in zip(starts, sources, strict=True):
            part = self._buffer[start : start + source.numel() * source.element_size()]
            self._copies.append(part.view(source.dtype).view(source.shape))

    def _lock(self) -> None:
        """Page-lock the buffer: torch's own page-locked tensors are rounded up to a power of two, to almost twice the bytes."""
        if self._buffer.numel() > 0:
            address = self._buffer.data_ptr()
            require_success(torch.cuda.cudart().cudaHostRegister(address, self._buffer.numel(), 0))
            # CUDA would refuse to lock the next buffer at this address, if this one were gone and still locked.
            self._lock_ends = weakref.finalize(self, unlock, address)

    def _unlock(self) -> None:
        if self._lock_ends is not None:
            self._lock_ends()
            self._lock_ends = None


def unlock(address: int) -> None:
    """Give page-locked memory back."""
    require_success(torch.cuda.cudart().cudaHostUnregister(address))


def require_success(error: Any) -> None:
    """Raises RuntimeError for an error of CUDA's run-time library; 0 is success."""
    if int(error) != 0:
        raise RuntimeError(
            f"memory for checkpoints could not be page-locked: {error}; raise the limit of locked memory (ulimit -l)"
        )
