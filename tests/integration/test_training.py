"""Training as processes: exact after a kill, the same on one rank and two, loadable without pretune."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.launch.stage import follow, start_or_attach
from tasks.record.errors import DivergedError, IntegrityError
from tasks.record.files import file_sha256
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.lock import owner
from tasks.record.manifest import Manifest, verify
from tasks.stages.work import Result, Work, prepare_work, pretrain_work
from tests.kit.runs import copied, pretrained, run_to_end, stop_after, tiny_config, wait_for_step, write_text


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "words.txt")


@pytest.fixture(scope="module")
def undisturbed(home: Path, text: Path) -> Result:
    """Two ranks, from the first step to the last."""
    return pretrained(home, tiny_config(text, launch={"num_processes": 2}), "undisturbed")


@pytest.fixture(scope="module")
def one_rank(home: Path, text: Path) -> Result:
    return pretrained(home, tiny_config(text), "one-rank")


@pytest.fixture(scope="module")
def stopped(home: Path, text: Path) -> Work:
    """One rank, stopped after step 12 or a few later; tests go on from copies of it."""
    config = tiny_config(text)
    work = pretrain_work(RunLayout(home, "stopped"), config, run_to_end(prepare_work(home, config)))
    stop_after(work, 12)
    return work


def steps(stage: StageLayout) -> list[dict]:
    return latest_by_step(read_journal(stage.journal)[0], "step")


def processes_of(stage: StageLayout) -> list[psutil.Process]:
    """The supervisor, the launcher and the ranks of a stage, by their command lines."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(stage.path) in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def test_the_model_learns_and_the_manifest_lists_all_of_it(undisturbed: Result) -> None:
    stage, manifest = undisturbed.stage, undisturbed.manifest
    assert manifest.step == 40
    assert manifest.tokens_seen == 40 * 512
    assert manifest.metrics["heldout_loss"] < 0.8 * manifest.metrics["initial_heldout_loss"]
    assert manifest.metrics["bits_per_byte"] < manifest.metrics["initial_bits_per_byte"]
    verify(stage.path, manifest)
    listed = {entry.path for entry in manifest.files}
    assert {p.relative_to(stage.path).as_posix() for p in stage.export.iterdir()} <= listed
    assert manifest.details["verdict"]["verdict"] in ("improving", "converged")
    assert [line["step"] for line in steps(stage)] == list(range(1, 41))
    assert len(list(stage.checkpoints.iterdir())) <= 3


def test_one_rank_and_two_give_the_same_loss_curve(undisturbed: Result, one_rank: Result) -> None:
    one, two = steps(one_rank.stage), steps(undisturbed.stage)
    assert len(one) == len(two) == 40
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    assert undisturbed.manifest.metrics["heldout_loss"] == pytest.approx(one_rank.manifest.metrics["heldout_loss"], rel=1e-5)


@pytest.mark.parametrize("kills", [(3, 27), pytest.param((1, 8, 12, 19, 35), marks=pytest.mark.soak)])
def test_everything_killed_in_the_middle_continues_to_bit_identical_weights(
    home: Path, text: Path, undisturbed: Result, kills: tuple[int, ...]
) -> None:
    config = tiny_config(text, launch={"num_processes": 2})
    work = pretrain_work(RunLayout(home, f"killed-{len(kills)}"), config, run_to_end(prepare_work(home, config)))
    for step in kills:
        start_or_attach(work.stage, work.request)
        wait_for_step(work.stage, step)
        for process in processes_of(work.stage):
            process.kill()
        wait_until_gone(work.stage)
        assert not work.stage.manifest.exists()
    result = run_to_end(work)
    attempts = {line["attempt"] for line in read_journal(work.stage.journal)[0]}
    assert len(attempts) == len(kills) + 1
    assert weights_of(result) == weights_of(undisturbed)
    assert result.manifest.details["chain"] == undisturbed.manifest.details["chain"]
    assert not list(work.stage.checkpoints.glob(".*"))


def weights_of(result: Result) -> str:
    return file_sha256(result.stage.export / "model.safetensors")


def wait_until_gone(stage: StageLayout) -> None:
    deadline = time.monotonic() + 30
    while processes_of(stage) or owner(stage):
        assert time.monotonic() < deadline, f"still running: {processes_of(stage)}"
        time.sleep(0.05)


def test_ranks_die_with_their_supervisor_and_with_their_launcher(home: Path, text: Path) -> None:
    config = tiny_config(text, launch={"num_processes": 2, "max_restarts": 0}, pretrain={"train_tokens": 512 * 4000})
    work = pretrain_work(RunLayout(home, "orphans"), config, run_to_end(prepare_work(home, config)))
    start_or_attach(work.stage, work.request)
    wait_for_step(work.stage, 1)
    assert len(processes_of(work.stage)) in (4, 5), "supervisor, launcher, two ranks; the mirror, where they took long to begin"
    os.kill(owner(work.stage)["pid"], signal.SIGKILL)
    wait_until_gone(work.stage)


def test_a_killed_rank_is_restarted_from_the_checkpoint(home: Path, text: Path, undisturbed: Result) -> None:
    config = tiny_config(text, launch={"num_processes": 2})
    work = pretrain_work(RunLayout(home, "rank-killed"), config, run_to_end(prepare_work(home, config)))
    start_or_attach(work.stage, work.request)
    wait_for_step(work.stage, 8)
    ranks = [p for p in processes_of(work.stage) if "tasks.worker" in p.cmdline() and "accelerate" not in " ".join(p.cmdline())]
    assert len(ranks) == 2
    ranks[0].kill()
    manifest = follow(work.stage, lambda progress: None)
    assert manifest.step == 40
    assert weights_of(Result(work.stage, manifest)) == weights_of(undisturbed)


