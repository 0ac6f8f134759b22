"""Saving costs training next to nothing, holds what was there when it was asked for, and can be loaded on any other layout."""

import errno
import functools
import threading
from pathlib import Path

import pytest
import torch

from tasks.config.parallel import Layout
from tasks.record.errors import DiskFullError, IntegrityError
from tasks.record.failures import RankError
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint import saver as module
from tasks.training.checkpoint.checkpoint import TrainState, committed_checkpoints, load_checkpoint, load_newest
from tasks.training.model import pieces as pieces_module
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import pieces_of
from tasks.training.model.ranks import Ranks
from tests.kit.checkpoints import DIGEST, STATE, Tensors, copied_tensors, load, same, saver, trained
from tests.kit.divided_state import DividedState
from tests.kit.models import ALONE
from tests.kit.ranks import run_ranks

ONE_MESH = Mesh(Layout(), ALONE)
SAVED_ON = [
    Layout(shard=2, tensor_parallel=2),
    pytest.param(Layout(pipeline_parallel=2, replicate=2), marks=pytest.mark.soak),
    pytest.param(Layout(), marks=pytest.mark.soak),
    pytest.param(Layout(replicate=2, shard=2), marks=pytest.mark.soak),
]
LOADED_ON = [
    Layout(), Layout(replicate=2), Layout(shard=3), Layout(tensor_parallel=2), Layout(pipeline_parallel=2, shard=2),
]  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def begin(one: module.CheckpointSaver, step: int, tensors: Tensors) -> None:
    one.save(TrainState(step=step), pieces_of(tensors[0], ONE_MESH), pieces_of(tensors[1], ONE_MESH))


def names(stage: StageLayout) -> list[str]:
    return sorted(path.name for path in stage.checkpoints.iterdir())


def save_divided(ranks: Ranks, layout: Layout, stage: StageLayout) -> tuple[int, bool]:
    """Save, change everything at once, and say how many bytes this rank wrote."""
    pieces_module.MIN_PART_BYTES = 2000
    state = DividedState(Mesh(layout, ranks))
    state.fill(seed=1)
    one = saver(stage, ranks)
    pieces = [pieces_of(part, state.mesh, state.written_elsewhere) for part in (state.weights, state.optimizer)]
    one.save(STATE, *pieces)
    one.wait_until_staged()
    state.fill(seed=2)
    one.finish()
    written = [p.stat().st_size for p in committed_checkpoints(stage)[0].glob(f"*_{ranks.rank:05d}.*")]
    return sum(written), bool(one.saved)


def load_divided(ranks: Ranks, layout: Layout, stage: StageLayout) -> tuple[TrainState | None, bool]:
    state = DividedState(Mesh(layout, ranks))
    state.fill(seed=3)
    loaded, _ = load_newest(stage, DIGEST, ranks, state.tensors)
    return loaded, state.is_filled(seed=1)


@pytest.mark.parametrize("layout", SAVED_ON, ids=str)
def test_what_one_layout_saved_every_other_layout_loads_bit_for_bit(layout: Layout, stage: StageLayout) -> None:
    saved = run_ranks(layout.world_size, functools.partial(save_divided, layout=layout, stage=stage))
    assert [is_told for _, is_told in saved] == [rank == 0 for rank in range(layout.world_size)]
    assert max(size for size, _ in saved) < 1.4 * min(size for size, _ in saved), "all ranks write about as much"
    (path,) = committed_checkpoints(stage)
    verify(path, Manifest.read(path / "manifest.json"))
    assert not list(path.glob("rank_*"))
    assert not list(stage.checkpoints.glob(".*"))
    for other in LOADED_ON:
        answers = run_ranks(other.world_size, functools.partial(load_divided, layout=other, stage=stage))
        assert answers == [(STATE, True)] * other.world_size, other


def load_one(ranks: Ranks, stage: StageLayout, names_of_rank: list[list[str]]) -> str:
    """What loading says where this rank has only these of the tensors; the other rank loads the same checkpoint."""
    weights, optimizer = trained()
    tensors = {name: t for name, t in (weights | optimizer).items() if name in names_of_rank[ranks.rank]}
    try:
        load_checkpoint(committed_checkpoints(stage)[0], DIGEST, ranks, tensors)
    except IntegrityError as error:
        return str(error)
    return "loaded"


