"""Initial weights that are the same on every layout, made shard by shard: no rank ever holds the whole model.

The architecture's own initialisation is run on the meta device, where it costs nothing, and what it writes is recorded. The
record is played back for each block of rows with a generator of its own, seeded by (seed, parameter, block).
"""

import hashlib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from tasks.training.model.pieces import box_of

BLOCK_ELEMENTS = 2**20
"""Values made at once, 4 MiB: a rank makes at most a block more than it keeps of a row-sharded matrix."""


@dataclass(frozen=True)
class Write:
    """One in-place operation on a parameter, or on some of its rows."""

    operation: Any
    """As torch dispatches it (`OpOverload`)."""
    arguments: tuple[Any, ...]
    rows: tuple[int, int] | None
    """First and last+1 row written; None for what is not whole rows."""
    view: tuple[tuple[int, ...], tuple[int, ...], int]
    """Size, stride and offset of what is written."""


class WriteRecorder(TorchDispatchMode):
    """Notes the in-place operations on the parameters of a meta model, by name."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        super().__init__()
        self._names = {p.untyped_storage()._cdata: name for name, p in parameters.items()}
        self._shapes = {name: p.shape for name, p in parameters.items()}
        self.writes: dict[str, list[Write]] = {name: [] for name in parameters}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        first = func._schema.arguments[0] if func._schema.arguments else None
        if first is not None and first.alias_info is not None and first.alias_info.is_write and isinstance(args[0], Tensor):
            name = self._names.get(args[0].untyped_storage()._cdata)
            if name is not None and any(isinstance(a, Tensor) and a.is_meta for a in args[1:]):
                raise NotImplementedError(f"its initialisation computes {name} from other values")
            if name is not None:
                target, row = args[0], math.prod(self._shapes[name][1:])
                start, count = int(target.storage_offset()), target.numel()
                whole = target.is_contiguous() and start % row == 0 and count % row == 0
                rows = (start // row, (start + count) // row) if whole else None
                view = (tuple(target.shape), target.stride(), start)
                self.writes[name].append(Write(func, tuple(args[1:]), rows, view))
        return out


def recorded_writes(model: PreTrainedModel) -> dict[str, list[Write]]:
    """What the architecture's initialisation does to each parameter of a model on the meta device, tied ones once.

    Raises NotImplementedError for a parameter that it leaves as it is, or computes from other values.
    """
    for module in model.modules():
        with suppress(AttributeError):
            del module._is_hf_initialized
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            with suppress(AttributeError):
                delattr(tensor, "_is_hf_initialized")
    recorder = WriteRecorder(dict(model.named_parameters()))
    with recorder:
        model.initialize_weights()
    if untouched := [name for name, writes in recorder.writes.items() if not writes]:
        raise NotImplementedError(f"its initialisation leaves {untouched[0]} as it is")
    return recorder.writes


def fill_at_random(
    parameters: Mapping[str, Tensor], shapes: dict[str, torch.Size], writes: dict[str, list[Write]], seed: int
) -> None:
    """Give this rank's part of every parameter its initial values; `shapes` are of the whole parameters."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            offset, shape = box_of(parameter)
            local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            if local.numel() > 0:
                fill_box(local, offset, shape, shapes[name], writes[name], f"{seed}:{name}")


def fill_box(
    local: Tensor, offset: tuple[int, ...], shape: tuple[int, ...], whole: torch.Size, writes: list[Write], seed: str
) -> None:
    """Fill `local`, which lies at `offset` in a parameter of shape `whole`, block of rows by block of rows."""
    num_rows, row = whole[0], math.prod(whole[1:])
    step = num_rows if any(write.rows is None for write in writes) else max(1, BLOCK_ELEMENTS // row)
    columns = tuple(slice(o, o + s) for o, s in zip(offset[1:], shape[1:], strict=True))
    first, last = offset[0], offset[0] + shape[0]
    for start in range(first // step * step, last, step):
        block = played_back(whole, start, min(start + step, num_rows), writes, f"{seed}:{start // step}")
        low, high = max(first, start), min(last, start + len(block))
        local[low - first : high - first].copy_(block[low - start : high - start][(slice(None), *columns)])


def played_back(whole: torch.Size, start: int, end: int, writes: list[Write], seed: str) -> Tensor:
    """Rows `start` to `end` of a parameter after its recorded writes, fp32 on the CPU."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little") >> 1
    generator = torch.Generator().manual_seed(number)
    block = torch.empty(end - start, *whole[1:])
    for write in writes:
        if write.rows is None:
            target = block.as_strided(*write.view)
        else:
            target = block[max(write.rows[0], start) - start : max(0, min(write.rows[1], end) - start)]
        if target.numel() > 0:
            takes_generator = any(argument.name == "generator" for argument in write.operation._schema.arguments)
            write.operation(target, *write.arguments, **({"generator": generator} if takes_generator else {}))
    return block
