"""Training tokens/s on one GPU: pretune's loop against `transformers.Trainer` with bf16 and torch.compile, on the same samples.

    python tests/benchmarks/gpu_training.py [--models 124M 355M 1.24B 8B] [--contenders pretune Trainer] [--steps 200]
        [--first-look] [--text FOLDER] [--dry-run]

Llamas of four sizes at sequence lengths 1024 and 4096; fp32 parameters and optimizer state, at 8B all in bf16. The data are
20 million bytes of source files (those of Python's standard library, or the text files in FOLDER), one document a file, packed
and read by pretune's loader in pretune's order; the Trainer gets the same samples in the same order. pretune's loop is the
product's, with its journal and all metrics. Each measurement is a process of its own, whose figures are printed as soon as it
ends. tokens/s are of the median step after the first 10, the loss is the mean of the last 10 steps. `--first-look` measures 20
steps, which says what to expect and is no result. Rates to beat and goals are those of one H200. Without a GPU the table says
"not run"; `--dry-run` runs everything in small on the CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# A GPU machine has its own Python, into which nothing is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from contenders import Clock, Data, Run, Shape, device, llama, pretune_trainer, transformers_trainer

from tasks.data.tokens.shard_writer import ShardWriter
from tasks.data.tokens.shards import TOKEN_BYTES_FILE, TokenDataset
from tasks.record.journal import latest_by_step, read_journal
from tasks.record.manifest import Manifest
from tasks.training.model.model import attention_implementation
from tasks.training.model.ranks import compute_exactly

WARMUP_STEPS, LOSS_STEPS = 10, 10
MINIMUM_STEPS = WARMUP_STEPS + 50
FIRST_LOOK_STEPS = WARMUP_STEPS + 20
TEXT_BYTES = 20_000_000
"""More than 200 steps of any model read."""
END_OF_FILE = 256
CONTENDERS = ("pretune", "Trainer")


@dataclass(frozen=True)
class Model:
    """A size, how it is trained, and what has been reached elsewhere with one H200, tokens/s."""

    shape: Shape
    length: int
    micro_batch_size: int
    accumulation: int
    learning_rate: float
    to_beat: int
    goal: int
    states: torch.dtype = torch.float32


MODELS = {
    "124M": Model(Shape(50_304, 768, 2048, 12, 12, 12), 1024, 32, 2, 6e-4, 462_000, 521_000),
    "355M": Model(Shape(50_304, 1024, 2816, 24, 16, 16), 1024, 16, 4, 3e-4, 165_000, 190_000),
    "1.24B": Model(Shape(128_256, 2048, 8192, 16, 32, 8), 4096, 4, 2, 2e-4, 50_000, 57_000),
    "8B": Model(Shape(128_256, 4096, 14_336, 32, 32, 8, False), 4096, 1, 4, 1e-4, 10_471, 10_800, torch.bfloat16),
}
SMALL = {
    name: Model(Shape(384, 32, 64, 2, 2, 2 if model.states == torch.float32 else 1, model.shape.tie_word_embeddings), 64, 2, 2,
                1e-2, model.to_beat, model.goal, model.states)
    for name, model in MODELS.items()
}  # fmt: skip


def text_files(folder: Path) -> Iterator[Path]:
    """Files with text below the folder, in order of their names, without the packages that lie inside of a standard library."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in ("site-packages", "dist-packages"):
            yield from text_files(path)
        elif path.suffix in (".py", ".txt", ".md") and path.is_file():
            yield path


def byte_data(folder: Path, text: Path, length: int) -> Data:
    """The first TEXT_BYTES of the files under `text` as token shards, a byte a token, behind pretune's loader."""
    writer, left = ShardWriter(folder, "train", "uint16", 10**9), TEXT_BYTES
    for path in text_files(text):
        if content := path.read_bytes()[:left]:
            left -= len(content)
            writer.add(np.concatenate([[END_OF_FILE], np.frombuffer(content, dtype=np.uint8)]))
        if left == 0:
            break
    writer.close()
    np.save(folder / TOKEN_BYTES_FILE, np.ones(END_OF_FILE + 1, dtype=np.uint16))
    details = {"dtype": "uint16", "shards": {"train": writer.shards}}
    return Data.of(TokenDataset(folder, Manifest(kind="prepare", request_digest="", details=details), "train", length))


