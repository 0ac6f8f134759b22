"""What one of two real ranks runs into alone ends both of them: at once, with the same words, and nothing half-made stays."""

import errno
import functools
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.record.errors import DiskFullError
from tasks.record.failures import Failure, Output
from tasks.record.layout import StageLayout
from tasks.training.checkpoint import saver as saving
from tasks.training.checkpoint.agreement import raise_together
from tasks.training.loop import Trainer
from tasks.training.model.objective import causal_loss
from tasks.training.model.ranks import Ranks
from tasks.training.pretrain import roll_back
from tests.kit.models import ALONE
from tests.kit.ranks import run_ranks
from tests.kit.trainers import token_batch, trainer

SOON_SECONDS = 60
"""Far less than any deadline, and enough for a busy machine; all but a second of it is the start of the ranks."""


def break_writing(step: int, error: OSError) -> None:
    """From the checkpoint of that step on, this rank can write nothing."""
    real = saving.write_part

    def broken(folder: Path, *arguments: object) -> object:
        if folder.name >= f".step_{step:08d}":
            raise error
        return real(folder, *arguments)

    saving.write_part = broken


def ended(run: Callable[[], None], ranks: Ranks) -> tuple[str, bool, float]:
    """Name and message of what ended this rank, whether it is an echo, and when."""
    try:
        run()
    except Exception as error:  # noqa: BLE001 (whatever ends it is what is asked for)
        failure = Failure.of(error, ranks.rank, Output(Path("there")))
        return f"{failure.error}: {failure.message}", failure.is_echo, failure.when
    return "nothing", False, time.time()


def train_until_the_disk_is_full(ranks: Ranks, folder: Path, lonely: int, step: int, number: int, stops: bool) -> tuple:
    if ranks.rank == lonely:
        break_writing(step, OSError(number, "raw words"))
    run = trainer(folder, ranks=ranks, checkpoint_every_steps=4, max_steps=12)
    run.resume()
    if stops:
        take, run.train_step = run.train_step, lambda: (step - 1 == run.state.step and run.stage.stop.touch(), take())[1]
    return *ended(run.train, ranks), run.state.step


@pytest.mark.parametrize("lonely", [0, 1])
@pytest.mark.parametrize(("step", "stops"), [(8, False), (12, False), (6, True)], ids=["in a step", "at the end", "at a stop"])
def test_a_full_disk_of_one_rank_ends_all_within_a_step(tmp_path: Path, lonely: int, step: int, stops: bool) -> None:
    began = time.monotonic()
    answers = run_ranks(
        2, functools.partial(
            train_until_the_disk_is_full, folder=tmp_path, lonely=lonely, step=step, number=errno.ENOSPC, stops=stops
        ),
    )  # fmt: skip
    assert time.monotonic() - began < SOON_SECONDS
    assert answers[0][0] == answers[1][0]
    path = tmp_path / "checkpoints" / f"step_{step:08d}"
    assert answers[0][0].startswith(f"DiskFullError: rank {lonely} cannot write {path}, its disk is full: a checkpoint like ")
    assert [answer[3] for answer in answers] == [answers[0][3]] * 2, "in the same step"
    assert answers[0][3] <= step + 2
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [f"step_{n:08d}" for n in range(4, step, 4)]


def test_a_file_that_may_not_be_so_large_is_said_without_the_errors_own_words(tmp_path: Path) -> None:
    answers = run_ranks(
        2, functools.partial(train_until_the_disk_is_full, folder=tmp_path, lonely=1, step=4, number=errno.EFBIG, stops=False)
    )
    assert answers[0][0] == answers[1][0]
    assert answers[0][0].startswith("LimitError: rank 1 cannot write ")
    assert "raw words" not in answers[0][0] and "EFBIG" not in answers[0][0]


def train_until_a_limit_is_reached(ranks: Ranks, folder: Path, which: int, value: int) -> tuple:
    """The kernel's own limit, set for rank 1 between its first and its second checkpoint."""

    def evaluate(run: Trainer) -> dict[str, float]:
        if run.state.step == 6:
            run.saver.finish()
            if ranks.rank == 1:
                resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
        return {"heldout_loss": 1.0}

    run = trainer(folder, ranks=ranks, checkpoint_every_steps=4, evaluate=evaluate)
    run.resume()
    return ended(run.train, ranks)


