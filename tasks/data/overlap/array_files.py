"""Arrays in .npy files: written whole or not at all, and read a row at a time."""

import io
from pathlib import Path

import numpy as np

from tasks.record.files import write_atomically


def write_array(path: Path, array: np.ndarray) -> None:
    """Write `array` to `path` under a temporary name, fsynced and renamed; a second copy of it is in memory meanwhile."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_atomically(path, content.getvalue())


def read_row(path: Path, row: int) -> np.ndarray:
    """Row `row` of the two-dimensional array in `path`, without reading or mapping the others."""
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[row])
