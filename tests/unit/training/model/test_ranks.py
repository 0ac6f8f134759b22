"""One process among others: real gloo groups, and a world that is not as large as was asked for."""

import os
import subprocess
import sys

import pytest
import torch

from tasks.record.layout import REPOSITORY
from tasks.training.model.ranks import join_ranks
from tests.kit.models import ALONE

MEET = """
import torch
from tasks.training.model.ranks import join_ranks
ranks = join_ranks()
sums = ranks.sums([ranks.rank + 1.0, 1e-9 + 2.0**40])
tensor = ranks.sum_(torch.full((3,), float(ranks.rank + 1)))
ranks.barrier()
print(ranks.rank, ranks.world_size, ranks.is_first, sums[0], sums[1] == 2 * (1e-9 + 2.0**40), tensor.tolist())
ranks.close()
"""


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "PRETUNE_WORLD_SIZE", "PRETUNE_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    ranks = join_ranks()
    assert (ranks.rank, ranks.world_size, ranks.device.type, ranks.is_first) == (0, 1, "cpu", True)
    assert not torch.distributed.is_initialized()
    tensor = torch.ones(2)
    assert ALONE.sum_(tensor) is tensor
    assert ALONE.sums([1.0, 2.0]) == [1.0, 2.0]
    ALONE.barrier()
    ALONE.close()


@pytest.mark.parametrize(("started", "asked"), [("1", "2"), ("2", "1")])
def test_a_world_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch, started: str, asked: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", started)
    monkeypatch.setenv("PRETUNE_WORLD_SIZE", asked)
    with pytest.raises(RuntimeError, match=f"{asked} ranks were asked for and the launcher started {started}"):
        join_ranks()


def test_two_processes_sum_tensors_and_numbers() -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        "WORLD_SIZE": "2",
        "PRETUNE_WORLD_SIZE": "2",
        "PRETUNE_DEVICE": "cpu",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEET], cwd=REPOSITORY, env=os.environ | shared | {"RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert [out.strip() for out, _ in said] == ["0 2 True 3.0 True [3.0, 3.0, 3.0]", "1 2 False 3.0 True [3.0, 3.0, 3.0]"]