@pytest.mark.parametrize(
    ("which", "value", "said"),
    [
        (resource.RLIMIT_NOFILE, 8, r"rank 1 cannot open \S+: it may have 8 open files \(ulimit -n\); raise it and run .*"),
        (
            resource.RLIMIT_FSIZE,
            5000,
            r"rank 1 cannot write \S+: a file may have 5,000 bytes \(ulimit -f\), and it has one of .*",
        ),
    ],
)
def test_a_limit_of_one_rank_ends_all(tmp_path: Path, which: int, value: int, said: str) -> None:
    """By its saving thread, whose failure all raise, or by its training thread, whose echo the other hears."""
    (other, is_echo, _), (own, _, _) = run_ranks(
        2, functools.partial(train_until_a_limit_is_reached, folder=tmp_path, which=which, value=value)
    )
    assert re.fullmatch(f"LimitError: {said}", own), own
    assert other == own or is_echo
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000004"]


def roll_back_on_a_full_disk(ranks: Ranks, folder: Path) -> tuple:
    if ranks.rank == 1:
        break_writing(4, OSError(errno.ENOSPC, "raw words"))
    run = trainer(folder, ranks=ranks, checkpoint_every_steps=4)
    run.resume()
    for _ in range(4):
        run.train_step()
    run.save()
    run.state.best_step = 4
    return ended(lambda: roll_back(run, None), ranks)


def test_a_rollback_does_not_wait_for_a_checkpoint_that_will_not_be(tmp_path: Path) -> None:
    answers = run_ranks(2, functools.partial(roll_back_on_a_full_disk, folder=tmp_path))
    assert answers[0][0] == answers[1][0]
    assert answers[0][0].startswith("DiskFullError: rank 1 cannot write ")


def fails_alone(ranks: Ranks, folder: Path, kind: str) -> tuple:
    """Rank 1 cannot read its data of step 3, or has no memory for the forward pass, while rank 0 goes on to a collective."""
    run: Trainer

    def reading(ids: np.ndarray) -> dict[str, torch.Tensor]:
        if kind == "data" and ranks.rank == 1 and run.state.step >= 2:
            raise OSError(errno.EIO, "Input/output error", "/data/train-00000.bin")
        return token_batch(ids)

    def loss(model: torch.nn.Module, batch: dict) -> torch.Tensor:
        if kind == "memory" and ranks.rank == 1 and run.state.step >= 2 and model.training:
            raise MemoryError("cannot allocate 7 bytes")
        return causal_loss(model, batch)

    run = trainer(folder, ranks=ranks, loss=loss, read=reading, checkpoint_every_steps=2, evaluate_every_steps=12)
    run.resume()
    return ended(run.train, ranks)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("data", "OSError: rank 1 cannot use /data/train-00000.bin: Input/output error (EIO)"),
        ("memory", "MemoryError: rank 1 ran out of memory (cannot allocate 7 bytes); lower micro_batch_size, or divide"),
    ],
)
def test_a_rank_that_fails_between_collectives_does_not_wait_and_leaves_an_echo(tmp_path: Path, kind: str, said: str) -> None:
    (echo, is_echo, later), (cause, is_also_echo, earlier) = run_ranks(
        2, functools.partial(fails_alone, folder=tmp_path, kind=kind)
    )
    assert cause.startswith(said)
    assert (is_echo, is_also_echo) == (True, False), echo
    assert 0 <= later - earlier < SOON_SECONDS


def first_of_two(ranks: Ranks) -> str:
    failure = Failure(ranks.rank, 100.0 - ranks.rank, "DataError", f"of rank {ranks.rank}")
    raise_together(ranks, None)
    return ended(lambda: raise_together(ranks, failure), ranks)[0]


def test_the_first_failure_is_raised_on_all() -> None:
    assert run_ranks(2, first_of_two) == ["DataError: of rank 1"] * 2


def test_a_lonely_rank_raises_its_own_with_its_cause() -> None:
    cause = OSError(errno.ENOSPC, "full")
    with pytest.raises(DiskFullError, match=r"rank 0 cannot write .*, its disk is full") as raised:
        raise_together(ALONE, Failure.of(cause, 0, Output(StageLayout(Path("/tmp")).path)), cause)
    assert raised.value.__cause__ is cause
