"""Checkpoints under fire: killed at any moment, on a full disk, with flipped bits. What can be loaded is right."""

import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from tasks.record.errors import DiskFullError, IntegrityError
from tasks.record.files import read_json
from tasks.record.layout import StageLayout, step_folder
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint.checkpoint import (
    TrainState,
    clear_leftovers,
    committed_checkpoints,
    load_checkpoint,
    load_newest,
)
from tasks.training.checkpoint.saver import CheckpointSaver
from tasks.training.model.pieces import Piece
from tasks.training.model.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))
ROWS, COLUMNS = 64, 1024


def tensors_at(step: int) -> dict[str, Tensor]:
    """What the tensors hold at a step: half a megabyte of which every value says which step it is."""
    numbers = torch.arange(ROWS * COLUMNS, dtype=torch.float32).reshape(ROWS, COLUMNS)
    return {"a": numbers + step, "a:exp_avg": numbers - step, "a:step": torch.tensor(float(step)), "base": numbers}


def save(one: CheckpointSaver, step: int, rank: int, world_size: int) -> None:
    """Begin to save this rank's rows of every tensor."""
    rows = ROWS // world_size
    pieces = {}
    for name, whole in tensors_at(step).items():
        if whole.ndim:
            pieces[name] = Piece(name, whole[rank * rows : (rank + 1) * rows], (ROWS, COLUMNS), (rank * rows, 0))
        else:
            pieces[name] = Piece(name, whole, (), (), rank, world_size)
    state = TrainState(step=step, tokens_seen=7 * step)
    one.save(state, [pieces["a"]], [pieces["a:exp_avg"], pieces["a:step"]], [pieces["base"]])
    one.wait_until_staged()


def check_newest(stage: StageLayout) -> int:
    """The step of the newest checkpoint, all of whose values are of that step; no damaged one is there."""
    held = tensors_at(-1)
    state, damaged = load_newest(stage, "request", ALONE, held)
    assert damaged == []
    if state is None:
        return 0
    assert state.tokens_seen == 7 * state.step
    assert all(torch.equal(held[name], whole) for name, whole in tensors_at(state.step).items())
    return state.step


def train_for_ever(stage: StageLayout, rank: int, world_size: int, first_step: int, attempt: int) -> None:
    """One rank that saves without a pause."""
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = stage.path.with_name(f"store_{attempt}")
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    one = CheckpointSaver(stage, "request", Ranks(rank, world_size, torch.device("cpu")), attempt, keep=2)
    for step in range(first_step, 100_000):
        save(one, step, rank, world_size)


def wait_for(stage: StageLayout, attempt: int, step: int | None) -> None:
    """Until this step, or a later one, is committed; without one, until the attempt writes."""
    give_up = time.monotonic() + 120
    while True:
        writing = list(stage.checkpoints.glob(f".*attempt_{attempt}"))
        committed = committed_checkpoints(stage)
        if writing if step is None else committed and committed[0].name >= step_folder(step):
            return
        assert time.monotonic() < give_up, "the attempt does not get on"
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("world_size", "kills"), [(1, 7), (2, 7), *(pytest.param(n, 25, marks=pytest.mark.soak) for n in (1, 2))]
)
def test_killed_at_random_moments_it_leaves_only_whole_checkpoints(world_size: int, kills: int, tmp_path: Path) -> None:
    stage, chance = StageLayout(tmp_path / "stage"), random.Random(world_size)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "tasks.training.checkpoint.saver"])
    newest, halves = 0, 0
    for attempt in range(1, kills + 1):
        processes = [
            context.Process(target=train_for_ever, args=(stage, rank, world_size, newest + 1, attempt), daemon=True)
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        commits = chance.randrange(3)
        wait_for(stage, attempt, newest + commits if commits else None)
        time.sleep(chance.uniform(0, 0.1))
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()
        halves += bool(list(stage.checkpoints.glob(".*")))
        clear_leftovers(stage)
        assert not list(stage.checkpoints.glob(".*"))
        before, newest = newest, check_newest(stage)
        assert newest >= before + commits, "what was committed is never lost"
    assert halves > 0, "some were hit while they wrote"


@pytest.mark.parametrize("missing_bytes", [4096, 8192, 16384, 100_000, 400_000, 520_000])
def test_a_full_disk_is_said_and_the_checkpoints_before_it_are_kept(missing_bytes: int, tmp_path: Path) -> None:
    """There is no room for the last bytes of a checkpoint: its manifest, its index, the moments or the weights."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        stage = StageLayout(disk / "stage")
        one = CheckpointSaver(stage, "request", ALONE, 1, keep=9)
        used = []
        for step in (1, 2):
            save(one, step, 0, 1)
            one.finish()
            used.append(shutil.disk_usage(disk).used)
        assert used[1] - used[0] > 520_000, "what a checkpoint needs whose base is there already"
        size = used[1] + used[1] - used[0] - missing_bytes
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
        with pytest.raises(
            DiskFullError,
            match=r"rank 0 cannot write .*step_00000003, its disk is full: a checkpoint like step_00000002 takes at least "
            r"([\d,]+) bytes and ([\d,]+) are free; make",
        ) as raised:
            save(one, 3, 0, 1)
            one.finish()
        numbers = re.search(r"at least ([\d,]+) bytes and ([\d,]+) are", str(raised.value)).groups()
        needed, free = (int(number.replace(",", "")) for number in numbers)
        assert needed - free == missing_bytes // 4096 * 4096, "block for block"
        assert not list(stage.checkpoints.glob(".*")), "what was half-made is gone"
        assert check_newest(stage) == 2
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = CheckpointSaver(stage, "request", ALONE, 2, keep=9)
        save(again, 3, 0, 1)
        again.finish()
        assert check_newest(stage) == 3
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_no_flipped_bit_in_any_file_is_loaded(tmp_path: Path) -> None:
    stage, chance = StageLayout(tmp_path / "stage"), random.Random(0)
    one = CheckpointSaver(stage, "request", ALONE, 1, keep=2)
    save(one, 1, 0, 1)
    one.finish()
    (path,) = committed_checkpoints(stage)
    files = sorted(path.iterdir())
    assert len(files) == 7
    held = tensors_at(-1)
    for file in files:
        content = file.read_bytes()
        for place in chance.choices(range(len(content)), k=40):
            damaged = bytearray(content)
            damaged[place] ^= 1 << chance.randrange(8)
            file.write_bytes(damaged)
            with pytest.raises(IntegrityError, match="step_00000001"):
                load_checkpoint(path, "request", ALONE, held)
        file.write_bytes(content)
    assert all(torch.equal(held[name], whole) for name, whole in tensors_at(-1).items()), "nothing was filled"
    assert load_checkpoint(path, "request", ALONE, held).step == 1
    verify(path, Manifest.read(path / "manifest.json"))
    assert read_json(path / "state.json")["step"] == 1
