"""Training on one GPU: the CPU's losses, bit-identical resumes, compiled layers, memory as planned."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.record.errors import StoppedError
from tasks.training.checkpoint.checkpoint import committed_checkpoints
from tasks.training.loop import Trainer
from tasks.training.model.model import check_isolation
from tests.gpu.device_runs import DROPOUT, STEPS, differing, largest_difference, losses, trainer, weights
from tests.kit.trainers import continued, lines_of


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Losses of the CPU by precision: what every device is held against."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRETUNE_DEVICE", "cpu")
        return {
            precision: losses(continued(trainer("cpu", tmp_path_factory.mktemp(precision), precision)))
            for precision in ("fp32", "bf16")
        }


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-2)])
def test_the_losses_of_20_steps_are_the_cpus(
    device: str, tmp_path: Path, on_cpu: dict[str, list[float]], precision: str, tolerance: float
) -> None:
    found = losses(continued(trainer(device, tmp_path, precision)))
    difference = largest_difference(found, on_cpu["fp32"])
    print(f"{device} {precision}: largest difference from the CPU's fp32 {difference:.1e}, last loss {found[-1]:.4f}")
    assert difference < tolerance
    assert found[-1] < 0.9 * found[0], "something was learned"


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.soak)])
def test_compiled_layers_have_the_losses_of_eager_ones(device: str, tmp_path: Path, precision: str) -> None:
    runs = {
        setting: losses(continued(trainer(device, tmp_path / setting, precision, compile=setting))) for setting in ("on", "off")
    }
    difference = largest_difference(runs["on"], runs["off"])
    print(f"{device} {precision}: compiled against eager {difference:.1e}")
    assert difference < (1e-4 if precision == "fp32" else 1e-2)


@pytest.mark.parametrize(
    ("precision", "model"),
    [
        pytest.param("fp32", DROPOUT, id="fp32, gpt2 with dropout"),
        pytest.param("bf16", {}, id="bf16, llama"),
        pytest.param("fp32", {}, id="fp32, llama", marks=pytest.mark.soak),
        pytest.param("bf16", DROPOUT, id="bf16, gpt2 with dropout", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_was_stopped_and_resumed_is_bit_identical(
    device: str, tmp_path: Path, precision: str, model: dict[str, Any]
) -> None:
    whole = continued(trainer(device, tmp_path / "whole", precision, model=model))
    for attempt, stop in enumerate((3, 14), 1):
        run = stopping(trainer(device, tmp_path / "stopped", precision, attempt, model=model), stop)
        with pytest.raises(StoppedError):
            continued(run)
        run.stage.stop.unlink()
    last = continued(trainer(device, tmp_path / "stopped", precision, 3, model=model))
    assert differing(weights(last), weights(whole)) == []
    assert last.state.chain == whole.state.chain
    assert losses(last) == losses(whole)


def stopping(run: Trainer, stop: int) -> Trainer:
    """The run, with a stop asked for during step `stop`."""
    step = run.train_step

    def train_step() -> None:
        if run.state.step == stop - 1:
            run.stage.stop.touch()
        step()

    run.train_step = train_step  # type: ignore[method-assign]
    return run


def test_a_checkpoint_holds_its_step_though_training_went_on(device: str, tmp_path: Path) -> None:
    """On a GPU it is copied by a stream of its own behind the step, while the next steps are launched."""
    run = trainer(device, tmp_path / "on", "bf16", changes={"checkpoint_every_steps": 1, "keep_checkpoints": STEPS})
    continued(run)
    assert len(committed_checkpoints(run.stage)) == STEPS
    for step in (1, 9):
        resumed = trainer(device, tmp_path / "on", "bf16", attempt=step + 1)
        for path in committed_checkpoints(run.stage):
            if int(path.name[5:]) > step:
                path.rename(tmp_path / path.name)
        resumed.resume()
        assert resumed.state.step == step
        short = continued(trainer(device, tmp_path / f"short {step}", "bf16", changes={"max_steps": step}))
        assert differing(weights(resumed), weights(short)) == []
        for path in tmp_path.glob("step_*"):
            path.rename(run.stage.checkpoints / path.name)
    stalled = lines_of(run)[-1]["checkpoint_stall_seconds"]
    print(f"{device}: {STEPS} checkpoints, training waited {stalled:.3f} s in all")


def test_documents_in_one_row_do_not_see_each_other(device: str, tmp_path: Path) -> None:
    run = trainer(device, tmp_path)
    check_isolation(run.model)
    used = run.model.config._attn_implementation
    assert used == ("flex_attention" if device == "cuda" else "eager")


def test_activation_checkpointing_changes_no_number_and_saves_memory(device: str, tmp_path: Path) -> None:
    runs, peaks = {}, {}
    for kind in ("none", "selective", "full"):
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        runs[kind] = losses(continued(trainer(device, tmp_path / kind, activation_checkpointing=kind)))
        peaks[kind] = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    for kind in ("selective", "full"):
        assert largest_difference(runs[kind], runs["none"]) < 1e-5
    print(f"{device}: peak MiB { ({kind: round(peak / 2**20) for kind, peak in peaks.items()}) }")
    if device == "cuda":
        assert peaks["full"] < peaks["selective"] < peaks["none"]
