"""Compiles the functions that loop over bytes and tokens (kernels), and keeps what is compiled until a file of theirs changes.

numba's own cache looks at the file of a function, but not at those of the functions and constants that are compiled into it:
after a change in one of these it goes on with the old code. So each state of all these files has a folder of its own, named by
their digest. What else compiled code depends on (Python, numba, the processor) numba compares itself.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator

from tasks.record.lock import exclusive

ROOT = Path(__file__).resolve().parents[2]
HAS_KERNELS = re.compile(rf"^(from {re.escape(__name__)} import|import numba|from numba|@inner\n)".encode(), re.MULTILINE)
"""In the source of a file with kernels; `inner` is the decorator of `wikitext.bytes`."""
PREFIX = "kernels-"
FOLDERS_KEPT = 4
"""Digests whose compiled code is kept, those used last: another version may still be running, or a checkout share the place."""


def kernel_files() -> list[Path]:
    """All files of the package that hold kernels, or constants of kernels."""
    return [file for file in sorted(ROOT.rglob("*.py")) if HAS_KERNELS.search(file.read_bytes())]


def digest_of_kernels() -> str:
    digest = hashlib.sha256()
    for file in kernel_files():
        digest.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def places() -> Iterator[Path]:
    """Where compiled code may lie, best first: numba's setting, beside the source, the user's cache where that is read-only."""
    if given := config.CACHE_DIR:  # type: ignore[attr-defined]  # numba makes its settings when it is imported
        yield Path(given)
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # There is no home.
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pretune"


def folder_of_compiled() -> Path | None:
    """The folder of this digest at the first place that can be written to; None if there is none, and nothing is kept."""
    name = PREFIX + digest_of_kernels()
    for place in places():
        folder = place / name
        with contextlib.suppress(OSError):
            is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)
            if is_new:
                remove_old(place)
            return folder
    return None


def remove_old(place: Path) -> None:
    """Removes all but the folders that were used last; a process that still uses another makes it again."""
    with contextlib.suppress(OSError):  # Another process may be removing them too.
        folders = sorted(place.glob(PREFIX + "*"), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-FOLDERS_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


FOLDER = folder_of_compiled()


class Locator(InTreeCacheLocator):
    def get_cache_path(self) -> str:
        return str(FOLDER / self.get_suitable_cache_subpath(self._py_file))


class Implementation(CompileResultCacheImpl):
    _locator_classes = [Locator]  # noqa: RUF012 (numba's own is a list)


class Cache(FunctionCache):
    """numba's cache of one function in FOLDER, and nowhere else."""

    _impl_class = Implementation

    def save_overload(self, sig: Any, data: Any) -> None:
        """Under a lock: two processes with different signatures could write both to one file, and keep one entry for it.

        What cannot be written (a full disk) is compiled again by the next process, and no reason for this one to fail.
        """
        assert FOLDER is not None, "no function has this cache where there is no folder"
        with contextlib.suppress(OSError), exclusive(FOLDER / "lock"):
            super().save_overload(sig, data)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """`@kernel` or `@kernel(nogil=True)`: `numba.njit` with these options, kept on disk."""
    if function is None:
        return functools.partial(kernel, **options)
    compiled = njit(**options)(function)
    if FOLDER is not None:
        with contextlib.suppress(RuntimeError):  # The folder was taken away, or can no longer be written to.
            compiled._cache = Cache(function)
    return compiled
