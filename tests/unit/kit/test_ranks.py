"""The ranks of the tests are real, and a failing or hanging one is told and ended."""

import functools
import os
import time

import pytest
import torch

from tasks.training.model.ranks import Ranks
from tests.kit.ranks import RankFailed, run_ranks


def meet(ranks: Ranks, factor: float) -> tuple[int, list[float], int]:
    total = ranks.sum_(torch.full((2,), factor * (ranks.rank + 1)))
    loss = (total.clone().requires_grad_() ** 2).sum()
    loss.backward()
    return ranks.rank, total.tolist(), os.getpid()


def fail_on_one(ranks: Ranks) -> None:
    if ranks.rank == 1:
        raise ValueError(f"rank {ranks.rank} has had enough")
    ranks.barrier()


def hang_on_one(ranks: Ranks) -> None:
    time.sleep(60 * ranks.rank)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_each_rank_answers_from_a_process_of_its_own(world_size: int) -> None:
    answers = run_ranks(world_size, functools.partial(meet, factor=2.0))
    expected = [float(world_size * (world_size + 1))] * 2
    assert [(rank, total) for rank, total, _ in answers] == [(rank, expected) for rank in range(world_size)]
    processes = {process for _, _, process in answers}
    assert len(processes) == world_size
    assert os.getpid() not in processes
    assert not any(os.path.exists(f"/proc/{process}") for process in processes)  # noqa: PTH110


def test_the_traceback_of_a_failing_rank_is_told_while_the_others_wait_for_it() -> None:
    with pytest.raises(RankFailed, match=r"(?s)rank 1: Traceback.*ValueError: rank 1 has had enough"):
        run_ranks(2, fail_on_one)


def test_a_rank_that_hangs_is_ended() -> None:
    run_ranks(1, hang_on_one)
    with pytest.raises(TimeoutError, match=r"ranks \[1\] of 2 are not done"):
        run_ranks(2, hang_on_one, timeout_seconds=10)
