"""Real stages and a real MLflow database for the tests of tracking, registry and aliases."""

import functools
import json
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.record.files import file_entries, write_json
from tasks.record.journal import Journal
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.manifest import Input, Manifest, Request, write_manifest
from tasks.registry import tracking
from tasks.registry import versions as registry
from tasks.registry.store import database_file, make_private
from tasks.registry.tracking import connect
from tasks.registry.versions import NewVersion, Version


@functools.cache
def empty_database() -> bytes:
    """A new MLflow database, made once: its migrations take a second."""
    with tempfile.TemporaryDirectory() as folder:
        tracking.initialise(Path(folder))
        return database_file(Path(folder)).read_bytes()


def new_home(folder: Path) -> Path:
    home = folder / "home"
    make_private(database_file(home).parent)
    database_file(home).write_bytes(empty_database())
    return home


def begun_stage(home: Path, name: str = "demo", seed: int = 0) -> StageLayout:
    """A pre-training stage with a request, and a journal of 10 steps and 2 evaluations."""
    stage = RunLayout(home, name).pretrain()
    request = Request(
        kind="pretrain",
        identity={"model": {"hidden_size": 64, "extra": {}}, "pretrain": {"seed": seed, "milestone_every_steps": None}},
        inputs={"dataset": Input(path=str(home / "datasets" / "sample-1234"), digest="d" * 64)},
        execution={"launch": {"num_processes": 2}},
    )
    write_json(stage.request, request)
    write_steps(stage, range(1, 11))
    return stage


def write_steps(stage: StageLayout, steps: range, attempt: int = 1) -> None:
    journal = Journal(stage.journal, attempt)
    for step in steps:
        journal.append(
            "step", step=step, max_steps=20, loss=4.0 - step / 10, learning_rate=0.001, grad_norm=1.5, tokens_per_second=1e4,
            tokens_seen=step * 100, phase="stable", seconds_left=3.0, chain="abc",
        )  # fmt: skip
        if step % 5 == 0:
            journal.append(
                "evaluation", step=step, heldout_loss=4.0 - step / 20, bits_per_byte=1.5, train_loss=3.5, accuracy=0.25
            )
    journal.close()


def export_tiny_llama(folder: Path, seed: int = 0) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def finished_training(stage: StageLayout, metrics: dict[str, Any] | None = None, **details: Any) -> Manifest:
    """Write the stage's manifest over everything in its export folder; small files stand for a model if there is none."""
    if not stage.export.exists():
        stage.export.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (stage.export / name).write_text(json.dumps({"file": name, "stage": str(stage.path.parent.name)}))
    request = Request.model_validate_json(stage.request.read_bytes())
    manifest = Manifest(
        kind=request.kind, request_digest=request.digest, inputs=request.inputs, step=10, tokens_seen=1000,
        files=file_entries(stage.path, [path for path in stage.export.rglob("*") if path.is_file()]),
        metrics=metrics or {"heldout_loss": 3.5, "parameters": 12345, "sharpness": None},
        details={"verdict": {"verdict": "converged", "reason": "the next round promises 0.001"}} | details,
    )  # fmt: skip
    return write_manifest(stage.path, manifest)


def new_version(stage: StageLayout, manifest: Manifest, **changes: Any) -> NewVersion:
    """A finished stage as `registry.register` takes it."""
    made = NewVersion(
        model="demo-base", label="pretrained", aliases=("pretrained",), stage=stage, manifest=manifest, root=stage.path,
        body=("| numbers |",), links={"data_card": "runs:/r-1/data_card.md"},
    )  # fmt: skip
    return replace(made, **changes)


def registered(home: Path, count: int, model_name: str = "demo-topic") -> list[Version]:
    """That many versions of one model, each of a stage of its own, with no aliases."""
    versions = []
    for seed in range(count):
        stage = begun_stage(home, f"run-{seed}", seed)
        new = new_version(stage, finished_training(stage), model=model_name, label="candidate", aliases=())
        versions.append(registry.register(home, new))
    return versions


def run_in_child(work: Callable[[], Any]) -> int:
    """Fork, run the work, and return the child's exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def forget(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def points(home: Path, run_id: str, key: str) -> list[tuple[int, float]]:
    """(step, value) of every point of a metric, as MLflow has them."""
    return sorted((m.step, m.value) for m in connect(home).get_metric_history(run_id, key))


def run_of(home: Path, run_id: str):
    return connect(home).get_run(run_id)
