"""Sharded weights as the safetensors files of a Hugging Face folder, without ever being gathered on one rank."""

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tasks.record.files import FileEntry, file_entries, fsync_folder, write_json
from tasks.training.checkpoint.checkpoint import gathered
from tasks.training.checkpoint.files import (
    DTYPES,
    BoxReader,
    HashedFile,
    Index,
    box_rows,
    bytes_of,
    file_header,
    key_of,
    write_tensors,
)
from tasks.training.model.pieces import Piece, shares_of
from tasks.training.model.ranks import Ranks

MAX_FILE_BYTES = 5_000_000_000
"""The size at which `save_pretrained` of older transformers begins another file; hubs and readers expect files like these."""
BLOCK_BYTES = 2**26
"""Rows of a tensor that are put together at once, 64 MiB: what a rank needs in memory."""
INDEX_NAME = "model.safetensors.index.json"


def export_pieces(
    pieces: Sequence[Piece], folder: Path, ranks: Ranks, dtype: torch.dtype | None = None, max_file_bytes: int = MAX_FILE_BYTES
) -> list[FileEntry]:
    """Write `model.safetensors`, or numbered files and their index, into the folder; returns them with their SHA-256.

    All ranks call it, with their boxes of all weights that `save_pretrained` would name, and the folder is one that all of them
    see. Each writes what it holds to a temporary folder inside; then each puts together every world-size-th file. Values keep
    their dtype unless one is given. Config and tokenizer are the caller's.
    """
    temporary = folder / ".pieces"
    if ranks.is_first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    ranks.barrier()
    index = Index()
    for boxes in gathered(ranks, write_share(shares_of(list(pieces)), temporary, ranks.rank)):
        index.add(boxes)
    index.check(temporary)
    names = {name: DTYPES[dtype] if dtype else tensor.dtype for name, tensor in index.items()}
    files = files_of(index, names, max_file_bytes)
    entries = []
    with BoxReader(temporary, index) as reader:
        for number in range(ranks.rank, len(files), ranks.world_size):
            path = folder / file_name(number, len(files))
            entries.append(assemble(path, {name: names[name] for name in files[number]}, index, reader))
    entries = sorted((entry for part in gathered(ranks, entries) for entry in part), key=lambda entry: entry.path)
    if ranks.is_first:
        shutil.rmtree(temporary)
        if len(files) > 1:
            write_index(folder, files, index, names)
        fsync_folder(folder)
    ranks.barrier()
    return entries + list(file_entries(folder, [folder / INDEX_NAME] if len(files) > 1 else []))


def write_share(shares: list[Piece], folder: Path, rank: int) -> list[list]:
    """Write what this rank holds; returns its rows of the index."""
    name = f"weights_{rank:05d}.safetensors"
    if shares:
        write_tensors(folder / name, {key_of(share): share.tensor for share in shares})
    return box_rows(name, shares)


def files_of(index: Index, dtypes: dict[str, str], max_file_bytes: int) -> list[list[str]]:
    """Names of the tensors of each file, layer after layer; a file is larger than the limit only for a single tensor."""
    files: list[list[str]] = [[]]
    size = 0
    for name in sorted(index, key=by_number):
        tensor_bytes = num_bytes(index, name, dtypes[name])
        if files[-1] and size + tensor_bytes > max_file_bytes:
            files.append([])
            size = 0
        files[-1].append(name)
        size += tensor_bytes
    return files


def by_number(name: str) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def num_bytes(index: Index, name: str, dtype: str) -> int:
    return math.prod(index[name].shape) * torch_dtype(dtype).itemsize


def torch_dtype(name: str) -> torch.dtype:
    return next(dtype for dtype, known in DTYPES.items() if known == name)


def file_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number + 1:05d}-of-{count:05d}.safetensors"


def assemble(path: Path, dtypes: dict[str, str], index: Index, reader: BoxReader) -> FileEntry:
    """One file with whole tensors, from the boxes of all ranks; `format` is what `from_pretrained` looks at."""
    # Wide values first, so that all are aligned.
    names = sorted(dtypes, key=lambda name: -torch_dtype(dtypes[name]).itemsize)
    header = file_header({name: (dtypes[name], index[name].shape) for name in names}, {"format": "pt"})
    file = HashedFile(path)
    with file:
        file.write(memoryview(header))
        for name in names:
            for block in blocks_of(name, torch_dtype(dtypes[name]), index, reader):
                file.write(bytes_of(block))
    return file.entry


def blocks_of(name: str, dtype: torch.dtype, index: Index, reader: BoxReader) -> Iterator[torch.Tensor]:
    """The tensor's rows in blocks."""
    shape = index[name].shape
    if not shape:
        blocks: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), ())]
    else:
        row_bytes = max(1, math.prod(shape[1:]) * dtype.itemsize)
        step = max(1, BLOCK_BYTES // row_bytes)
        starts = range(0, shape[0], step)
        blocks = [((start, *[0] * (len(shape) - 1)), (min(step, shape[0] - start), *shape[1:])) for start in starts]
    for offset, size in blocks:
        block = torch.empty(size, dtype=dtype)
        reader.read_into(block, name, offset)
        yield block


def write_index(folder: Path, files: list[list[str]], index: Index, dtypes: dict[str, str]) -> None:
    """Which tensor lies in which file, as `from_pretrained` reads it."""
    content = {
        "metadata": {
            "total_parameters": sum(math.prod(tensor.shape) for tensor in index.values()),
            "total_size": sum(num_bytes(index, name, dtypes[name]) for name in index),
        },
        "weight_map": {name: file_name(number, len(files)) for number, names in enumerate(files) for name in names},
    }
    write_json(folder / INDEX_NAME, content)
