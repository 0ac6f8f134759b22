"""Real ranks for a test: a function on some processes that meet over gloo, and what it returned on each.

The processes are forked from a server that has imported the libraries and nothing else (no threads, no gradients yet), so that
a world of ranks starts in well under a second. The function is sent by name: define it in a module, give it arguments with
`functools.partial`, and return numbers, plain objects or tensors.
"""

import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch
import torch.distributed as dist

from tasks.training.model.ranks import Ranks
from tasks.worker import die_with_launcher

T = TypeVar("T")
PRELOADED = ["torch.distributed.fsdp", "torch.distributed.tensor", "tests.kit.models"]
GRACE_SECONDS = 5.0
"""How long the other ranks may still take once one has failed: they may be waiting for it in a collective."""


class RankFailed(AssertionError):
    """A rank raised an exception; the message holds its traceback."""


def run_ranks(world_size: int, function: Callable[[Ranks], T], timeout_seconds: float = 120) -> list[T]:
    """What `function` returned on each rank, in their order. One rank gets no process group, as in production.

    Raises RankFailed with the traceback of the first rank that failed, TimeoutError where some are not done in time; no
    process is left behind.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        started: list[tuple[BaseProcess, Connection]] = []
        try:
            for rank in range(world_size):
                ours, theirs = context.Pipe()
                process = context.Process(target=run_one, args=(rank, world_size, folder, pickle.dumps(function), theirs))
                process.start()
                theirs.close()
                started.append((process, ours))
            answers = collect([connection for _, connection in started], time.monotonic() + timeout_seconds)
        finally:
            for process, connection in started:
                process.join(GRACE_SECONDS if connection.closed else 0)
                process.kill()
                process.join()
    return [answers[rank] for rank in range(world_size)]


def collect(connections: list[Connection], deadline: float) -> dict[int, object]:
    """The answers by rank; raises as `run_ranks` does."""
    waiting = {connection: rank for rank, connection in enumerate(connections)}
    answers: dict[int, object] = {}
    failed: list[str] = []
    while waiting:
        ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for connection in ready:
            rank = waiting.pop(connection)
            try:
                good, value = pickle.loads(connection.recv_bytes())
            except EOFError:
                good, value = False, "ended without an answer"
            connection.close()
            if good:
                answers[rank] = value
            else:
                failed.append(f"rank {rank}: {value}")
                deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
    if failed:
        raise RankFailed("\n".join(failed))
    if waiting:
        raise TimeoutError(f"ranks {sorted(waiting.values())} of {len(connections)} are not done")
    return answers


def run_one(rank: int, world_size: int, folder: str, pickled: bytes, answer: Connection) -> None:
    """The body of one rank's process."""
    die_with_launcher()
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        if world_size > 1:
            dist.init_process_group(
                "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size, timeout=timedelta(seconds=300)
            )
        ranks = Ranks(rank, world_size, torch.device("cpu"))
        content = pickle.dumps((True, pickle.loads(pickled)(ranks)))
    except BaseException:
        answer.send_bytes(pickle.dumps((False, traceback.format_exc())))
        raise
    answer.send_bytes(content)
    answer.close()
    ranks.close()
