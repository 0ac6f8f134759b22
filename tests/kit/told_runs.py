"""A pre-training told in files alone, on data that was really prepared: twelve steps, and a crash after the seventh."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.audit.order import Order, order_of
from tasks.data.tokens.digest import digest_text
from tasks.record.files import file_entries, write_json
from tasks.record.journal import CHAIN_START, Journal, chain
from tasks.record.layout import RunLayout, StageLayout, step_folder
from tasks.record.manifest import Manifest, Request, read_request, write_manifest
from tasks.stages.work import prepare_work, pretrain_work
from tests.kit.preparations import prepared_result
from tests.kit.runs import tiny_config, write_text

STEPS, TOKENS = 12, 512


def told_run(home: Path) -> StageLayout:
    settings = {"train_tokens": TOKENS * STEPS, "warmup_steps": 2, "decay_steps": 4}
    config = tiny_config(write_text(home / "words.txt", documents=80), pretrain=settings)
    work = pretrain_work(RunLayout(home, "run"), config, prepared_result(prepare_work(home, config)))
    stage, request = work.stage, work.request
    write_json(stage.request, request)
    chains = chains_of(request)
    write_attempt(stage, 1, 0, range(1, 8), chains)
    write_attempt(stage, 2, 5, range(6, STEPS + 1), chains)
    for step in (5, 10):
        write_checkpoint(stage, request, step, chains)
    curve = stage.path / "curve.png"
    curve.write_bytes(b"a picture")
    write_manifest(stage.path, record(request, "pretrain", STEPS, [curve], stage.path, {"chain": chains[STEPS]}))
    return stage


def loss_of(step: int) -> float:
    return 6.0 - step / 7


def chains_of(request: Request, steps: int = STEPS, loss: Callable[[int], float] = loss_of) -> list[str]:
    """The chain after each step, that before the first one included."""
    order, chains = order_of(request), [CHAIN_START]
    for step in range(1, steps + 1):
        digest = hashlib.sha256(order.sample_ids(step - 1).astype("<i8").tobytes()).hexdigest()
        chains.append(chain(chains[-1], step, digest, read_by(order, step), loss(step)))
    return chains


def read_by(order: Order, step: int) -> str:
    """What the journal says of the tokens of a step."""
    return digest_text(order.token_digest(order.sample_ids(step - 1)))


def write_attempt(stage: StageLayout, attempt: int, begins: int, steps: range, chains: list[str]) -> None:
    journal = Journal(stage.journal, attempt)
    journal.append("start", step=begins, max_steps=STEPS)
    order = order_of(read_request(stage))
    for step in steps:
        journal.append(
            "step", step=step, tokens_seen=step * TOKENS, loss=loss_of(step), token_digest=read_by(order, step),
            chain=chains[step],
        )  # fmt: skip
    journal.close()


def write_checkpoint(stage: StageLayout, request: Request, step: int, chains: list[str]) -> None:
    folder = stage.checkpoints / step_folder(step)
    folder.mkdir(parents=True)
    write_json(folder / "state.json", {"step": step, "chain": chains[step]})
    (folder / "rank_0.safetensors").write_bytes(bytes(range(256)))
    files = [folder / "state.json", folder / "rank_0.safetensors"]
    write_manifest(folder, record(request, "checkpoint", step, files, folder))


def record(
    request: Request, kind: str, step: int, files: list[Path], folder: Path, details: dict[str, Any] | None = None
) -> Manifest:
    return Manifest(
        kind=kind, request_digest=request.digest, files=file_entries(folder, files), step=step, tokens_seen=step * TOKENS,
        details=details or {},
    )  # fmt: skip


def copied_stage(stage: StageLayout, home: Path) -> StageLayout:
    """The stage in another home, to be tampered with; it refers to the same data set."""
    run = RunLayout(home, "run")
    shutil.copytree(stage.path.parent, run.path)
    return run.pretrain()


def change_lines(stage: StageLayout, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Rewrite the journal line by line; a line for which `change` gives None goes."""
    lines = [change(json.loads(line)) for line in stage.journal.read_text().splitlines()]
    stage.journal.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))


def change_request(stage: StageLayout, **pretraining: Any) -> None:
    """Another request, to which every manifest of the stage is made to belong."""
    request = read_request(stage)
    identity = request.identity | {"pretrain": request.identity["pretrain"] | pretraining}
    other = request.model_copy(update={"identity": identity})
    write_json(stage.request, other)
    for path in (stage.manifest, *stage.checkpoints.glob("*/manifest.json")):
        write_json(path, Manifest.read(path).model_copy(update={"request_digest": other.digest}))
