"""Damage is found where it is, and nothing is read twice."""

from pathlib import Path

from tasks.audit.files import FileCheck
from tasks.record.files import file_entries, file_sha256
from tasks.record.manifest import Manifest, write_manifest


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(1000))
    (folder / "config.json").write_text("{}")
    files = [folder / "weights.bin", folder / "config.json"]
    write_manifest(folder, Manifest(kind="checkpoint", request_digest="r", files=file_entries(folder, files)))
    return folder


def test_intact_files_are_counted_once(tmp_path: Path) -> None:
    folder, check = made(tmp_path / "a"), FileCheck()
    assert check.folder(folder) is None
    assert check.folder(folder) is None
    assert (check.files, check.size_bytes) == (2, 1002)


def test_a_flipped_bit_a_lost_file_and_a_lost_manifest_are_named(tmp_path: Path) -> None:
    flipped, lost, bare = (made(tmp_path / name) for name in "abc")
    (flipped / "weights.bin").write_bytes(bytes(999) + b"\x01")
    (lost / "config.json").unlink()
    (bare / "manifest.json").unlink()
    check = FileCheck()
    assert f"{flipped / 'weights.bin'} has SHA-256" in check.folder(flipped)
    assert f"{lost / 'config.json'} is listed in the manifest and does not exist" in check.folder(lost)
    assert f"{bare / 'manifest.json'} does not exist" in check.folder(bare)
    assert check.files == 0


def test_a_manifest_with_a_hash_of_its_own_is_held_to_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "a")
    hashes = folder / "manifest.json.sha256"
    hashes.write_text(f"{file_sha256(folder / 'manifest.json')}  manifest.json\n")
    assert FileCheck().folder(folder) is None
    hashes.write_text(f"{'0' * 64}  manifest.json\n")
    assert "has not the SHA-256 that manifest.json.sha256 says" in FileCheck().folder(folder)
    hashes.write_text("")
    assert "has not the SHA-256" in FileCheck().folder(folder)
