"""Requests are compared by what they ask for, manifests by what they describe."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.record.errors import IntegrityError, RequestChangedError
from tasks.record.files import file_entries, write_json
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.manifest import (
    Input,
    Manifest,
    Request,
    environment,
    finished,
    first_difference,
    input_manifest,
    read_request,
    verify,
    write_manifest,
)


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "kind": "pretrain",
        "identity": {"pretrain": {"seed": 0, "beta1": 0.9}, "model": {"extra": {}, "labels": ("a", "b")}},
        "inputs": {"dataset": Input(path="/a", digest="d" * 64)},
        "execution": {"launch": {"num_processes": 2}},
    }
    return Request(**values | changes)


def made(folder: Path) -> Manifest:
    """Two files and their manifest."""
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "weights").write_bytes(bytes(range(256)) * 40)
    (folder / "curve.png").write_bytes(b"png")
    files = file_entries(folder, [folder / "export" / "weights", folder / "curve.png"])
    return Manifest(kind="pretrain", request_digest="r", files=files, step=4, metrics={"loss": 1.5, "n": 3, "none": None})


def test_paths_and_execution_are_no_part_of_the_identity() -> None:
    base = request()
    assert request(inputs={"dataset": Input(path="/b", digest="d" * 64)}).digest == base.digest
    assert request(execution={"launch": {"num_processes": 64}}).digest == base.digest
    assert Request.model_validate_json(base.model_dump_json()).digest == base.digest, "also after a trip through JSON"


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"identity": {"pretrain": {"seed": 1, "beta1": 0.9}, "model": {"extra": {}, "labels": ("a", "b")}}},
         "pretrain.seed was 0 and is now 1"),
        ({"identity": {"pretrain": {"seed": 0, "beta1": 0.9, "new": None}, "model": {"extra": {}, "labels": ("a", "b")}}},
         "pretrain.new was 'not set' and is now None"),
        ({"identity": {"pretrain": {"seed": 0}, "model": {"extra": {}, "labels": ("a", "b")}}},
         "pretrain.beta1 was 0.9 and is now 'not set'"),
        ({"inputs": {"dataset": Input(path="/a", digest="e" * 64)}},
         "input.dataset was 'dddddddddddd' and is now 'eeeeeeeeeeee'"),
        ({"kind": "finetune"}, "kind was 'pretrain' and is now 'finetune'"),
    ],
)  # fmt: skip
def test_a_changed_request_has_another_digest_and_names_the_field(changes: dict, difference: str) -> None:
    assert request(**changes).digest != request().digest
    assert first_difference(request(), request(**changes)) == difference


def test_a_stage_is_finished_only_by_the_same_request(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path / "02-pretrain")
    assert finished(stage, request()) is None
    write_json(stage.request, request())
    assert finished(stage, request()) is None
    manifest = write_manifest(stage.path, made(stage.path))
    assert finished(stage, request(execution={})) == manifest
    other = request(identity={"pretrain": {"seed": 7, "beta1": 0.9}, "model": {"extra": {}, "labels": ("a", "b")}})
    with pytest.raises(RequestChangedError) as found:
        finished(stage, other)
    assert str(found.value) == (
        "02-pretrain was run with another request: pretrain.seed was 0 and is now 7; choose another --name, or set it back"
    )


def test_a_manifest_comes_back_as_it_was_written_and_says_where_it_was_made(tmp_path: Path) -> None:
    manifest = made(tmp_path)
    stamped = write_manifest(tmp_path, manifest)
    again = Manifest.read(tmp_path / "manifest.json")
    assert again == stamped
    assert again.digest == manifest.digest, "where and when it was made does not count"
    assert again.environment["versions"]["torch"]
    assert again.created_at.endswith("+00:00")
    assert again.as_input(tmp_path) == Input(path=str(tmp_path), digest=manifest.digest)
    assert [entry.path for entry in again.files] == ["curve.png", "export/weights"]


@pytest.mark.parametrize(
    "changes", [{"step": 5}, {"metrics": {"loss": 1.25}}, {"files": ()}, {"details": {"verdict": "x"}}, {"kind": "finetune"}]
)
def test_the_digest_of_a_manifest_covers_what_it_says(tmp_path: Path, changes: dict) -> None:
    manifest = made(tmp_path)
    assert manifest.model_copy(update=changes).digest != manifest.digest
    moved = {"inputs": {"a": Input(path="/x", digest="1")}}
    assert (
        manifest.model_copy(update=moved).digest
        == manifest.model_copy(update={"inputs": {"a": Input(path="/y", digest="1")}}).digest
    )


def test_verification_reads_every_byte(tmp_path: Path) -> None:
    manifest, weights = made(tmp_path), tmp_path / "export" / "weights"
    verify(tmp_path, manifest)
    content = weights.read_bytes()
    flipped = bytearray(content)
    flipped[5000] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(IntegrityError, match=r"export/weights has SHA-256 \w{12}\.\.\. and its manifest says \w{12}\.\.\."):
        verify(tmp_path, manifest)
    weights.write_bytes(content[:-1])
    with pytest.raises(IntegrityError, match="export/weights has 10239 bytes and its manifest says 10240; it is damaged"):
        verify(tmp_path, manifest)
    weights.unlink()
    with pytest.raises(IntegrityError, match="export/weights is listed in the manifest and does not exist"):
        verify(tmp_path, manifest)
    weights.write_bytes(content)
    verify(tmp_path, manifest)


def test_a_manifest_that_is_missing_torn_or_newer_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(IntegrityError, match="does not exist; the stage that makes it has not finished"):
        Manifest.read(path)
    write_manifest(tmp_path, made(tmp_path))
    whole = path.read_text()
    for wrong in (whole[: len(whole) // 2], "", whole.replace('"format_version": 1', '"format_version": 2'), "[]"):
        path.write_text(wrong)
        with pytest.raises(IntegrityError, match="cannot be read by this version"):
            Manifest.read(path)


def test_an_input_that_was_made_anew_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, made(tmp_path))
    asked = request(inputs={"dataset": manifest.as_input(tmp_path)})
    assert input_manifest(asked, "dataset") == manifest
    write_manifest(tmp_path, manifest.model_copy(update={"step": 5}))
    with pytest.raises(IntegrityError, match=r"manifest.json is not the dataset that was asked for; run the pipeline again"):
        input_manifest(asked, "dataset")


def test_the_environment_names_versions_commit_and_hardware() -> None:
    found = environment()
    assert found["versions"]["torch"].startswith("2.")
    assert found["hardware"]["cpu_count"] >= 1
    head = subprocess.run(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert found["commit"] == (head.stdout.strip() or None)
    json.dumps(found)


def test_a_stage_that_was_refused_before_it_made_anything_takes_a_corrected_request(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path)
    wrong, right = (Request(kind="pretrain", identity={"architecture": name}) for name in ("bert", "llama"))
    write_json(stage.request, wrong)
    write_json(stage.error, {"error": "ConfigError", "message": "no causal model"})
    assert finished(stage, right) is None
    (stage.checkpoints / "step_00000010").mkdir(parents=True)
    with pytest.raises(RequestChangedError, match="architecture was 'bert' and is now 'llama'"):
        finished(stage, right)


def test_a_difference_within_a_list_of_named_things_is_told_by_the_name():
    def asked(weight: float) -> Request:
        mixture = [{"name": "books", "weight": weight}, {"name": "pages", "weight": 1.0}]
        return Request(kind="pretrain", identity={"mixture": mixture})

    assert first_difference(asked(2.0), asked(9.0)) == "mixture.books.weight was 2.0 and is now 9.0"


def test_what_a_request_and_a_manifest_name_moves_with_their_home(tmp_path: Path) -> None:
    home, moved = tmp_path / "home", tmp_path / "elsewhere" / "moved"
    stage, data = StageLayout(home / "runs" / "r" / "02-pretrain"), home / "datasets" / "d"
    for folder in (stage.path, data, moved.parent):
        folder.mkdir(parents=True)
    given = write_manifest(data, made(data)).as_input(data)
    asked = request(inputs={"dataset": given})
    asked.write(stage.request)
    write_manifest(stage.path, made(stage.path).model_copy(update={"inputs": {"dataset": given}}))
    assert read_request(stage).inputs == asked.inputs

    home.rename(moved)

    there = StageLayout(moved / "runs" / "r" / "02-pretrain")
    for found in (read_request(there), Manifest.read(there.manifest)):
        assert Path(found.inputs["dataset"].path) == moved / "datasets" / "d"
    assert input_manifest(read_request(there), "dataset").digest == given.digest
    assert read_request(there).digest == asked.digest


def test_an_absolute_path_in_a_file_stays_what_it_is(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path)
    write_json(stage.request, request())
    assert read_request(stage).inputs["dataset"].path == "/a"
