"""Two launched ranks whose data set is damaged after they were killed, and while they train."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.audit.verify import verify_run
from tasks.launch.stage import start_or_attach
from tasks.record.errors import IntegrityError
from tasks.record.files import read_json
from tasks.record.journal import read_journal
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, Work, prepare_work, pretrain_work
from tests.kit.runs import kill, run_to_end, tiny_config, wait_for_step, write_text

STEPS = 400
AHEAD = 3
"""Steps beyond the last in the journal that may have been read: the one that is computed, the one that is read ahead, and one
more that was finished and is not written yet."""
TRAINING = {"train_tokens": 512 * STEPS, "warmup_steps": 4, "evaluate_every_steps": 100, "checkpoint_every_steps": 100}


def begun(home: Path) -> tuple[Work, Result]:
    """A pre-training on two ranks, killed after its first checkpoint, and its data set."""
    config = tiny_config(write_text(home / "words.txt"), pretrain=TRAINING, launch={"num_processes": 2})
    dataset = run_to_end(prepare_work(home, config))
    work = pretrain_work(RunLayout(home, "run"), config, dataset)
    start_or_attach(work.stage, work.request)
    wait_for_step(work.stage, 105)
    kill(work.stage)
    return work, dataset


def reverse(path: Path) -> None:
    """All tokens in another order, in place."""
    tokens = np.fromfile(path, dtype="<u2")
    with path.open("r+b") as file:
        file.write(tokens[::-1].tobytes())


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 4 * 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


Damage = tuple[str, Callable[[Path], None], str]
DAMAGES: list[Damage] = [
    ("train-00000.bin", reverse, " has SHA-256 "), ("train-00000.bin", cut, " bytes and its manifest says "),
    ("train-00000.documents.npy", flip, " has SHA-256 "),
]  # fmt: skip


@pytest.mark.parametrize("damages", [DAMAGES[:1], pytest.param(DAMAGES, marks=pytest.mark.soak)], ids=len)
def test_data_that_were_damaged_are_refused_and_what_was_read_from_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damages: list[Damage]
) -> None:
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path))
    work, dataset = begun(tmp_path)
    stage, checkpoints = work.stage, sorted(work.stage.checkpoints.iterdir())
    for name, damage, fault in damages:
        path = dataset.stage.path / name
        intact = path.read_bytes()
        damage(path)
        with pytest.raises(IntegrityError) as error:
            run_to_end(work)
        path.write_bytes(intact)
        sentence = str(error.value)
        assert sentence.startswith(f"{path} ") and fault in sentence
        assert sentence.endswith("; it is damaged, restore it or make it again")
        assert read_json(stage.error) == {"error": "IntegrityError", "message": sentence}
        assert sorted(stage.checkpoints.iterdir()) == checkpoints, "nothing was learned from it that stays"
        assert any(sentence in log.read_text() for log in newest_logs(stage))

    shard = dataset.stage.path / "train-00000.bin"
    intact, attempt = shard.read_bytes(), newest_attempt(stage) + 1
    start_or_attach(stage, work.request)
    # The checkpoint of step 200 is begun when all is verified.
    wait_for_step(stage, 202, attempt)
    first = last_step(stage)
    reverse(shard)
    latest_first = last_step(stage) + AHEAD
    wait_for_step(stage, latest_first + 5, attempt)
    last = last_step(stage)
    with shard.open("r+b") as file:
        file.write(intact)
    latest_last = last_step(stage) + AHEAD
    run_to_end(work)
    assert Manifest.read(stage.manifest).step == STEPS
    (sentence,) = verify_run(tmp_path, "run").stages[0].failures
    assert " read other tokens than the data set has now: the digest of step " in sentence
    named = [int(word) for word in sentence.partition(" read other")[0].replace(",", "").split() if word.isdigit()]
    assert first < named[0] <= latest_first and last <= named[-1] <= latest_last
    assert sentence.startswith(f"steps {named[0]} to {named[-1]} read other tokens"), "all between, and no other"


def newest_logs(stage: StageLayout) -> list[Path]:
    return list(stage.logs(newest_attempt(stage)).glob("rank_*.log"))


def newest_attempt(stage: StageLayout) -> int:
    return max(line["attempt"] for line in read_journal(stage.journal)[0])


def last_step(stage: StageLayout) -> int:
    return [line["step"] for line in read_journal(stage.journal)[0] if line["kind"] == "step"][-1]
