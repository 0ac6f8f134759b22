"""Making a part: whole or not at all, once whoever does it, and a full disk told with numbers."""

import errno
import json
import os

import pytest

from tasks.data import steps
from tasks.data.steps import NOTHING_FREE_BYTES, Preparation, commit, do_part, is_disk_full, maker_of, needed_bytes
from tasks.record.errors import DiskFullError
from tasks.record.files import read_json
from tasks.record.parts import STEPS, Part
from tests.kit.preparations import do_steps, no_report, sentences

PLAN, EXTRACT = Part("plan", 0), Part("extract", 0)


@pytest.fixture
def preparation(requested, jsonl) -> Preparation:
    return requested({"source": "jsonl", "path": str(jsonl([{"text": text} for text in sentences(60)]))})


def making(monkeypatch, maker) -> None:
    monkeypatch.setattr(steps, "maker_of", lambda step: maker)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_step_has_its_maker():
    assert [callable(maker_of(step)) for step in STEPS] == [True] * 5


def test_a_preparation_is_read_from_its_request(preparation):
    again = Preparation.of(preparation.stage)
    assert again.request == preparation.request
    assert again.data.source == "jsonl"
    assert again.tokenizer.vocab_size == 300
    assert again.stage.path.is_relative_to(again.home / "datasets")


def test_a_part_is_made_once(preparation, monkeypatch):
    calls = []

    def maker(preparation, part, folder, report):
        calls.append(folder.name)
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("made")
        return {"parts": []}

    making(monkeypatch, maker)
    for _ in range(2):
        do_part(preparation, PLAN, no_report)
    assert len(calls) == 1
    assert calls[0].startswith(".00000.")
    folder = preparation.work.folder(PLAN)
    assert names(folder.parent) == ["00000"]
    assert names(folder) == ["result.json", "sub"]
    assert preparation.work.plan == []


def test_of_two_processes_the_first_one_counts(preparation, monkeypatch):
    def slower(preparation, part, folder, report):
        faster = preparation.work.folder(part)
        faster.mkdir()
        (faster / "result.json").write_text('{"by": "the other"}')
        return {"by": "this"}

    making(monkeypatch, slower)
    do_part(preparation, PLAN, no_report)
    assert preparation.work.result(PLAN) == {"by": "the other"}
    assert names(preparation.work.folder(PLAN).parent) == ["00000"]


def test_a_rename_that_fails_for_another_reason_is_no_success(tmp_path):
    with pytest.raises(FileNotFoundError):
        commit(tmp_path / "not there", tmp_path / "final")


def test_what_failed_leaves_nothing(preparation, monkeypatch):
    def failing(preparation, part, folder, report):
        (folder / "half").write_text("half")
        raise RuntimeError("a defect")

    making(monkeypatch, failing)
    with pytest.raises(RuntimeError, match="a defect"):
        do_part(preparation, PLAN, no_report)
    assert names(preparation.work.path / "plan") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_numbers_and_what_is_done_stays(preparation, monkeypatch, code):
    do_steps(preparation, "plan")
    seen = []

    def failing(preparation, part, folder, report):
        seen.append((preparation.work.path / "reserve").stat().st_size)
        (folder / "half").write_text("half")
        raise OSError(code, os.strerror(code))

    making(monkeypatch, failing)
    with pytest.raises(DiskFullError) as found:
        do_part(preparation, EXTRACT, no_report)
    message = str(found.value)
    assert message.startswith(
        f"{preparation.stage.path} is on a disk that is full: extract-00000 needs about 1,048,576 bytes and "
    )
    assert message.endswith(f" are free ({os.strerror(code)}); make space and run the same command again, what is done is kept")
    assert seen == [steps.RESERVE_BYTES]
    assert not (preparation.work.path / "reserve").exists(), "so that the mistake can be written down"
    assert names(preparation.work.path / "extract") == []
    assert preparation.work.folder(PLAN).is_dir()
    monkeypatch.undo()
    do_part(preparation, EXTRACT, no_report)
    assert preparation.work.folder(EXTRACT).is_dir()


def test_a_step_that_is_not_mapped_is_named_without_a_number(preparation, monkeypatch):
    def failing(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    making(monkeypatch, failing)
    with pytest.raises(DiskFullError, match="disk that is full: plan needs about"):
        do_part(preparation, PLAN, no_report)


def test_other_failures_of_files_are_not_called_a_full_disk(preparation, monkeypatch):
    def failing(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    making(monkeypatch, failing)
    with pytest.raises(PermissionError):
        do_part(preparation, PLAN, no_report)


def test_a_short_write_without_a_number_is_a_full_disk_where_nothing_is_free(tmp_path, monkeypatch):
    assert is_disk_full(OSError(errno.ENOSPC, ""), tmp_path)
    assert not is_disk_full(OSError("1000 requested and 10 written"), tmp_path)
    full = type("usage", (), {"free": NOTHING_FREE_BYTES - 1})
    monkeypatch.setattr(steps.shutil, "disk_usage", lambda path: full)
    assert is_disk_full(OSError("1000 requested and 10 written"), tmp_path)


def test_what_a_part_needs_follows_from_what_it_reads(preparation):
    do_steps(preparation, "plan")
    path = preparation.work.folder(PLAN) / "result.json"
    plan = read_json(path)
    plan["parts"][0][0]["bytes"] = 100 << 20
    for compressed, factor in ((False, 1.2), (True, 6.0)):
        plan["parts"][0][0]["compressed"] = compressed
        path.write_text(json.dumps(plan))
        assert needed_bytes(Preparation.of(preparation.stage), EXTRACT) == int((100 << 20) * factor)
    assert needed_bytes(preparation, PLAN) == NOTHING_FREE_BYTES
    again = Preparation.of(preparation.stage)
    do_steps(again, "extract")
    assert needed_bytes(again, Part("encode", 0)) == NOTHING_FREE_BYTES
