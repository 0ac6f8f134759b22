"""How long training stands still for a checkpoint: `torch.save`, `torch.distributed.checkpoint.async_save`, and pretune.

    python tests/benchmarks/checkpoint_stall.py [--rounds 9] [--folder DIR]
    python tests/benchmarks/checkpoint_stall.py --throughput [--rounds 15] [--every 20] [--precision bf16]

The first form saves weights and AdamW's state of a 5.5 M-parameter Llama (4 layers, 256 wide, 4 heads, feed-forward 768,
vocabulary 8192, tied; 66 MB) and of a wider one with four times the bytes in the middle of its training, one process with all
cores. In each round every contender saves once, in an order that rotates; a training step follows each save, and nothing is
being written when the next one begins. What is counted is the time in which the training thread could not go on: all of
`torch.save`; the call of `async_save`; making pieces, `save` and `wait_until_staged` of pretune. The first round, in which
buffers are made, is left out. pretune also writes hashes, flushes to disk and commits by rename; the others do none of it.

The second form trains on the smaller one, batch 8 x 256, in blocks of `--every` steps; by turns a block begins with a
checkpoint and does not. The loss is the median over pairs of neighbouring blocks.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from transformers import AutoModelForCausalLM, LlamaConfig

from tasks.config.parallel import Layout
from tasks.record.layout import StageLayout
from tasks.training.checkpoint.checkpoint import TrainState
from tasks.training.checkpoint.saver import CheckpointSaver
from tasks.training.model.mesh import Mesh
from tasks.training.model.pieces import pieces_of
from tasks.training.model.ranks import Ranks

VOCABULARY, LENGTH, BATCH = 8192, 256, 8
ALONE = Ranks(0, 1, torch.device("cpu"))
CONTENDERS = ("torch.save", "async_save", "async_save, reused buffer", "pretune")


class Training:
    """A model, its optimizer, and steps of both."""

    def __init__(self, width: int, precision: str, batch: int = BATCH) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True, use_cache=False,
        )  # fmt: skip
        self.model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.rows = torch.randint(1, VOCABULARY, (batch, LENGTH))
        self.is_bf16 = precision == "bf16"
        self.step()

    def step(self, before_update: Callable[[], object] = lambda: None) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.is_bf16):
            loss = self.model(input_ids=self.rows, labels=self.rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        before_update()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def tensors(self) -> list[dict[str, torch.Tensor]]:
        weights = dict(self.model.named_parameters())
        state = self.optimizer.state
        return [weights, {f"{name}:{key}": value for name, p in weights.items() for key, value in state[p].items()}]

    def state_dict(self) -> dict[str, object]:
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    @property
    def num_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for part in self.tensors() for tensor in part.values())


class Stopwatch:
    """Adds up the time of the calls made through it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = function()
        self.seconds += time.perf_counter() - began
        return result


class Saving:
    """Every contender's way to save, and what it keeps from one save to the next."""

    def __init__(self, training: Training, folder: Path) -> None:
        self.training, self.folder = training, folder
        self.saver = CheckpointSaver(StageLayout(folder / "pretune"), "request", ALONE, 1, keep=2)
        self.mesh = Mesh(Layout(), ALONE)
        options = StagingOptions(
            use_pinned_memory=False, use_shared_memory=False, use_async_staging=False, use_non_blocking_copy=False
        )
        self.stager = DefaultStager(options)
        self.number = 0

    def begin(self) -> None:
        """pretune's `save`, as the training loop calls it."""
        self.number += 1
        weights, optimizer = (pieces_of(part, self.mesh) for part in self.training.tensors())
        self.saver.save(TrainState(step=self.number), weights, optimizer)

    def stall(self, contender: str) -> float:
        """Seconds for which training stood still for one save."""
        watch, target = Stopwatch(), self.folder / "peer"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        if contender == "torch.save":
            watch(lambda: torch.save(self.training.state_dict(), target / "state.pt"))
            self.training.step()
        elif contender == "pretune":
            watch(self.begin)
            self.training.step(lambda: watch(self.saver.wait_until_staged))
            self.saver.finish()
        else:
            stager = {"async_stager": self.stager} if "reused" in contender else {}
            begun = watch(lambda: dcp.async_save(self.training.state_dict(), checkpoint_id=target, **stager))
            self.training.step()
            getattr(begun, "upload_completion", begun).result()
        return watch.seconds


def compare_stalls(width: int, rounds: int, folder: Path) -> list[str]:
    """Rows of the table for one size of model."""
    training = Training(width, "fp32", batch=2)
    saving = Saving(training, folder / str(width))
    (folder / str(width)).mkdir(parents=True)
    stalls: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):
        for i in range(len(CONTENDERS)):
            name = CONTENDERS[(i + number) % len(CONTENDERS)]
            seconds = saving.stall(name)
            if number > 0:
                stalls[name].append(seconds)
            print(f"{training.num_bytes / 1e6:.0f} MB, round {number}: {name:<26} {seconds * 1e3:8.1f} ms", file=sys.stderr)
    rows = []
    for name, values in stalls.items():
        ratios = [statistics.median(a / b for a, b in zip(values, stalls[peer], strict=True)) for peer in CONTENDERS[:3:2]]
        rows.append(
            f"| {training.num_bytes / 1e6:.0f} MB | {name} | {statistics.median(values) * 1e3:.1f} | {min(values) * 1e3:.1f} | "
            f"{max(values) * 1e3:.1f} | {ratios[0]:.1%} | {ratios[1]:.1%} |"
        )
    return rows


def compare_throughput(rounds: int, every: int, precision: str, folder: Path) -> list[str]:
    """Rows of the table: tokens/s with and without saving, and what saving costs."""
    training = Training(256, precision)
    saving = Saving(training, folder)
    seconds: dict[str, list[float]] = {"without": [], "saving": []}
    for number in range(rounds + 1):
        for name in ("without", "saving") if number % 2 else ("saving", "without"):
            began = time.perf_counter()
            for step in range(every):
                if step == 0 and name == "saving":
                    saving.begin()
                training.step(saving.saver.wait_until_staged)
            block = time.perf_counter() - began
            saving.saver.finish()
            if number > 0:
                seconds[name].append(block)
            print(f"round {number}: {name:<8} {every * BATCH * LENGTH / block:8,.0f} tokens/s", file=sys.stderr, flush=True)
    lost = statistics.median(1 - a / b for a, b in zip(seconds["without"], seconds["saving"], strict=True))
    rates = {name: every * BATCH * LENGTH / statistics.median(values) for name, values in seconds.items()}
    return [f"| {precision}, every {every} steps | {rates['without']:,.0f} | {rates['saving']:,.0f} | {lost:.1%} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--folder", help="where to write; a temporary folder by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        if arguments.throughput:
            rows = compare_throughput(arguments.rounds, arguments.every, arguments.precision, folder)
            print(
                "| what | without saving, tokens/s | saving, tokens/s | lost, median of pairs |\n| --- | ---: | ---: | ---: |"
            )
        else:
            dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
            rows = [row for width in (256, 576) for row in compare_stalls(width, arguments.rounds, folder)]
            dist.destroy_process_group()
            print("| state | contender | median ms | lowest | highest | of torch.save | of async_save, reused buffer |")
            print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
