"""A trace of one training step, for `--profile STEP`."""

import gzip
import logging
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

TABLE_ROWS = 20

logger = logging.getLogger("pretune.profile")


class StepProfile:
    """Records what one rank does inside the block, and writes it when the block ends without an exception.

    `step_00000020_rank_0.json.gz` is in Chrome's format, for ui.perfetto.dev; the `.txt` beside it has the operators that took
    the most time of their own. Both appear whole or not at all.
    """

    def __init__(self, step: int, folder: Path, rank: int) -> None:
        """`step` is the number that the step will have in the journal."""
        self.trace = folder / f"step_{step:08d}_rank_{rank}.json.gz"
        self.table = self.trace.with_name(self.trace.name.replace(".json.gz", ".txt"))
        on_gpu = torch.cuda.is_available()
        self._order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        self._profile = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])])

    def __enter__(self) -> Self:
        self._profile.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if torch.cuda.is_available() and error is None:
            torch.cuda.synchronize()
        self._profile.__exit__(kind, error, trace)
        if error is None:
            self._write()

    def _write(self) -> None:
        self.trace.parent.mkdir(parents=True, exist_ok=True)
        table = self.table.with_name(f".{self.table.name}")
        table.write_text(self._profile.key_averages().table(sort_by=self._order, row_limit=TABLE_ROWS), encoding="utf-8")
        table.replace(self.table)
        # Compressed here: the profiler's own compression leaves a second file in the system's temporary folder meanwhile.
        plain, packed = self.trace.with_name(f".{self.trace.stem}"), self.trace.with_name(f".{self.trace.name}")
        self._profile.export_chrome_trace(os.fspath(plain))
        with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=6) as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
        packed.replace(self.trace)
        logger.info("profile of this step: %s", self.trace)