@pytest.fixture(scope="module")
def continued(home: Path, stopped: Work) -> tuple[Result, set[int]]:
    """The stopped stage, started twice and followed to its end, and which processes owned it."""
    work = copied(stopped, RunLayout(home, "continued"))
    owners = set()
    for _ in range(2):
        start_or_attach(work.stage, work.request)
        owners.add(owner(work.stage)["pid"])
    manifest = follow(work.stage, lambda progress: None, poll_seconds=0.1)
    wait_until_gone(work.stage)
    return Result(work.stage, manifest), owners


def test_a_stop_ends_at_a_step_boundary_and_the_same_request_continues(
    stopped: Work, continued: tuple[Result, set[int]], one_rank: Result
) -> None:
    last = steps(stopped.stage)[-1]["step"]
    assert (stopped.stage.checkpoints / f"step_{last:08d}" / "manifest.json").exists()
    assert weights_of(continued[0]) == weights_of(one_rank)


def test_a_second_start_joins_the_first_and_a_finished_stage_starts_nothing(
    stopped: Work, continued: tuple[Result, set[int]]
) -> None:
    result, owners = continued
    assert len(owners) == 1
    begun = result.stage.journal.read_bytes()
    start_or_attach(result.stage, stopped.request)
    assert owner(result.stage) is None
    assert result.stage.journal.read_bytes() == begun


def test_a_damaged_checkpoint_is_passed_over_and_named(home: Path, stopped: Work, one_rank: Result) -> None:
    work = copied(stopped, RunLayout(home, "damaged"))
    newest = max(work.stage.checkpoints.glob("step_*"))
    flip_a_bit(newest / "weights_00000.safetensors")
    result = run_to_end(work)
    events = [line for line in read_journal(work.stage.journal)[0] if line.get("event") == "damaged_checkpoint"]
    assert events and "SHA-256" in events[0]["message"] and newest.name in events[0]["message"]
    assert weights_of(result) == weights_of(one_rank)


@pytest.mark.soak
def test_no_intact_checkpoint_is_an_error_that_loses_nothing(home: Path, stopped: Work) -> None:
    work = copied(stopped, RunLayout(home, "all-damaged"))
    for path in work.stage.checkpoints.glob("step_*"):
        flip_a_bit(path / "optimizer_00000.safetensors")
    with pytest.raises(IntegrityError, match=r"no checkpoint in .* is intact"):
        run_to_end(work)
    assert list(work.stage.checkpoints.glob("step_*"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_divergence_ends_the_stage_with_a_remedy(home: Path, text: Path) -> None:
    config = tiny_config(text, pretrain={"learning_rate": 1.0, "max_grad_norm": None, "warmup_steps": 0})
    with pytest.raises(DivergedError, match="lower"):
        pretrained(home, config, "diverged")
    assert not RunLayout(home, "diverged").pretrain().manifest.exists()


MEASURE_WITHOUT_PRETUNE = """
import json, sys
sys.modules["tasks"] = sys.modules["flows"] = None  # an import of either fails
import numpy as np, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
export, data, length, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model, tokenizer = AutoModelForCausalLM.from_pretrained(export), AutoTokenizer.from_pretrained(export)
tokens = torch.from_numpy(np.fromfile(data / "heldout-00000.bin", dtype="<u2").astype(np.int64))
total = 0.0
for i in range(count):
    ids, labels = tokens[i * length : (i + 1) * length], tokens[i * length + 1 : (i + 1) * length + 1]
    starts = ids == tokenizer.bos_token_id
    positions, place = [], -1
    for start in starts.tolist():
        place = 0 if start else place + 1
        positions.append(place)
    with torch.no_grad():
        logits = model(input_ids=ids[None], position_ids=torch.tensor([positions]), use_cache=False).logits[0]
    total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
print(json.dumps({"loss": total / count / length, "text": tokenizer.decode(tokens[:20], skip_special_tokens=True)}))
"""


def test_the_export_loads_without_pretune_and_gives_the_recorded_loss(undisturbed: Result, text: Path) -> None:
    dataset = Path(undisturbed.manifest.inputs["dataset"].path)
    command = [
        sys.executable,
        "-c",
        MEASURE_WITHOUT_PRETUNE,
        str(undisturbed.stage.export),
        str(dataset),
        "32",
        str(2048 // 32),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["loss"] == pytest.approx(undisturbed.manifest.metrics["heldout_loss"], abs=1e-4)
    assert measured["text"].split()[0] in text.read_text()


def test_milestones_are_whole_models_with_their_verdict(home: Path, text: Path) -> None:
    config = tiny_config(
        text,
        pretrain={"milestone_every_steps": 10},
        convergence={"min_gain": 1000.0, "round_tokens": 512, "min_evaluations": 6},
    )
    result = pretrained(home, config, "milestones")
    milestones = [(m["label"], m["step"]) for m in result.manifest.details["milestones"]]
    assert milestones == [("pretraining", 10), ("pretraining", 20), ("converged", 30)]
    assert result.manifest.details["verdict"]["verdict"] == "converged"
    assert result.manifest.step == 40, "the decay follows the verdict"
    for milestone in result.manifest.details["milestones"]:
        folder = result.stage.path / milestone["path"]
        manifest = Manifest.read(folder / "manifest.json")
        verify(folder, manifest)
        assert {"export/config.json", "export/model.safetensors", "export/tokenizer.json", "curve.png"} <= {
            entry.path for entry in manifest.files
        }
