"""Weights that are not trained lie on disk once, however many checkpoints there are, and never damaged."""

from pathlib import Path

import pytest
import torch

from tasks.config.parallel import Layout
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint.checkpoint import TrainState, load_checkpoint, remove
from tasks.training.checkpoint.saver import CheckpointSaver
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import pieces_of
from tests.kit.checkpoints import DIGEST, saver
from tests.kit.models import ALONE

NAME = "frozen_00000.safetensors"


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "03-finetune")


def tensors(value: float, base: float = 1.0) -> tuple[dict, dict, dict]:
    """An adapter, its optimizer's state, and the frozen base."""
    return {"lora": torch.full((4, 2), value)}, {"lora:step": torch.tensor(value)}, {"base": torch.full((100, 30), base)}


def save(one: CheckpointSaver, step: int, base: float = 1.0) -> Path:
    parts = [pieces_of(part, Mesh(Layout(), ALONE)) for part in tensors(float(step), base)]
    one.save(TrainState(step=step), *parts)
    one.finish()
    return one.saved[-1].path


def load(path: Path) -> tuple[float, float]:
    """The adapter's and the base's value."""
    weights, optimizer, frozen = tensors(0.0, 0.0)
    manifest = Manifest.read(path / "manifest.json")
    load_checkpoint(path, manifest.request_digest, ALONE, weights | optimizer | frozen)
    verify(path, manifest)
    return float(weights["lora"].unique()), float(frozen["base"].unique())


def test_the_base_is_written_once_and_outlives_the_checkpoint_it_was_written_for(stage: StageLayout) -> None:
    one = saver(stage, keep=2)
    first = save(one, 1) / NAME
    inode = first.stat().st_ino
    paths = [save(one, step) for step in (2, 3, 4)]
    assert not first.exists()
    assert [(path / NAME).stat().st_ino for path in paths[1:]] == [inode, inode]
    assert (paths[-1] / NAME).stat().st_nlink == 2
    assert [load(path) for path in paths[1:]] == [(3.0, 1.0), (4.0, 1.0)]
    remove(paths[1])
    assert load(paths[2]) == (4.0, 1.0)


def test_the_next_attempt_shares_the_same_file(stage: StageLayout) -> None:
    first, second = save(saver(stage), 1), save(saver(stage, attempt=2), 2)
    assert (first / NAME).samefile(second / NAME)
    assert load(second) == (2.0, 1.0)


def test_a_damaged_base_is_not_shared_but_written_again(stage: StageLayout) -> None:
    first = save(saver(stage), 1)
    content = bytearray((first / NAME).read_bytes())
    content[-1] ^= 1
    (first / NAME).write_bytes(content)
    second = save(saver(stage, attempt=2), 2)
    assert not (first / NAME).samefile(second / NAME)
    assert load(second) == (2.0, 1.0)


@pytest.mark.parametrize("left_out", ["manifest.json", "pieces.json", NAME])
def test_a_base_that_cannot_be_found_again_is_written_again(stage: StageLayout, left_out: str) -> None:
    first = save(saver(stage), 1)
    (first / left_out).unlink()
    assert load(save(saver(stage, attempt=2), 2)) == (2.0, 1.0)


def test_the_base_of_another_request_or_layout_is_not_shared(stage: StageLayout) -> None:
    first = save(CheckpointSaver(stage, "another", ALONE, 1, keep=9), 1, base=7.0)
    second = save(saver(stage), 2)
    assert not (first / NAME).samefile(second / NAME)
    one = saver(stage)
    cut = [pieces_of(part, Mesh(Layout(), ALONE)) for part in tensors(3.0)[:2]]
    one.save(TrainState(step=3), *cut, frozen=pieces_of({"base": torch.ones(50, 30)}, Mesh(Layout(), ALONE)))
    one.finish()
    assert not (second / NAME).samefile(one.saved[-1].path / NAME)


def test_where_there_are_no_links_the_base_is_written_again(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    first = save(saver(stage), 1)

    def refuse(*_: object) -> None:
        raise PermissionError("this file system has no hard links")

    monkeypatch.setattr("os.link", refuse)
    second = save(saver(stage), 2)
    assert not (first / NAME).samefile(second / NAME)
    assert load(second) == (2.0, 1.0)


def test_a_rank_without_values_writes_no_file(stage: StageLayout) -> None:
    one = saver(stage)
    one.save(TrainState(step=1), pieces_of(tensors(1.0)[0], Mesh(Layout(), ALONE)), [])
    one.finish()
    manifest = Manifest.read(one.saved[-1].path / "manifest.json")
    assert manifest.request_digest == DIGEST
    assert [entry.path for entry in manifest.files] == ["pieces.json", "state.json", "weights_00000.safetensors"]
