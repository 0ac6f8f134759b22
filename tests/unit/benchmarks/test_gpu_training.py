"""The benchmark for GPUs runs from end to end in small, and says so where there is no GPU."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tasks.record.layout import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "tests/benchmarks/gpu_training.py", *arguments], cwd=REPOSITORY, capture_output=True, text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests" / "benchmarks"))
    return importlib.import_module("gpu_training")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_a_dry_run_trains_every_contender_on_the_same_samples(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("".join(f"{number * n} bottles of beer on the wall\n" for n in range(40)))
    done = run("--dry-run", "--steps", "10", "--models", "124M", "8B", "--text", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = [cells(line) for line in done.stdout.splitlines() if line.startswith(("| 124M", "| 8B"))]
    assert [row[0] for row in rows] == ["124M (1024)", "8B (4096)"]
    for row, tolerance in zip(rows, (5e-3, 2e-2), strict=True):
        ours, theirs, ratio = (float(cell.replace(",", "")) for cell in row[3:6])
        assert ratio == pytest.approx(ours / theirs, rel=0.1)
        assert float(row[6]) == pytest.approx(float(row[7]), rel=tolerance), "the same data, weights and recipe: the same loss"
        assert float(row[6]) < 5.9


def test_the_bytes_of_a_standard_library_are_not_those_of_the_packages_inside_of_it(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    for name in ("b.py", "a/c.md", "site-packages/torch/d.py", "e.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text")
    assert list(benchmark.text_files(tmp_path)) == [tmp_path / "a" / "c.md", tmp_path / "b.py"]


def test_one_contender_alone_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("bottles of beer on the wall\n" * 300)
    options = ("--dry-run", "--first-look", "--models", "124M", "--contenders", "pretune", "--text", str(tmp_path))
    done = run(*options)
    assert done.returncode == 0, done.stderr
    assert "a first look at 30 steps, no result" in done.stdout
    (row,) = [cells(line) for line in done.stdout.splitlines() if line.startswith("| 124M")]
    assert float(row[3].replace(",", "")) > 0 and float(row[6]) < 5.9
    assert [row[4], row[5], row[7], row[8]] == ["not run", "not run", "not run", "- / -"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_nothing_is_measured() -> None:
    done = run("--models", "355M")
    assert done.returncode == 0, done.stderr
    (row,) = [cells(line) for line in done.stdout.splitlines() if line.startswith("| 355M")]
    assert row[1:] == ["165,000", "190,000"] + ["not run"] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "25"], "--steps 25 is not a multiple of 10"),
        (["--steps", "30"], "--steps 30 is fewer than 60: 10 are left out, and 50 are measured"),
        (["--first-look", "--steps", "20"], "--steps 20 is fewer than 30: 10 are left out, and 20 are measured"),
    ],
)
def test_too_few_steps_are_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_training.py", *options])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
