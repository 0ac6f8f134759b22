"""The processes of one training run, and the few collectives that they need."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

COLLECTIVE_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """This process among the others. With one process there is no process group and every collective is free."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place. All ranks call it."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sums(self, values: Sequence[float]) -> list[float]:
        """Sum of each value over all ranks, in double precision. All ranks call it."""
        if self.world_size == 1:
            return list(values)
        return self.sum_(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def largest(self, value: float) -> float:
        """The largest of the ranks' values. All ranks call it."""
        if self.world_size == 1:
            return value
        found = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found.item()

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()

    def close(self) -> None:
        """Ranks that end without this sometimes abort."""
        if self.world_size > 1:
            dist.destroy_process_group()


def compute_exactly() -> None:
    """Let a GPU give the same bits for the same inputs, on which bit-identical resumes rest; to be called before anything else.

    The backward passes of fused attention add in any order unless all of torch is asked to be deterministic.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that was not written: filling it first would only take time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # made when it is set


def join_ranks() -> Ranks:
    """Join the process group that accelerate's launcher described in the environment.

    Raises RuntimeError if the world is not as large as the supervisor asked for: accelerate starts one process and exits with 0
    under some configurations of a CPU machine.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    asked = int(os.environ.get("PRETUNE_WORLD_SIZE", str(world_size)))
    if world_size != asked:
        raise RuntimeError(f"{asked} ranks were asked for and the launcher started {world_size}")
    gpu = os.environ.get("PRETUNE_DEVICE") == "gpu"
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
        compute_exactly()
    if world_size > 1:
        dist.init_process_group("nccl" if gpu else "gloo", timeout=COLLECTIVE_TIMEOUT)
    return Ranks(rank, world_size, device)
