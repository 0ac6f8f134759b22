"""Files are linked into the registry; a copy is made only where that is impossible, and said."""

import os
import re
from pathlib import Path

import pytest

from tasks.record.errors import IntegrityError, TrackingError
from tasks.registry import files as model_files
from tasks.registry.files import local_folder, place_file


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "export" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def refuse(source, target):
    raise OSError(18, "Invalid cross-device link")


def test_file_gets_a_second_name_and_is_read_only(source, tmp_path):
    target = tmp_path / "store" / "deep" / "model.safetensors"
    for _ in range(2):
        place_file(source, target)
        assert target.samefile(source)
        assert target.stat().st_nlink == 2
        assert target.stat().st_mode & 0o222 == 0


def test_file_that_cannot_be_linked_is_copied_and_that_is_said(source, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(os, "link", refuse)
    place_file(source, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    assert source.stat().st_nlink == 1
    assert re.search(
        r"copying .*model\.safetensors \(7 bytes\) into the registry, it cannot be linked: .*cross-device", caplog.text
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "model.safetensors"]


def test_copy_that_went_wrong_is_refused_and_leaves_no_file_of_that_name(source, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(model_files.shutil, "copyfile", lambda source, target: Path(target).write_bytes(b"weight"))
    with pytest.raises(IntegrityError, match=r"model\.safetensors was not copied as .* is; check the disk and register again"):
        place_file(source, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_other_file_of_the_same_name_is_replaced(source, tmp_path):
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"of an attempt that broke")
    place_file(source, target)
    assert target.samefile(source)


def test_location_that_is_no_folder_here_is_named():
    with pytest.raises(TrackingError, match=re.escape("artifact_location='s3://bucket/x' is not a folder of this machine")):
        local_folder("s3://bucket/x")
    assert local_folder("file:///a%20b/c") == Path("/a b/c")