def test_all_ranks_refuse_what_one_cannot_load(stage: StageLayout) -> None:
    one = saver(stage)
    tensors = trained()
    begin(one, 3, tensors)
    one.finish()
    everything = sorted(tensors[0] | tensors[1])
    halves = [everything[: len(everything) // 2], everything[len(everything) // 2 :]]
    assert run_ranks(2, functools.partial(load_one, stage=stage, names_of_rank=halves)) == ["loaded", "loaded"]
    left_out = [halves[0][1:], halves[1]]
    said = run_ranks(2, functools.partial(load_one, stage=stage, names_of_rank=left_out))
    assert said[0] == said[1]
    assert f"{halves[0][0]} (384, 32) is there and not in this model" in said[0]
    file = one.saved[-1].path / "optimizer_00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    said = run_ranks(2, functools.partial(load_one, stage=stage, names_of_rank=halves))
    assert said[0] == said[1]
    assert "optimizer_00000.safetensors has" in said[0], "also the rank that did not read this file"


def test_the_checkpoint_holds_what_was_there_when_it_was_asked_for(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, moments and state change while the file is written; it is not there under its name before it is complete."""
    gate, real = threading.Event(), module.write_part

    def slow(*arguments: object) -> object:
        gate.wait(20)
        return real(*arguments)

    monkeypatch.setattr(module, "write_part", slow)
    tensors, one, state = trained(), saver(stage), TrainState(step=3, evaluations=[{"step": 1}])
    before = copied_tensors(tensors)
    one.save(state, pieces_of(tensors[0], ONE_MESH), pieces_of(tensors[1], ONE_MESH))
    one.wait_until_staged()
    assert (list(one.saved), committed_checkpoints(stage)) == ([], [])
    with torch.no_grad():
        for tensor in (*tensors[0].values(), *tensors[1].values()):
            tensor.add_(1)
    state.step, state.evaluations[0]["step"] = 4, 2
    gate.set()
    one.finish()
    assert not same(before, tensors)
    assert load(one.saved[-1].path, tensors) == TrainState(step=3, evaluations=[{"step": 1}])
    assert same(before, tensors)


def test_the_optimizer_waits_for_the_copy(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, real = threading.Event(), module.Staging.complete

    def slow(self: module.Staging) -> None:
        assert gate.wait(20)
        real(self)

    monkeypatch.setattr(module.Staging, "complete", slow)
    one = saver(stage)
    begin(one, 3, trained())
    threading.Timer(0.2, gate.set).start()
    one.wait_until_staged()
    assert gate.is_set()
    one.finish()
    (record,) = one.saved
    assert 0 < record.stall_seconds <= record.seconds
    assert (record.step, record.path) == (3, stage.checkpoints / "step_00000003")
    manifest = Manifest.read(record.path / "manifest.json")
    assert record.size_bytes == sum(entry.size_bytes for entry in manifest.files)


def test_one_checkpoint_is_made_at_a_time_and_each_step_once(stage: StageLayout) -> None:
    one, tensors = saver(stage, keep=2), trained()
    for step in (1, 2, 2, 3):
        begin(one, step, tensors)
        assert len(committed_checkpoints(stage)) == min(step - 1, 2), "those before it are committed, no more are kept"
        one.wait_until_staged()
    one.finish()
    assert names(stage) == ["step_00000002", "step_00000003"]
    inode = (stage.checkpoints / "step_00000003").stat().st_ino
    begin(one, 3, tensors)
    one.finish()
    assert (stage.checkpoints / "step_00000003").stat().st_ino == inode, "after a rollback the intact one stays"
    one.finish()


def test_a_full_disk_is_said_with_numbers_and_nothing_half_written_stays(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, tensors = saver(stage), trained()
    begin(one, 3, tensors)
    one.finish()

    def full(folder: Path, *_: object) -> None:
        (folder / "weights_00000.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_part", full)
    begin(one, 6, tensors)
    message = (
        r"rank 0 cannot write .*step_00000006, its disk is full: a checkpoint like step_00000003 takes at least [\d,]+ bytes "
        r"and [\d,]+ are free by now: the other ranks, other programs or a quota took the rest; make space and run the same "
        r"command again, the checkpoints before it are kept"
    )
    with pytest.raises(DiskFullError, match=message):
        one.finish()
    assert names(stage) == ["step_00000003"]
    one.wait_until_staged()
    assert one.has_failed
    for call in (one.raise_failure, one.finish, lambda: begin(one, 7, tensors)):
        with pytest.raises(DiskFullError, match="its disk is full"):
            call()


def fail_on_one(ranks: Ranks, stage: StageLayout) -> str:
    """Rank 1 cannot write, nor tell it to rank 0 by a file."""
    real = module.write_part

    def broken(*arguments: object) -> object:
        if ranks.rank == 1:
            raise PermissionError(errno.EACCES, "not allowed", "part")
        return real(*arguments)

    module.write_part = broken
    state = DividedState(Mesh(Layout(replicate=2), ranks))
    one = saver(stage, ranks)
    one.save(STATE, pieces_of(state.weights, state.mesh), pieces_of(state.optimizer, state.mesh))
    try:
        one.finish()
    except RankError as error:
        return f"{type(error).__name__}: {error}"
    return "finished"


def test_the_failure_of_one_rank_ends_the_checkpoint_on_all(stage: StageLayout) -> None:
    told, failed = run_ranks(2, functools.partial(fail_on_one, stage=stage))
    assert told == failed == "RankError: rank 1 cannot use part: Permission denied (EACCES)"
    assert names(stage) == []


def commit_fails(ranks: Ranks, stage: StageLayout) -> str:
    """Rank 0 cannot commit."""

    def broken(self: object) -> None:
        raise PermissionError("not allowed")

    module.Commit.complete = broken
    one = saver(stage, ranks)
    state = DividedState(Mesh(Layout(replicate=2), ranks))
    one.save(STATE, pieces_of(state.weights, state.mesh), pieces_of(state.optimizer, state.mesh))
    try:
        one.finish()
    except RankError as error:
        return f"{type(error).__name__}: {error}"
    return "finished"


def test_all_ranks_hear_that_a_checkpoint_was_not_committed(stage: StageLayout) -> None:
    assert run_ranks(2, functools.partial(commit_fails, stage=stage)) == [
        "RankError: rank 0: PermissionError: not allowed",
        "RankError: rank 0: PermissionError: not allowed",
    ]
