"""Proof of a run that was really trained on two ranks, killed in the middle and fine-tuned; and what tampering does to it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.audit.verify import RunProof
from tasks.launch.stage import start_or_attach
from tasks.record.files import write_json
from tasks.record.journal import read_journal
from tasks.record.layout import REPOSITORY, RunLayout, StageLayout
from tasks.record.manifest import read_request
from tasks.stages.work import examples_work, finetune_work, prepare_work, pretrain_work
from tests.kit.runs import kill, run_to_end, tiny_config, wait_for_step, write_text
from tests.kit.told_runs import change_lines

PRETRAINING = {"train_tokens": 512 * 24, "learning_rate": 5e-3, "warmup_steps": 4, "decay_steps": 8}


def config_for(home: Path) -> Any:
    rows = [{"text": f"{i} {('cat', 'oak')[i % 2]}", "label": ("animal", "plant")[i % 2]} for i in range(80)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = {"source": "jsonl", "path": str(home / "rows.jsonl"), "test_fraction": 0.3, "min_test_examples": 10}
    finetune = {
        "name": "things", "examples": examples,
        "batch_size": 8, "micro_batch_size": 4, "max_length": 16, "evaluate_every_steps": 5, "checkpoint_every_steps": 10,
        "precision": "fp32",
    }  # fmt: skip
    text = write_text(home / "words.txt", documents=120)
    return tiny_config(text, pretrain=PRETRAINING, launch={"num_processes": 2}, finetune=[finetune])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the run, which nobody changes."""
    home = tmp_path_factory.mktemp("home")
    config, run = config_for(home), RunLayout(home, "run")
    work = pretrain_work(run, config, run_to_end(prepare_work(home, config)))
    start_or_attach(work.stage, work.request)
    wait_for_step(work.stage, 8)
    kill(work.stage)
    base = run_to_end(work)
    (one,) = config.finetunes("run")
    run_to_end(finetune_work(home, one, base, run_to_end(examples_work(home, one))))
    return home


@pytest.fixture
def stage(home: Path, tmp_path: Path) -> StageLayout:
    """The pre-training of a copy of the run, to be tampered with."""
    run = RunLayout(tmp_path, "run")
    shutil.copytree(home / "runs" / "run", run.path)
    (tmp_path / "datasets").symlink_to(home / "datasets")  # requests name them relative to themselves
    return run.pretrain()


def verified(home: Path, name: str = "run") -> tuple[int, RunProof]:
    command = [sys.executable, "-m", "flows", "verify", name, "--json"]
    environment = os.environ | {"PRETUNE_HOME": str(home)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, RunProof.model_validate_json(done.stdout)


def found_in(stage: StageLayout) -> tuple[str, ...]:
    """What fails in the pre-training; the command must say so by its exit code too."""
    code, proof = verified(stage.path.parent.parent.parent)
    assert (code, proof.proved) == (1, False)
    return proof.stages[0].failures


def is_step(line: dict[str, Any], step: int) -> bool:
    return line["kind"] == "step" and line["step"] == step


def test_a_killed_and_a_fine_tuned_run_are_proved(home: Path) -> None:
    proofs = []
    for name in ("run", "run-things"):
        code, proof = verified(home, name)
        assert (code, proof.proved, [one.failures for one in proof.stages]) == (0, True, [()])
        proofs += proof.stages
    pretraining, finetuning = proofs
    assert (pretraining.stage, finetuning.stage) == ("02-pretrain", "finetune")
    assert (pretraining.steps, pretraining.tokens_seen, pretraining.attempts) == (24, 24 * 512, 2)
    taken = [line["step"] for line in read_journal(RunLayout(home, "run").pretrain().journal)[0] if line["kind"] == "step"]
    assert pretraining.undone_steps == len(taken) - 24 > 0
    (use,) = pretraining.uses
    assert use.most - use.fewest == 1
    (use,) = finetuning.uses
    assert (use.fewest, finetuning.unit, finetuning.attempts) == (2, "examples", 1)
    assert min(one.files for one in proofs) > 10


def test_a_changed_loss_is_named(stage: StageLayout) -> None:
    change_lines(stage, lambda line: line | {"loss": line["loss"] * (1 + 1e-12)} if is_step(line, 20) else line)
    (sentence,) = found_in(stage)
    assert sentence.startswith("the hash chain breaks at step 20: the samples, or the loss, the token_digest or the chain")


def test_a_removed_step_is_named(stage: StageLayout) -> None:
    change_lines(stage, lambda line: None if is_step(line, 17) else line)
    assert found_in(stage) == ("step 17 is missing in the journal",)


def test_another_seed_is_another_order_and_another_request(stage: StageLayout) -> None:
    request = read_request(stage)
    identity = request.identity | {"pretrain": request.identity["pretrain"] | {"seed": 7}}
    write_json(stage.request, request.model_copy(update={"identity": identity}))
    sentences = found_in(stage)
    assert sentences[0].startswith("no step consumed the samples that (seed, step) name")
    assert "manifest.json was made for another request than request.json" in sentences


def test_a_flipped_byte_in_a_checkpoint_is_named(stage: StageLayout) -> None:
    path = max((stage.checkpoints / "step_00000024").iterdir(), key=lambda file: file.stat().st_size)
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    (sentence,) = found_in(stage)
    assert sentence.startswith(f"{path} has SHA-256 ")