def measure(name: str, contender: str, steps: int, text: Path, small: bool) -> dict[str, Any]:
    """tokens/s, loss and peak memory of one contender."""
    model = (SMALL if small else MODELS)[name]
    run = Run(
        model.length, model.micro_batch_size, steps, model.accumulation, "bf16", model.learning_rate,
        warmup_steps=max(1, steps // 10), decay_steps=max(1, steps // 5),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = byte_data(folder, text, model.length)
        network = llama(model.shape, model.length, "sdpa", model.states)
        if contender == "pretune":
            if not small:
                compute_exactly()
            network.set_attn_implementation(attention_implementation(network, model.length, device()))
            seconds, losses = train_with_pretune(network, run, data, folder)
        else:
            seconds, losses = train_with_transformers(network, run, data, folder, compiled=not small)
    return {
        "tokens_per_second": run.step_tokens / median(seconds[min(WARMUP_STEPS, steps // 2) :]),
        "loss": sum(losses) / len(losses),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    }


def train_with_pretune(network: Any, run: Run, data: Data, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of the steps and the last losses."""
    trainer = pretune_trainer(network, run, data, folder / "stage")
    marks = [time.perf_counter()]
    for _ in range(run.steps):
        # A step returns before the GPU is done with it, but not before the step before it is: the median is that of the GPU.
        trainer.train_step()
        marks.append(time.perf_counter())
    trainer.settle()
    lines = latest_by_step(read_journal(trainer.stage.journal)[0], "step")
    return [b - a for a, b in pairwise(marks)], [line["loss"] for line in lines[-LOSS_STEPS:]]


def train_with_transformers(
    network: Any, run: Run, data: Data, folder: Path, compiled: bool
) -> tuple[list[float], list[float]]:
    """Seconds of the steps and the last losses, of which it logs the mean of ten steps."""
    clock, logging = Clock(), {"logging_strategy": "steps", "logging_steps": LOSS_STEPS}
    trainer = transformers_trainer(network, run, data, folder / "trainer", clock, torch_compile=compiled, **logging)
    trainer.train()
    return clock.seconds, [[line["loss"] for line in trainer.state.log_history if "loss" in line][-1]]


def row(name: str, found: dict[str, dict[str, Any]]) -> str:
    """A line of the table, of the contenders that ran."""
    model = MODELS[name]
    runs = [found.get(contender) for contender in CONTENDERS]
    rates = ["not run" if run is None else f"{run['tokens_per_second']:,.0f}" for run in runs]
    losses = ["not run" if run is None else f"{run['loss']:.4f}" for run in runs]
    ours, theirs = runs
    ratio = f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}" if ours and theirs else "not run"
    peaks = [run and run["peak_memory_bytes"] for run in runs]
    memory = " / ".join(f"{size / 2**30:.1f}" if size else "-" for size in peaks) if found else "not run"
    cells = [*rates, ratio, *losses, memory]
    return "| " + " | ".join([f"{name} ({model.length})", f"{model.to_beat:,}", f"{model.goal:,}", *cells]) + " |"


def in_a_process_of_its_own(name: str, contender: str, steps: int, text: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only", name, contender, "--steps", str(steps), "--text", str(text)]
    began = time.perf_counter()
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PRETUNE_DEVICE": "gpu"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    say(name, contender, found, time.perf_counter() - began)
    return found


def say(name: str, contender: str, found: dict[str, Any], seconds: float) -> None:
    """A contender's figures before its row is complete, so that what was measured is kept when the machine is taken away."""
    peak = found["peak_memory_bytes"]
    memory = "" if peak is None else f", peak {peak / 2**30:.1f} GiB"
    rate = f"{found['tokens_per_second']:,.0f} tokens/s, loss {found['loss']:.4f}{memory}"
    print(f"{name} {contender}: {rate}, in {seconds:.0f} s with loading and compiling", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--steps", type=int, help=f"a multiple of {LOSS_STEPS}; default: 200")
    parser.add_argument("--first-look", action="store_true", help=f"{FIRST_LOOK_STEPS} steps, and no result")
    parser.add_argument("--text", type=Path, default=Path(sysconfig.get_path("stdlib")))
    parser.add_argument("--dry-run", action="store_true", help="tiny models, on the CPU too")
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "CONTENDER"))
    arguments = parser.parse_args()
    steps, text = arguments.steps or (FIRST_LOOK_STEPS if arguments.first_look else 200), arguments.text
    if steps % LOSS_STEPS:
        parser.error(f"--steps {steps} is not a multiple of {LOSS_STEPS}, over which the Trainer's loss is a mean")
    least = FIRST_LOOK_STEPS if arguments.first_look else MINIMUM_STEPS
    if not arguments.dry_run and not arguments.only and steps < least:
        measured = least - WARMUP_STEPS
        parser.error(f"--steps {steps} is fewer than {least}: {WARMUP_STEPS} are left out, and {measured} are measured")
    if arguments.only:
        print(json.dumps(measure(*arguments.only, steps, text, arguments.dry_run)))
        return
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    remarks = [", small models"] * arguments.dry_run + [f", a first look at {steps} steps, no result"] * arguments.first_look
    print(f"{where}, torch {torch.__version__}{''.join(remarks)}\n")
    print(
        "| model (length) | to beat | goal | pretune, tokens/s | Trainer | ratio | pretune's loss | Trainer's "
        "| peak memory of both, GiB |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        flush=True,
    )
    for name in arguments.models:
        found = {}
        for contender in arguments.contenders:
            if arguments.dry_run:
                found[contender] = measure(name, contender, steps, text, small=True)
            elif torch.cuda.is_available():
                found[contender] = in_a_process_of_its_own(name, contender, steps, text)
        print(row(name, found), flush=True)


if __name__ == "__main__":
    main()
