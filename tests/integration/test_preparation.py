"""Preparing text in parts: mapped tasks on this machine and on a Ray cluster give the bytes that one process gives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.config.config import Config
from tasks.record.files import write_json
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import prepare_work
from tests.kit.preparations import sentences

PARTS_SECONDS = 300
QUIET = {
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


def configuration(folder: Path, **preparation: Any) -> Config:
    """Three parts of a megabyte."""
    path = folder / "text.jsonl"
    if not path.exists():
        lines = sentences(4000)
        path.write_text("".join(json.dumps({"text": " ".join(lines[n : n + 16])}) + "\n" for n in range(1950)))
    data = {"name": "parts", "source": "jsonl", "path": str(path), "part_megabytes": 1, "heldout_fraction": 0.1}
    data["duplicates"] = {"similarity": 0.97}
    return Config.model_validate({"data": data, "tokenizer": {"vocab_size": 400}, "preparation": preparation})


def digests(stage: StageLayout) -> dict[str, str]:
    manifest = Manifest.read(stage.manifest)
    assert len(manifest.details["shards"]["train"]) >= 3
    return {entry.path: entry.sha256 for entry in manifest.files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("input")


@pytest.fixture(scope="module")
def by_one_process(folder, tmp_path_factory) -> dict[str, str]:
    work = prepare_work(tmp_path_factory.mktemp("one"), configuration(folder))
    write_json(work.stage.request, work.request)
    subprocess.run([sys.executable, "-m", "tasks.data", str(work.stage.path)], cwd=REPOSITORY, check=True, capture_output=True)
    return digests(work.stage)


def start_flow(config: Config, home: Path) -> tuple[subprocess.Popen, StageLayout]:
    write_json(home / "config.json", config)
    stage = prepare_work(home, config).stage
    command = [sys.executable, "-m", "tests.kit.prepared_in_parts", str(home / "config.json")]
    environment = os.environ | QUIET | {"PRETUNE_HOME": str(home)}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ), stage


def finish_flow(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=PARTS_SECONDS)
    assert process.returncode == 0, said[-3000:]
    return said


def parts_done(stage: StageLayout, step: str) -> list[str]:
    return sorted(path.name for path in (stage.path / "work" / step).glob("[0-9]*"))


def test_mapped_tasks_on_this_machine_give_the_bytes_of_one_process(folder, by_one_process, tmp_path):
    process, stage = start_flow(configuration(folder, num_processes=2), tmp_path)
    said = finish_flow(process)
    assert "extract: part" in said, "the parts' progress is shown"
    assert digests(stage) == by_one_process
    assert not (stage.path / "work").exists()
    logs = {path.name for path in (stage.path / "logs" / "parts").iterdir()}
    assert {"plan-00000.log", "extract-00002.log", "encode-00002.log"} <= logs


def test_a_ray_cluster_that_loses_a_node_gives_the_same_bytes(folder, by_one_process, tmp_path):
    from ray.cluster_utils import Cluster

    store = 80 << 20
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "object_store_memory": store}
    )
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=store)
        process, stage = start_flow(configuration(folder, ray_address=cluster.address), tmp_path)
        deadline = time.monotonic() + PARTS_SECONDS
        while not parts_done(stage, "extract"):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)
        finish_flow(process)
        assert digests(stage) == by_one_process
    finally:
        cluster.shutdown()
