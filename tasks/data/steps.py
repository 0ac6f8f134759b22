"""Doing the steps of a preparation: each part in a temporary folder that is renamed when it is whole."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.config.data import DataConfig
from tasks.config.model import TokenizerConfig
from tasks.data.inputs.request import prepare_settings
from tasks.record.errors import DiskFullError
from tasks.record.files import fsync_folder, write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Request, read_request
from tasks.record.parts import MAPPED, RESULT_FILE, Part, WorkLayout

Report = Callable[[float, str], None]
"""Takes how far the work is, from 0 to 1, and what it is; raises StoppedError where it is to end."""

NOTHING_FREE_BYTES = 1 << 20
RESERVE_FILE, RESERVE_BYTES = "reserve", 1 << 18
TEXT_PER_INPUT = {"compressed": 6.0, "plain": 1.2}
"""Bytes of intermediate files for a byte of input: bzip2 takes prose to a fifth."""
TOKENS_PER_TEXT = 0.8
"""Bytes of shards for a byte of text: two bytes for about four characters, the index, and room."""


@dataclass(frozen=True)
class Preparation:
    """What every step gets to know."""

    stage: StageLayout
    request: Request

    @classmethod
    def of(cls, stage: StageLayout) -> "Preparation":
        return cls(stage, read_request(stage))

    @cached_property
    def settings(self) -> tuple[DataConfig, TokenizerConfig]:
        return prepare_settings(self.request)

    @property
    def data(self) -> DataConfig:
        return self.settings[0]

    @property
    def tokenizer(self) -> TokenizerConfig:
        return self.settings[1]

    @property
    def home(self) -> Path:
        return self.stage.path.parent.parent

    @cached_property
    def work(self) -> WorkLayout:
        return WorkLayout(self.stage)


Maker = Callable[[Preparation, Part, Path, Report], dict[str, Any]]
"""Makes a part in an empty folder and returns its result, which is stored there as JSON."""


MAKERS = {
    "plan": ("tasks.data.plan", "plan_parts"),
    "extract": ("tasks.data.extract", "extract_part"),
    "deduplicate": ("tasks.data.deduplicate", "deduplicate"),
    "tokenizer": ("tasks.data.tokenizer", "make_tokenizer"),
    "encode": ("tasks.data.encode", "encode_part"),
}
"""Module and function of each step, imported when needed: what plans does not load what encodes."""


def maker_of(step: str) -> Maker:
    module, function = MAKERS[step]
    return getattr(import_module(module), function)


def do_part(preparation: Preparation, part: Part, report: Report) -> None:
    """Make the part unless it is there. Raises DiskFullError where nothing more can be written; what is done stays."""
    final = preparation.work.folder(part)
    if final.is_dir():
        return
    partial = final.with_name(f".{final.name}.{socket.gethostname()}-{os.getpid()}")
    with disk_full_explained(preparation, part):
        try:
            partial.mkdir(parents=True)
            result = maker_of(part.step)(preparation, part, partial, report)
            write_json(partial / RESULT_FILE, result)
            for path in sorted(partial.rglob("*")):
                fsync_folder(path)
            fsync_folder(partial)
            commit(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def disk_full_explained(preparation: Preparation, part: Part) -> Iterator[None]:
    """Turn the failure to write into DiskFullError. Some space is held back, so that the mistake itself can be recorded."""
    reserve = preparation.work.path / RESERVE_FILE
    try:
        if not reserve.exists():
            reserve.parent.mkdir(parents=True, exist_ok=True)
            reserve.write_bytes(bytes(RESERVE_BYTES))
        yield
    except OSError as error:
        if not is_disk_full(error, preparation.stage.path):
            raise
        full = disk_full(preparation, part, error)
        reserve.unlink(missing_ok=True)
        raise full from error


def commit(partial: Path, final: Path) -> None:
    """Rename; where another process was faster, its result, which has the same bytes, stays."""
    try:
        partial.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    fsync_folder(final.parent)


def is_disk_full(error: OSError, folder: Path) -> bool:
    """NumPy writes fewer bytes than it should and gives no error number, so the free space is looked at too."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(folder).free < NOTHING_FREE_BYTES


def disk_full(preparation: Preparation, part: Part, error: OSError) -> DiskFullError:
    free = shutil.disk_usage(preparation.stage.path).free
    doing = part.name.removesuffix("-00000") if part.step not in MAPPED else part.name
    return DiskFullError(
        f"{preparation.stage.path} is on a disk that is full: {doing} needs about {needed_bytes(preparation, part):,} bytes"
        f" and {free:,} are free ({error.strerror or error}); make space and run the same command again, what is done is kept"
    )


def needed_bytes(preparation: Preparation, part: Part) -> int:
    """About what a part writes, from what it reads."""
    work = preparation.work
    if part.step == "extract":
        units = work.plan[part.index]
        sizes = [unit.get("bytes", 0) * TEXT_PER_INPUT["compressed" if unit.get("compressed") else "plain"] for unit in units]
        return max(NOTHING_FREE_BYTES, int(sum(sizes)))
    if part.step == "encode":
        return max(NOTHING_FREE_BYTES, int(work.encoded_files[part.index].bytes * TOKENS_PER_TEXT))
    return NOTHING_FREE_BYTES
