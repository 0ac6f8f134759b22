"""A checkpoint gets its name when all parts are there, and only from the attempt that owns the stage."""

import shutil
import threading
from pathlib import Path

import pytest
import torch

from tasks.record.errors import IntegrityError, LockedError, StageError
from tasks.record.files import read_json
from tasks.record.layout import StageLayout
from tasks.record.lock import hold
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint.checkpoint import TrainState, committed_checkpoints
from tasks.training.checkpoint.commit import Commit, Part
from tasks.training.checkpoint.files import box_rows, write_tensors
from tasks.training.model.pieces import Piece
from tests.kit.checkpoints import load, save, trained

STATE = {"step": 4, "tokens_seen": 40}


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def commit(stage: StageLayout, world_size: int = 2, attempt: int = 1, deadline_seconds: float = 20.0) -> Commit:
    one = Commit(stage, "r" * 64, attempt, world_size, STATE, {}, deadline_seconds)
    one.folder.mkdir(parents=True)
    return one


def leave_part(one: Commit, rank: int, rows: int = 2) -> None:
    """Two of the four rows of a matrix."""
    name = f"weights_{rank:05d}.safetensors"
    share = Piece("a", torch.ones(rows, 3), (4, 3), (2 * rank, 0))
    entry = write_tensors(one.folder / name, {f"a@{2 * rank},0": share.tensor})
    Part([entry], box_rows(name, [share])).leave(one.folder, rank)


def test_rank_0_waits_for_the_parts_of_all(stage: StageLayout) -> None:
    one = commit(stage)
    leave_part(one, 0)
    threading.Timer(0.3, leave_part, (one, 1)).start()
    manifest = one.complete()
    assert one.target == stage.checkpoints / "step_00000004"
    assert Manifest.read(one.target / "manifest.json") == manifest
    verify(one.target, manifest)
    assert [entry.path for entry in manifest.files] == [
        "pieces.json", "state.json", "weights_00000.safetensors", "weights_00001.safetensors"
    ]  # fmt: skip
    assert read_json(one.target / "state.json") == STATE
    assert [path.name for path in stage.checkpoints.iterdir()] == ["step_00000004"]


def test_a_part_that_never_comes_is_told_with_its_rank(stage: StageLayout) -> None:
    one = commit(stage, deadline_seconds=0.1)
    leave_part(one, 0)
    message = r"rank 1 of 2 has not left .*rank_00001.json within 0 s; look into that rank's log, and put \$PRETUNE_HOME on"
    with pytest.raises(StageError, match=message):
        one.complete()
    assert committed_checkpoints(stage) == []


def test_nothing_is_waited_for_once_the_ranks_have_given_it_up(stage: StageLayout) -> None:
    one = commit(stage)
    leave_part(one, 0)
    threading.Timer(0.3, shutil.rmtree, (one.folder,)).start()
    with pytest.raises(StageError, match="was given up: another rank could not write its part"):
        one.complete()
    assert committed_checkpoints(stage) == []


def test_parts_that_leave_something_out_are_not_committed(stage: StageLayout) -> None:
    one = commit(stage)
    leave_part(one, 0)
    leave_part(one, 1, rows=1)
    with pytest.raises(IntegrityError, match=r"pieces.json has 9 of the 12 values of a; restore an older checkpoint"):
        one.complete()
    assert committed_checkpoints(stage) == []


def test_a_newer_attempt_fences_off_an_older_one(stage: StageLayout) -> None:
    tensors = trained()
    with hold(stage) as lock:
        assert [lock.next_token(), lock.next_token()] == [1, 2]
        with pytest.raises(LockedError, match=r"attempt 2 has taken over .*; attempt 1 must not write there"):
            save(stage, TrainState(step=3), tensors, attempt=1)
        assert list(stage.checkpoints.iterdir()) == []
        save(stage, TrainState(step=3), tensors, attempt=2)
    assert [path.name for path in committed_checkpoints(stage)] == ["step_00000003"]


def test_two_attempts_do_not_write_into_the_same_folder(stage: StageLayout) -> None:
    assert commit(stage, attempt=1).folder != commit(stage, attempt=2).folder


def test_a_step_is_committed_once_but_a_damaged_one_is_replaced(stage: StageLayout) -> None:
    tensors = trained()
    path = save(stage, TrainState(step=3, tokens_seen=1), tensors)
    before = (path / "state.json").read_bytes()
    assert save(stage, TrainState(step=3, tokens_seen=2), tensors) == path
    assert (path / "state.json").read_bytes() == before
    (path / "optimizer_00000.safetensors").write_bytes(b"")
    assert save(stage, TrainState(step=3, tokens_seen=2), tensors) == path
    assert load(path, tensors).tokens_seen == 2
    assert [p.name for p in stage.checkpoints.iterdir()] == ["step_00000003"]
