"""Checkpoints hold everything, exactly; what is damaged or belongs elsewhere is refused; the last good one stays."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from tasks.record.errors import IntegrityError
from tasks.record.layout import StageLayout, step_folder
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint import checkpoint
from tasks.training.checkpoint.checkpoint import (
    TrainState,
    clear_leftovers,
    committed_checkpoints,
    discard_after,
    load_newest,
    retain,
)
from tests.kit.checkpoints import DIGEST, STATE, change_json, copied_tensors, load, same, save, trained
from tests.kit.models import ALONE

FILES = ["optimizer_00000.safetensors", "pieces.json", "state.json", "weights_00000.safetensors"]


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def steps(stage: StageLayout) -> list[int]:
    return [int(p.name.removeprefix("step_")) for p in committed_checkpoints(stage)]


def empty_checkpoints(stage: StageLayout, *numbers: int) -> None:
    for step in numbers:
        (stage.checkpoints / step_folder(step)).mkdir(parents=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_weights_moments_and_state_come_back_bit_for_bit(stage: StageLayout, architecture: str, tied: bool) -> None:
    tensors = trained(architecture, tie_word_embeddings=tied)
    path = save(stage, STATE, tensors)
    assert path == stage.checkpoints / "step_00000007"
    again = trained(architecture, seed=9, tie_word_embeddings=tied)
    places = [tensor.data_ptr() for tensor in again[0].values()]
    assert not same(tensors, again)
    assert load(path, again) == STATE
    assert same(tensors, again)
    assert [tensor.data_ptr() for tensor in again[0].values()] == places, "in place"
    assert ("lm_head.weight" in again[0]) != tied


def test_a_checkpoint_lists_its_files_and_holds_no_pickles(stage: StageLayout) -> None:
    path = save(stage, TrainState(step=3, tokens_seen=300), trained())
    manifest = Manifest.read(path / "manifest.json")
    verify(path, manifest)
    assert [entry.path for entry in manifest.files] == FILES
    assert (manifest.kind, manifest.step, manifest.tokens_seen) == ("checkpoint", 3, 300)
    assert manifest.environment["versions"]["torch"] == torch.__version__
    assert manifest.created_at
    assert {p.name for p in path.iterdir()} == {*FILES, "manifest.json", "manifest.json.sha256"}


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.json.sha256"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_any_damage_is_noticed_before_anything_is_loaded(stage: StageLayout, name: str, damage: str) -> None:
    file = save(stage, TrainState(step=3), trained()) / name
    content = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    tensors = trained(seed=9)
    before = copied_tensors(tensors)
    with pytest.raises(IntegrityError) as caught:
        load(file.parent, tensors)
    assert str(file.parent) in str(caught.value)
    assert same(tensors, before)


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.json.sha256"])
def test_no_single_flipped_bit_is_taken_for_a_checkpoint(stage: StageLayout, name: str) -> None:
    file = save(stage, TrainState(step=3), trained()) / name
    content, tensors = file.read_bytes(), trained(seed=9)
    places = random.Random(name).choices(range(len(content)), k=12)
    for place in (0, 8, len(content) - 1, *places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with pytest.raises(IntegrityError):
            load(file.parent, tensors)
    file.write_bytes(content)
    assert load(file.parent, tensors).step == 3


def test_a_checkpoint_of_another_request_or_model_is_refused(stage: StageLayout) -> None:
    path = save(stage, TrainState(step=3), trained())
    with pytest.raises(IntegrityError, match="belongs to another request; move it away or choose another --name"):
        load(path, trained(), digest="x" * 64)
    remedy = "; move it away or choose another --name"
    up = r"model.layers.0.mlp.gate_proj.weight is \(64, 32\) F32 there and \(48, 32\) F32 here"
    with pytest.raises(IntegrityError, match=f"step_00000003 holds another model: {up}{remedy}"):
        load(path, trained(intermediate_size=48))
    with pytest.raises(
        IntegrityError, match=rf"holds another model: model.layers.1.\S+ \(\S+.*\) is there and not in this model{remedy}"
    ):
        load(path, trained(num_hidden_layers=1))
    with pytest.raises(IntegrityError, match=r"model.layers.2.\S+ is missing there and \(32, 32\) F32 here"):
        load(path, trained(num_hidden_layers=3))
    weights, state = trained()
    with pytest.raises(IntegrityError, match=r"embed_tokens.weight is \(384, 32\) F32 there and \(384, 32\) BF16 here"):
        load(path, ({name: tensor.bfloat16() for name, tensor in weights.items()}, state))


def test_a_checkpoint_of_another_vocabulary_or_tokenizer_is_refused(stage: StageLayout) -> None:
    tensors = trained()
    path = save(stage, TrainState(step=3), tensors, tokenizer_digest="a" * 64)
    assert Manifest.read(path / "manifest.json").details == {"tokenizer_digest": "a" * 64}
    message = "was trained with the tokenizer aaaaaaaaaaaa and this run has bbbbbbbbbbbb; move it away or choose another --name"
    with pytest.raises(IntegrityError, match=message):
        load(path, tensors, tokenizer_digest="b" * 64)
    assert load(path, tensors, tokenizer_digest="a" * 64).step == 3
    assert load(path, tensors).step == 3, "a run that does not say cannot be compared"
    smaller = ({k: v[:100] if "embed" in k else v for k, v in tensors[0].items()}, tensors[1])
    with pytest.raises(IntegrityError, match=r"embed_tokens.weight is \(384, 32\) F32 there and \(100, 32\) F32 here"):
        load(path, smaller)


def test_what_a_newer_version_wrote_is_refused(stage: StageLayout) -> None:
    path = save(stage, TrainState(step=3), trained())
    change_json(path / "pieces.json", format_version=2)
    with pytest.raises(
        IntegrityError,
        match=r"pieces.json has format_version=2 and this version of pretune reads up to 1; use the version that",
    ):
        load(path, trained())
    change_json(path / "pieces.json", format_version=1)
    change_json(path / "state.json", momentum=0.5)
    with pytest.raises(IntegrityError, match=r"state.json has 'momentum', which this version of pretune does not know"):
        load(path, trained())
    change_json(path / "manifest.json", format_version=2)
    with pytest.raises(IntegrityError, match=r"manifest.json cannot be read by this version .*use the version of pretune that"):
        load(path, trained())


def test_what_an_older_version_wrote_is_refused(stage: StageLayout) -> None:
    path = save(stage, TrainState(step=3), trained())
    content = json.loads((path / "manifest.json").read_text())
    change_json(path / "manifest.json", files=[one for one in content["files"] if one["path"] != "pieces.json"])
    with pytest.raises(IntegrityError, match=r"has no pieces.json, another version of pretune wrote it"):
        load(path, trained())


def test_the_newest_intact_checkpoint_is_taken_and_each_damaged_one_is_named(stage: StageLayout) -> None:
    weights, state = trained()
    assert load_newest(stage, DIGEST, ALONE, weights | state) == (None, [])
    for step in (5, 10, 15):
        save(stage, TrainState(step=step), (weights, state))
    (stage.checkpoints / step_folder(15) / "state.json").write_text("{}")
    (stage.checkpoints / step_folder(10) / "manifest.json").unlink()
    loaded, damaged = load_newest(stage, DIGEST, ALONE, weights | state)
    assert loaded is not None
    assert loaded.step == 5
    assert [step_folder(step) in sentence for step, sentence in zip((15, 10), damaged, strict=True)] == [True, True]


def test_no_intact_checkpoint_is_an_error_that_deletes_nothing(stage: StageLayout) -> None:
    weights, state = trained()
    for step in (5, 10):
        (save(stage, TrainState(step=step), (weights, state)) / "weights_00000.safetensors").write_bytes(b"")
    with pytest.raises(
        IntegrityError, match=r"no checkpoint in .* is intact: .*step_00000010.*; restore one, or remove them all"
    ):
        load_newest(stage, DIGEST, ALONE, weights | state)
    assert steps(stage) == [10, 5]


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [50, 40]), (2, 20, [50, 40, 20]), (1, 50, [50]), (3, 40, [50, 40, 30]), (9, 10, [50, 40, 30, 20, 10]),
     (1, 99, [50])],
)  # fmt: skip
def test_retention_keeps_the_newest_and_the_best(stage: StageLayout, keep: int, best: int | None, left: list[int]) -> None:
    empty_checkpoints(stage, 10, 20, 30, 40, 50)
    deleted = retain(stage, keep, best)
    assert steps(stage) == left
    assert {p.name for p in deleted} == {step_folder(s) for s in (10, 20, 30, 40, 50) if s not in left}
    assert not list(stage.checkpoints.glob(".*"))


def test_a_rollback_discards_only_what_came_after(stage: StageLayout) -> None:
    empty_checkpoints(stage, 10, 20, 30)
    discard_after(stage, 20)
    assert steps(stage) == [20, 10]


def test_deletion_goes_out_of_sight_first(stage: StageLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the middle of a deletion leaves no half checkpoint under a good name."""
    path = save(stage, TrainState(step=3), trained())
    real = shutil.rmtree

    def killed(target: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            (target / FILES[0]).unlink()
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
