"""Bits per byte of the base's held-out text, before and after a fine-tune, and why they may not be had."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.config.parallel import Layout
from tasks.record.errors import IntegrityError
from tasks.record.manifest import Manifest, Request, write_manifest
from tasks.stages.work import Result, evaluate_work, examples_work, finetune_work
from tasks.training.forgetting import NotMeasured, heldout_bits
from tasks.training.model.mesh import Mesh
from tests.kit.models import ALONE
from tests.kit.preparations import prepared_result
from tests.kit.stages import finetune_config, pretrained_base, run

ONE = Mesh(Layout(), ALONE)


@pytest.fixture(scope="module")
def tuned(home: Path) -> tuple[Result, dict[str, Result], Request]:
    """The data set, what a fine-tune for answers made, and the request of its evaluation."""
    _, dataset, base = pretrained_base(home)
    settings = finetune_config(home, "instruction")
    found = {"base": base, "examples": prepared_result(examples_work(home, settings))}
    found["candidate"] = run(finetune_work(home, settings, base, found["examples"]))
    return dataset, found, evaluate_work(settings, found).request


def asked(request: Request, role: str, stage: Path, **changes: Any) -> Request:
    """The request with another manifest, of a copy of the stage's folder, for one of its roles."""
    shutil.copytree(Path(request.inputs[role].path), stage)
    manifest = write_manifest(stage, Manifest.read(stage / "manifest.json").model_copy(update=changes))
    return request.model_copy(update={"inputs": request.inputs | {role: manifest.as_input(stage)}})


def test_the_base_has_the_bits_per_byte_of_its_pre_training_and_the_candidate_has_more(tuned: tuple) -> None:
    _, found, request = tuned
    bits = heldout_bits(request, ONE)
    assert bits["base"] == pytest.approx(found["base"].manifest.metrics["bits_per_byte"], rel=1e-5)
    assert bits["candidate"] > bits["base"] + 0.1


def test_a_candidate_that_is_its_base_has_forgotten_nothing(tuned: tuple) -> None:
    _, found, request = tuned
    same = request.model_copy(update={"inputs": request.inputs | {"candidate": found["base"].input}})
    bits = heldout_bits(same, ONE)
    assert bits["candidate"] == bits["base"]


def test_a_base_from_elsewhere_has_no_held_out_text(tuned: tuple, tmp_path: Path) -> None:
    request = asked(tuned[2], "base", tmp_path / "base", inputs={})
    with pytest.raises(NotMeasured, match=r"^the base was not pre-trained here, so that no text is known that was held out"):
        heldout_bits(request, ONE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("gone", r"the text that the base was pre-trained on is no longer at "),
        ("other", r"no longer holds the text that the base"),
    ],
)
def test_text_that_is_gone_or_another_one_is_said(tuned: tuple, tmp_path: Path, change: str, sentence: str) -> None:
    dataset, _, request = tuned
    moved = tmp_path / "moved"
    if change == "other":
        shutil.copytree(dataset.stage.path, moved)
        write_manifest(moved, dataset.manifest.model_copy(update={"step": 7}))
    entry = dataset.input.model_copy(update={"path": str(moved)})
    with pytest.raises(NotMeasured, match=sentence):
        heldout_bits(asked(request, "base", tmp_path / "base", inputs={"dataset": entry}), ONE)


def test_another_tokenizer_is_said(tuned: tuple, tmp_path: Path) -> None:
    candidate = tuned[1]["candidate"].manifest
    files = tuple(
        entry.model_copy(update={"sha256": "0" * 64}) if entry.path == "export/tokenizer.json" else entry
        for entry in candidate.files
    )
    with pytest.raises(NotMeasured, match=r"^the candidate has another tokenizer than its base$"):
        heldout_bits(asked(tuned[2], "candidate", tmp_path / "candidate", files=files), ONE)


def test_damaged_text_is_not_measured(tuned: tuple, tmp_path: Path) -> None:
    dataset, _, request = tuned
    copy = tmp_path / "copy"
    shutil.copytree(dataset.stage.path, copy)
    shard = copy / dataset.manifest.details["shards"]["heldout"][0]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    entry = dataset.input.model_copy(update={"path": str(copy)})
    with pytest.raises(IntegrityError, match=r"has SHA-256 .* it is damaged, restore it"):
        heldout_bits(asked(request, "base", tmp_path / "base", inputs={"dataset": entry}), ONE)
