"""The benchmark of attention on GPUs runs from end to end in small, and keeps documents apart in every contender."""

import os
import subprocess
import sys

import pytest
import torch

from tasks.record.layout import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "tests/benchmarks/gpu_attention.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_dry_run_gives_every_contender_the_same_documents() -> None:
    done = run("--dry-run")
    assert done.returncode == 0, done.stderr
    lines = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("| ") and "---" not in line][1:]
    rows = {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in lines}
    assert set(rows) == {(name, strict) for name in ("flex_attention", "sdpa", "varlen") for strict in ("no", "yes")}
    for strict in ("no", "yes"):
        assert rows["flex_attention", strict] == ["not run"] * 5, "it has no backward pass on a CPU"
        masked, apart = rows["sdpa", strict], rows["varlen", strict]
        assert float(apart[3]) == pytest.approx(float(masked[3]), abs=3e-4), "the same documents: the same loss"
        assert masked[4] == apart[4] == "yes"
        assert float(masked[1].replace(",", "")) == pytest.approx(1e3 * 2 * 64 / float(masked[0]), rel=0.05)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_it_says_what_can_be_run() -> None:
    done = run()
    assert done.returncode == 2
    assert "there is no GPU; --dry-run runs it in small on the CPU" in done.stderr
