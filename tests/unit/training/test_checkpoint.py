"""Checkpoints hold everything, exactly; what is damaged or belongs elsewhere is refused; the last good one stays."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from tasks.errors import IntegrityError, LockedError
from tasks.launch.lock import hold
from tasks.manifest import Manifest, verify
from tasks.run_layout import StageLayout, step_folder
from tasks.training import checkpoint
from tasks.training.checkpoint import (
    TrainState,
    clear_leftovers,
    committed_checkpoints,
    discard_after,
    load_checkpoint,
    load_newest,
    retain,
    save_checkpoint,
)
from tasks.training.optimizer import FlatGradients, build_optimizer, optimizer_tensors
from tests.unit.training.tiny_models import text_batch, tiny_model

DIGEST = "r" * 64


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def trained(architecture: str = "llama", **changes: object) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    """A model after one step."""
    model = tiny_model(architecture, **changes)
    optimizer, gradients = build_optimizer(model, 1e-2, 0.1, (0.9, 0.95)), FlatGradients(model)
    gradients.zero()
    ids = text_batch()["input_ids"]
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    return model, optimizer


def fresh(architecture: str = "llama", **changes: object) -> tuple[torch.nn.Module, torch.optim.AdamW]:
    model = tiny_model(architecture, seed=9, **changes)
    return model, build_optimizer(model, 1e-2, 0.1, (0.9, 0.95))


def save(stage: StageLayout, step: int, attempt: int = 1, **state: object) -> Path:
    model, optimizer = trained()
    return save_checkpoint(stage, DIGEST, TrainState(step=step, **state), model, optimizer, attempt)


def steps(stage: StageLayout) -> list[int]:
    return [int(p.name.removeprefix("step_")) for p in committed_checkpoints(stage)]


STATE = TrainState(
    step=7, tokens_seen=700, chain="c" * 64, decay_start=5, verdict={"verdict": "converged", "fit": None},
    evaluations=[{"step": 5, "heldout_loss": 0.1 + 0.2}], loss_sum=1 / 3, loss_steps=2, best_step=5, training_seconds=1.25,
)  # fmt: skip


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_moments_and_state_come_back_bit_for_bit(stage: StageLayout, architecture: str, tied: bool) -> None:
    model, optimizer = trained(architecture, tie_word_embeddings=tied)
    path = save_checkpoint(stage, DIGEST, STATE, model, optimizer, 1)
    assert path == stage.checkpoints / "step_00000007"
    again, again_optimizer = fresh(architecture, tie_word_embeddings=tied)
    assert load_checkpoint(path, DIGEST, again, again_optimizer) == STATE
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    saved, loaded = optimizer_tensors(model, optimizer), optimizer_tensors(again, again_optimizer)
    assert saved.keys() == loaded.keys() and len(saved) == 3 * len(list(model.parameters()))
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)
    if tied:
        assert again.lm_head.weight is again.get_input_embeddings().weight, "still tied"


def test_a_checkpoint_lists_its_files_and_holds_no_pickles(stage: StageLayout) -> None:
    path = save(stage, 3, tokens_seen=300)
    manifest = Manifest.read(path / "manifest.json")
    verify(path, manifest)
    assert [entry.path for entry in manifest.files] == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert (manifest.kind, manifest.step, manifest.tokens_seen) == ("checkpoint", 3, 300)
    assert {p.name for p in path.iterdir()} == {e.path for e in manifest.files} | {"manifest.json"}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_any_damage_is_noticed_before_anything_is_loaded(stage: StageLayout, name: str, damage: str) -> None:
    file = save(stage, 3) / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 255
        file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    model, optimizer = fresh()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(IntegrityError):
        load_checkpoint(file.parent, DIGEST, model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not optimizer.state


def test_a_checkpoint_of_another_request_or_model_is_refused(stage: StageLayout) -> None:
    path = save(stage, 3)
    with pytest.raises(IntegrityError, match="belongs to another request; move it away or choose another --name"):
        load_checkpoint(path, "x" * 64, *fresh())
    with pytest.raises(IntegrityError, match=r"holds another model: model.layers.1.* differs"):
        load_checkpoint(path, DIGEST, *fresh(num_hidden_layers=1))
    with pytest.raises(IntegrityError, match=r"holds another model: model.layers.0.mlp.gate_proj.weight differs"):
        load_checkpoint(path, DIGEST, *fresh(intermediate_size=32))


def test_the_newest_intact_checkpoint_is_taken_and_each_damaged_one_is_named(stage: StageLayout) -> None:
    assert load_newest(stage, DIGEST, *fresh()) == (None, [])
    for step in (5, 10, 15):
        save(stage, step)
    (stage.checkpoints / step_folder(15) / "state.json").write_text("{}")
    (stage.checkpoints / step_folder(10) / "manifest.json").unlink()
    state, damaged = load_newest(stage, DIGEST, *fresh())
    assert state.step == 5
    assert [step_folder(step) in sentence for step, sentence in zip((15, 10), damaged, strict=True)] == [True, True]


def test_no_intact_checkpoint_is_an_error_that_deletes_nothing(stage: StageLayout) -> None:
    for step in (5, 10):
        (save(stage, step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        IntegrityError, match=r"no checkpoint in .* is intact: .*step_00000010.*; restore one, or remove them all"
    ):
        load_newest(stage, DIGEST, *fresh())
    assert steps(stage) == [10, 5]


def test_a_newer_attempt_fences_off_an_older_one(stage: StageLayout) -> None:
    with hold(stage) as lock:
        assert [lock.next_token(), lock.next_token()] == [1, 2]
        with pytest.raises(LockedError, match=r"attempt 2 has taken over .*; attempt 1 must not write there"):
            save(stage, 3, attempt=1)
        assert steps(stage) == []
        save(stage, 3, attempt=2)
    assert steps(stage) == [3]


def test_what_a_full_disk_or_a_kill_leaves_is_never_taken_for_a_checkpoint(
    stage: StageLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save(stage, 3)
    monkeypatch.setattr(checkpoint, "write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        save(stage, 6)
    assert steps(stage) == [3]
    assert (stage.checkpoints / f".{step_folder(6)}").is_dir()
    clear_leftovers(stage)
    assert [p.name for p in stage.checkpoints.iterdir()] == [step_folder(3)]
    monkeypatch.undo()
    save(stage, 6)
    assert steps(stage) == [6, 3]


def test_a_step_is_committed_once(stage: StageLayout) -> None:
    path = save(stage, 3, tokens_seen=1)
    before = (path / "state.json").read_bytes()
    assert save(stage, 3, tokens_seen=2) == path
    assert (path / "state.json").read_bytes() == before


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [50, 40]), (2, 20, [50, 40, 20]), (1, 50, [50]), (3, 40, [50, 40, 30]), (9, 10, [50, 40, 30, 20, 10]),
     (1, 99, [50])],
)  # fmt: skip
def test_retention_keeps_the_newest_and_the_best(stage: StageLayout, keep: int, best: int | None, left: list[int]) -> None:
    for step in (10, 20, 30, 40, 50):
        (stage.checkpoints / step_folder(step)).mkdir(parents=True)
    deleted = retain(stage, keep, best)
    assert steps(stage) == left
    assert {p.name for p in deleted} == {step_folder(s) for s in (10, 20, 30, 40, 50) if s not in left}
    assert not list(stage.checkpoints.glob(".*"))


def test_a_rollback_discards_only_what_came_after(stage: StageLayout) -> None:
    for step in (10, 20, 30):
        (stage.checkpoints / step_folder(step)).mkdir(parents=True)
    discard_after(stage, 20)
    assert steps(stage) == [20, 10]


def test_deletion_goes_out_of_sight_first(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle of a deletion leaves no half checkpoint under a good name."""
    path = save(stage, 3)
    real = shutil.rmtree

    def killed(target: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            (target / "model.safetensors").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.remove(path)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", real)
    assert steps(stage) == []
    clear_leftovers(stage)
    assert list(stage.checkpoints.iterdir()) == []


def test_the_state_survives_json_exactly() -> None:
    again = TrainState(**json.loads(json.dumps(dataclasses.asdict(STATE))))
    assert again == STATE
    assert again.loss_sum.hex() == (1 / 3).hex()
