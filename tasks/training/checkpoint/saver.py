"""Saving while training goes on: copied during the next forward and backward pass, written by a thread, committed by rename."""

import dataclasses
import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from tasks.record.failures import Failure, Output, on_disk
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.agreement import raise_together
from tasks.training.checkpoint.checkpoint import TrainState, committed_checkpoints, retain
from tasks.training.checkpoint.commit import DEADLINE_SECONDS, POLL_SECONDS, Commit
from tasks.training.checkpoint.parts import FrozenPart, write_part
from tasks.training.checkpoint.staging import Staging
from tasks.training.model.pieces import Piece, shares_of
from tasks.training.model.ranks import Ranks


@dataclass(frozen=True)
class SaveRecord:
    """A committed checkpoint."""

    step: int
    path: Path
    seconds: float
    """From the call of `save` to the commit."""
    stall_seconds: float
    """Of these, how long training stood still."""
    size_bytes: int
    """Of all files of all ranks; those shared with an earlier checkpoint count too."""


@dataclass
class Job:
    """One checkpoint that is being made."""

    commit: Commit
    shares: dict[str, list[Piece]]
    """What this rank writes and copies first, by kind of file."""
    frozen: list[Piece]
    """What this rank writes as it is."""
    copies: list[Tensor]
    best_step: int | None
    began: float
    """`time.perf_counter()` when `save` was called."""
    stall_seconds: float = 0.0
    staged: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def output(self, rank: int) -> Output:
        """What is written, with what is known of its size: that of the checkpoint before it, or of this rank's own values."""
        target, folder = self.commit.target, self.commit.folder
        sizes = [num_bytes(pieces) for pieces in (*self.shares.values(), self.frozen)]
        if earlier := committed_checkpoints(self.commit.stage):
            return Output(target, folder, f"a checkpoint like {earlier[0].name} takes", on_disk(earlier[0]), max(sizes))
        return Output(target, folder, f"rank {rank} alone writes", sum(sizes), max(sizes))


class CheckpointSaver:
    """Makes the checkpoints of one rank in one attempt, one at a time. All ranks call all methods.

    What went wrong in the thread of any rank is raised on all of them by `finish`, the next `save`, or `raise_failure`:
    DiskFullError, LimitError, LockedError, or RankError for what is no user's mistake.
    """

    def __init__(
        self, stage: StageLayout, request_digest: str, ranks: Ranks, attempt: int, keep: int,
        tokenizer_digest: str | None = None, deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:  # fmt: skip
        """The `keep` newest checkpoints and the best one stay; rank 0 waits `deadline_seconds` for the parts of the others."""
        self._stage, self._request_digest, self._ranks, self._attempt = stage, request_digest, ranks, attempt
        self._keep, self._deadline_seconds = keep, deadline_seconds
        self._details = {} if tokenizer_digest is None else {"tokenizer_digest": tokenizer_digest}
        self._staging = Staging()
        self._frozen = FrozenPart(stage, request_digest, ranks.rank)
        self.saved: deque[SaveRecord] = deque()
        """On rank 0: what was committed, until the loop has taken it to the journal. A fast disk may be two ahead of it."""
        self._job: Job | None = None
        self._failure: Failure | None = None
        self._cause: BaseException | None = None

    def save(
        self, state: TrainState, weights: Iterable[Piece], optimizer: Iterable[Piece], frozen: Iterable[Piece] = ()
    ) -> None:
        """Begin a checkpoint of `state.step`, unless that is the step of the last call, and no `finish` came in between.

        The tensors must stay as they are until `wait_until_staged` has returned; the state may change at once. `frozen` weights
        never change: they are written once and shared by later checkpoints.
        """
        began = time.perf_counter()
        if self._job is not None and self._job.commit.step == state.step:
            return
        self._complete_job()
        shares = {"weights": shares_of(list(weights)), "optimizer": shares_of(list(optimizer))}
        copies = self._staging.start([piece for pieces in shares.values() for piece in pieces])
        commit = Commit(
            stage=self._stage,
            request_digest=self._request_digest,
            attempt=self._attempt,
            world_size=self._ranks.world_size,
            # The trainer goes on to change the state.
            state=json.loads(json.dumps(dataclasses.asdict(state))),
            details=self._details,
            deadline_seconds=self._deadline_seconds,
        )
        job = Job(commit, shares, shares_of(list(frozen)), copies, state.best_step, began)
        self._job = job
        threading.Thread(target=self._make, args=(job,), name=f"checkpoint of step {state.step}", daemon=True).start()
        job.stall_seconds += time.perf_counter() - began

    def wait_until_staged(self) -> None:
        """Return when the tensors may change: call it before every optimizer step. Where they are on a GPU, the GPU waits."""
        job = self._job
        if job is not None and not job.staged.is_set() and not self._staging.hold_back():
            began = time.perf_counter()
            job.staged.wait()
            job.stall_seconds += time.perf_counter() - began

    @property
    def has_failed(self) -> bool:
        """Whether this rank could not do its part. It tells the others, and all call `raise_failure`."""
        return self._failure is not None

    def raise_failure(self) -> None:
        """Raise what a rank failed with, the same on all, and remove what was half-made."""
        try:
            raise_together(self._ranks, self._failure, self._cause)
        finally:
            if self._ranks.is_first and self._job is not None:
                shutil.rmtree(self._job.commit.folder, ignore_errors=True)

    def finish(self) -> None:
        """Return when all that was begun is committed, on all ranks: for the end, a stop, and before a rollback."""
        self._complete_job()
        self._job = None

    def _complete_job(self) -> None:
        """Wait until all ranks are done or one has failed, whose part the first rank would wait for in vain."""
        job, all_done = self._job, False
        while job is not None and not all_done:
            job.done.wait(POLL_SECONDS)
            done, failed = self._ranks.sums([job.done.is_set(), self.has_failed])
            if failed:
                self.raise_failure()
            all_done = done == self._ranks.world_size

    def _make(self, job: Job) -> None:
        """The thread."""
        try:
            self._copy_and_write(job)
            if self._ranks.is_first:
                manifest = job.commit.complete()
                seconds, size_bytes = time.perf_counter() - job.began, sum(entry.size_bytes for entry in manifest.files)
                self.saved.append(SaveRecord(job.commit.step, job.commit.target, seconds, job.stall_seconds, size_bytes))
                retain(self._stage, self._keep, job.best_step)
        except BaseException as error:  # noqa: BLE001 (raised again on the training threads of all ranks)
            self._cause, self._failure = error, Failure.of(error, self._ranks.rank, job.output(self._ranks.rank))
        finally:
            job.done.set()

    def _copy_and_write(self, job: Job) -> None:
        folder, rank = job.commit.folder, self._ranks.rank
        try:
            try:
                self._staging.complete()
            finally:
                job.staged.set()
            folder.mkdir(parents=True, exist_ok=True)
            part = write_part(folder, rank, job.shares, job.copies).joined(self._frozen.write(folder, job.frozen))
            part.leave(folder, rank)
        except BaseException:
            remove_files_of(folder, rank)
            raise


def remove_files_of(folder: Path, rank: int) -> None:
    """What a rank has written of a checkpoint that will not be."""
    for path in folder.glob(f"*_{rank:05d}.*"):
        path.unlink(missing_ok=True)


def num_bytes(pieces: Iterable[Piece]) -> int:
    return sum(piece.tensor.numel() * piece.tensor.element_size() for piece in pieces)
