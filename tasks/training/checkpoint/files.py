"""Sharded tensors on disk: one safetensors file per writing rank, and an index of the boxes that they hold.

`pieces.json` has for each tensor its dtype, its shape and its boxes; a box names its file, its key there, its offset in the
whole tensor and its shape. Nothing is pickled, and every file can be read with `safetensors` alone.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import safe_open
from torch import Tensor

from tasks.record.errors import IntegrityError
from tasks.record.files import FileEntry, read_json, write_json
from tasks.training.model.pieces import Piece

INDEX_NAME = "pieces.json"
FORMAT_VERSION = 1
BLOCK_BYTES = 2**22
"""Hashed while it is in the processor's cache, then written."""
DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""Names of the safetensors format."""
WIDTHS = {name: dtype.itemsize for dtype, name in DTYPES.items()}


@dataclass(frozen=True)
class StoredBox:
    """A part of a tensor in a file."""

    file: str
    key: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass
class StoredTensor:
    """A whole tensor: the boxes cover it without overlap."""

    dtype: str
    shape: tuple[int, ...]
    boxes: list[StoredBox] = field(default_factory=list)

    @property
    def is_covered(self) -> bool:
        return sum(math.prod(box.shape) for box in self.boxes) == math.prod(self.shape)


class Index(dict[str, StoredTensor]):
    """Tensors by name."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises IntegrityError where the file is of a newer version, or leaves a part of a tensor out."""
        content = read_json(path)
        if content["format_version"] > FORMAT_VERSION:
            raise IntegrityError(
                f"{path} has format_version={content['format_version']} and this version of pretune reads up to "
                f"{FORMAT_VERSION}; use the version that wrote it"
            )
        index = cls()
        for name, tensor in content["tensors"].items():
            boxes = [StoredBox(file, key, tuple(offset), tuple(shape)) for file, key, offset, shape in tensor["boxes"]]
            index[name] = StoredTensor(tensor["dtype"], tuple(tensor["shape"]), boxes)
        index.check(path)
        return index

    def write(self, path: Path) -> None:
        """Raises IntegrityError, and writes nothing, where the boxes leave a part of a tensor out."""
        self.check(path)
        tensors = {
            name: {"dtype": t.dtype, "shape": t.shape, "boxes": [[b.file, b.key, b.offset, b.shape] for b in t.boxes]}
            for name, t in sorted(self.items())
        }
        write_json(path, {"format_version": FORMAT_VERSION, "tensors": tensors})

    def check(self, path: Path) -> None:
        for name, tensor in self.items():
            if not tensor.is_covered:
                held = sum(math.prod(box.shape) for box in tensor.boxes)
                raise IntegrityError(
                    f"{path} has {held} of the {math.prod(tensor.shape)} values of {name}; restore an older checkpoint"
                )

    def rows(self, file: str) -> list[list[Any]]:
        """What `box_rows` made for this file."""
        return [
            [name, tensor.dtype, list(tensor.shape), file, box.key, list(box.offset), list(box.shape)]
            for name, tensor in self.items()
            for box in tensor.boxes
            if box.file == file
        ]

    def add(self, rows: Iterable[list[Any]]) -> None:
        """Take up what `box_rows` made."""
        for name, dtype, whole, file, key, offset, shape in rows:
            tensor = self.setdefault(name, StoredTensor(dtype, tuple(whole)))
            tensor.boxes.append(StoredBox(file, key, tuple(offset), tuple(shape)))


def box_rows(file: str, shares: Sequence[Piece]) -> list[list[Any]]:
    """What the index says about one file: name, dtype, whole shape, file, key, offset and shape of each box; plain JSON."""
    return [
        [s.name, DTYPES[s.tensor.dtype], list(s.shape), file, key_of(s), list(s.offset), list(s.tensor.shape)] for s in shares
    ]


def key_of(share: Piece) -> str:
    """The name of the tensor; with the offset of the box if that is not all of it."""
    if tuple(share.tensor.shape) == share.shape:
        return share.name
    return f"{share.name}@{','.join(str(start) for start in share.offset)}"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> FileEntry:
    """Write a safetensors file, flushed to disk; size and SHA-256 are of the bytes as they were written."""
    # Wide values first: safetensors allows no gaps, and readers want values aligned.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    header = file_header({name: (DTYPES[tensors[name].dtype], tuple(tensors[name].shape)) for name in names}, metadata)
    writer = HashedFile(path)
    with writer:
        writer.write(memoryview(header))
        for name in names:
            writer.write(bytes_of(tensors[name]))
    return writer.entry


def file_header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None) -> bytes:
    """The beginning of a safetensors file with tensors of these dtypes and shapes, in this order.

    https://github.com/huggingface/safetensors#format: length (8 bytes, little-endian), JSON, spaces up to a multiple of 8.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, (dtype, shape) in tensors.items():
        end = start + math.prod(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a tensor; of a copy unless it is contiguous and on the CPU."""
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


class HashedFile:
    """A new file that is hashed while it is written, and flushed to disk when it is closed without an error."""

    def __init__(self, path: Path) -> None:
        self._path, self._hash, self._size = path, hashlib.sha256(), 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def write(self, content: memoryview) -> None:
        for start in range(0, len(content), BLOCK_BYTES):
            block = content[start : start + BLOCK_BYTES]
            self._hash.update(block)
            self._file.write(block)
        self._size += len(content)

    @property
    def entry(self) -> FileEntry:
        return FileEntry(path=self._path.name, size_bytes=self._size, sha256=self._hash.hexdigest())


class BoxReader:
    """Reads any box of the tensors in a folder, from whichever files hold parts of it. Use it in a `with` statement."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._folder, self._index = folder, index
        self._files: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()
        self._open.close()

    def read_into(self, target: Tensor, name: str, offset: tuple[int, ...]) -> None:
        """Fill `target` with the box of the tensor `name` that begins at `offset` and has the target's shape."""
        end = tuple(o + s for o, s in zip(offset, target.shape, strict=True))
        with torch.no_grad():
            for box in self._index[name].boxes:
                low = tuple(map(max, offset, box.offset))
                high = tuple(min(e, o + s) for e, o, s in zip(end, box.offset, box.shape, strict=True))
                if all(a < b for a, b in zip(low, high, strict=True)):
                    there = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, box.offset, strict=True))
                    here = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, offset, strict=True))
                    target[here].copy_(self._values(box, there))

    def _values(self, box: StoredBox, there: tuple[slice, ...]) -> Tensor:
        if box.file not in self._files:
            self._files[box.file] = self._open.enter_context(safe_open(self._folder / box.file, framework="pt"))
        file = self._files[box.file]
        return file.get_slice(box.key)[there] if there else file.get_tensor(box.key)
