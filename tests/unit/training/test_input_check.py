"""Inputs verified beside training: what one rank finds ends all of them, and nothing is committed before the end."""

import time
from functools import partial
from pathlib import Path

import pytest

from tasks.record.errors import IntegrityError
from tasks.record.files import file_entries
from tasks.record.manifest import Manifest
from tasks.training import input_check
from tasks.training.input_check import InputCheck
from tasks.training.model.ranks import Ranks
from tests.kit.models import ALONE
from tests.kit.ranks import run_ranks


def made(folder: Path) -> Manifest:
    folder.mkdir()
    for number in range(4):
        (folder / f"train-{number}.bin").write_bytes(bytes(100 + number))
    return Manifest(kind="prepare", request_digest="", files=file_entries(folder, list(folder.iterdir())))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def conclusion(ranks: Ranks, inputs: list[tuple[Path, Manifest]]) -> str | None:
    check = InputCheck(ranks, inputs)
    try:
        check.conclude()
        check.conclude()
    except IntegrityError as error:
        return str(error)
    return None


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_what_any_rank_finds_is_raised_by_all(tmp_path: Path, world_size: int) -> None:
    inputs = [(tmp_path / name, made(tmp_path / name)) for name in "ab"]
    assert run_ranks(world_size, partial(conclusion, inputs=inputs)) == [None] * world_size
    for number in range(4):
        path = tmp_path / "b" / f"train-{number}.bin"
        content = path.read_bytes()
        damage(path)
        said = run_ranks(world_size, partial(conclusion, inputs=inputs))
        path.write_bytes(content)
        assert len(set(said)) == 1
        assert said[0].startswith(f"{path} has SHA-256 ") and " and its manifest says " in said[0]


def test_damage_is_known_while_the_rest_is_still_being_read(tmp_path: Path) -> None:
    manifest = made(tmp_path / "data")
    damage(tmp_path / "data" / "train-2.bin")
    check = InputCheck(ALONE, [(tmp_path / "data", manifest)])
    deadline = time.monotonic() + 20
    while not check.found_damage:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(
        IntegrityError, match=r"train-2.bin has SHA-256 \w{12}... and its manifest says \w{12}...; it is damaged"
    ):
        check.raise_damage()


def test_a_verification_that_breaks_off_is_no_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(folder: Path, manifest: Manifest) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(input_check, "verify", breaks)
    said = conclusion(ALONE, [(tmp_path / "data", made(tmp_path / "data"))])
    assert said == "the inputs could not be verified (MemoryError('no more')); run the same command again"


def test_waiting_for_it_shows_that_the_rank_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_check, "verify", lambda folder, manifest: time.sleep(0.5))
    monkeypatch.setattr(input_check, "NOTE_SECONDS", 0.05)
    notes: list[None] = []
    began = time.monotonic()
    check = InputCheck(ALONE, [(tmp_path / "data", made(tmp_path / "data"))])
    assert not check.found_damage and time.monotonic() - began < 0.4, "it does not wait where it begins"
    check.conclude(lambda: notes.append(None))
    assert time.monotonic() - began >= 0.5 and notes
