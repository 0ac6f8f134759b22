"""A preparation that is killed, again and again, or runs out of disk: the data set is the same as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.config.config import Config
from tasks.record.files import read_json, write_json
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import prepare_work
from tests.kit.preparations import sentences

NOT_PAYLOAD = {"request.json", "journal.jsonl", "manifest.json"}


def configuration(folder: Path) -> Config:
    """Five parts of a megabyte, with paragraphs, near duplicates and an evaluation set to look at."""
    text = folder / "text.jsonl"
    if not text.exists():
        lines = sentences(4000)
        documents = [" ".join(lines[n : n + 12]) + f"\n\nnumber {n}" for n in range(3900)]
        text.write_text("".join(json.dumps({"text": d}) + "\n" for d in documents), encoding="utf-8")
        (folder / "questions.jsonl").write_text(json.dumps({"text": documents[7]}) + "\n")
    evaluations = [{"name": "questions", "path": str(folder / "questions.jsonl")}]
    data = {
        "name": "faults", "source": "jsonl", "path": str(text), "part_megabytes": 1, "heldout_fraction": 0.1,
        "duplicates": {"paragraphs": True, "similarity": 0.95}, "decontamination": {"evaluations": evaluations},
    }  # fmt: skip
    return Config.model_validate({"data": data, "tokenizer": {"vocab_size": 400}})


def begin(home: Path, folder: Path) -> StageLayout:
    work = prepare_work(home, configuration(folder))
    write_json(work.stage.request, work.request)
    return work.stage


def start(stage: StageLayout) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tasks.data", str(stage.path)], cwd=REPOSITORY, stderr=subprocess.PIPE)


def payload(stage: StageLayout) -> dict[str, bytes]:
    """Every file of the finished data set."""
    files = [path for path in stage.path.rglob("*") if path.is_file() and path.name not in NOT_PAYLOAD]
    return {path.relative_to(stage.path).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory) -> StageLayout:
    stage = begin(tmp_path_factory.mktemp("undisturbed"), folder)
    process = start(stage)
    assert process.wait() == 0, process.stderr.read().decode()
    assert len(Manifest.read(stage.manifest).details["shards"]["train"]) >= 3
    return stage


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(undisturbed, folder, tmp_path, kills):
    moments = random.Random(7)
    killed = number = 0
    while killed < kills:
        stage = begin(tmp_path / f"home-{number}", folder)
        number += 1
        while not stage.manifest.exists():
            process = start(stage)
            try:
                if killed < kills:
                    process.wait(moments.uniform(0.2, 3.0))
                assert process.wait(120) == 0
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                assert process.wait() == -signal.SIGKILL
                killed += 1
        assert payload(stage) == payload(undisturbed)
        assert Manifest.read(stage.manifest).digest == Manifest.read(undisturbed.manifest).digest
        names = {path.name for path in stage.path.iterdir()}
        assert not [name for name in names if name.startswith(".") or name in ("work", "manifest.json.finished")]


@pytest.mark.parametrize("size", ["1m", "3m", "6m"])
def test_a_full_disk_is_said_with_numbers_and_the_work_goes_on_when_there_is_space(undisturbed, folder, tmp_path, size):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        stage = begin(disk, folder)
        process = start(stage)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2, said.decode()
        error = read_json(stage.error)
        assert error["error"] == "DiskFullError"
        assert str(stage.path) in error["message"]
        assert "needs about" in error["message"]
        assert "are free" in error["message"]
        done = [path.name for path in (stage.path / "work").glob("*/*")]
        assert "00000" in done, "the plan is kept"
        assert not [name for name in done if name.startswith(".")], "what was half-made is gone"
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        process = start(stage)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
        assert payload(stage) == payload(undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
