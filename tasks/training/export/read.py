"""Weights of an exported model, read tensor by tensor and only where they are needed."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tasks.training.model.pieces import box_of, local_values


def files_by_name(folder: Path) -> dict[str, Path]:
    """File of every tensor of an export in Hugging Face layout."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return {name: folder / file for name, file in json.loads(index.read_text())["weight_map"].items()}
    file = folder / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        return dict.fromkeys(opened.keys(), file)


def stored_dtypes(folder: Path) -> dict[str, str]:
    """Name and dtype, as safetensors writes it (`F32`, `BF16`), of every tensor of an export."""
    found: dict[str, str] = {}
    files = files_by_name(folder)
    for file in sorted(set(files.values())):
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            found |= {name: opened.get_slice(name).get_dtype() for name in names}
    return found


def fill_from_export(parameters: Mapping[str, Tensor], folder: Path) -> set[str]:
    """Fill this rank's part of each parameter that the export has under the same name and shape; returns their names."""
    files, filled = files_by_name(folder), set()
    by_file: dict[Path, list[str]] = {}
    for name in parameters:
        if name in files:
            by_file.setdefault(files[name], []).append(name)
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as opened:
            for name in names:
                stored = opened.get_slice(name)
                if tuple(stored.get_shape()) == tuple(parameters[name].shape):
                    offset, shape = box_of(parameters[name])
                    box = stored[tuple(slice(o, o + s) for o, s in zip(offset, shape, strict=True))]
                    with torch.no_grad():
                        local_values(parameters[name]).copy_(box)
                    filled.add(name)
    return filled
