"""Training tokens/s of pretune's loop against `transformers.Trainer`, litgpt and a bare loop, interleaved in one run.

    python tests/benchmarks/training_throughput.py [--rounds 5] [--steps 12] [--litgpt-python PYTHON]

A 5.5 M-parameter Llama (4 layers, 256 wide, 4 heads, feed-forward 768, vocabulary 8192, tied), batch 8 x 256, one process with
all cores. The bare loop is the same mathematics in the fewest lines: packed documents, clipping, fused AdamW. PYTHON is that of
an environment with litgpt, which is left out without it. Each round measures every contender once, in an order that rotates;
the first steps of each measurement are left out. A contender's figure is the median over rounds, its ratios the medians of the
ratios within rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

LENGTH, BATCH = 256, 8
WARMUP_STEPS = 3
PRECISIONS = ("bf16", "fp32")


def rate(times: list[float]) -> float:
    return BATCH * LENGTH / statistics.median(times[WARMUP_STEPS:])


def timed(step: Callable[[], None], steps: int) -> list[float]:
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


def measure_pretune(precision: str, steps: int, optimizer: str = "adamw") -> float:
    """The product's own loop: journal, hash chain, clipping and stop check included; no evaluation, no checkpoint."""
    from contenders import Data, Run, Shape, llama, pretune_trainer

    from tasks.training.model.model import attention_implementation

    run = Run(LENGTH, BATCH, steps, precision=precision)
    model = llama(Shape(), LENGTH)
    model.set_attn_implementation(attention_implementation(model, LENGTH, model.device))
    with tempfile.TemporaryDirectory() as folder:
        trainer = pretune_trainer(model, run, Data.random(steps * BATCH, LENGTH, Shape().vocab_size), Path(folder), optimizer)
        return rate(timed(trainer.train_step, steps))


def measure_trainer(precision: str, steps: int) -> float:
    """`transformers.Trainer` with its defaults but for batch, optimizer (fused AdamW) and precision; nothing is saved."""
    from contenders import Clock, Data, Run, Shape, llama, transformers_trainer

    run, clock = Run(LENGTH, BATCH, steps, precision=precision), Clock()
    with tempfile.TemporaryDirectory() as folder:
        data = Data.random(steps * BATCH, LENGTH, Shape().vocab_size)
        transformers_trainer(llama(Shape(), LENGTH), run, data, Path(folder), clock).train()
    return rate(clock.seconds)


def measure_bare(precision: str, steps: int) -> float:
    """The shortest loop that does the same mathematics with torch."""
    import numpy as np
    import torch
    from contenders import Data, Run, Shape, llama

    run, model, data = Run(LENGTH, BATCH, steps), llama(Shape(), LENGTH), Data.random(steps * BATCH, LENGTH, Shape().vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=run.betas, weight_decay=0.1, fused=True)
    batches = iter([data.read(np.arange(i * BATCH, (i + 1) * BATCH)) for i in range(steps)])
    model.train()

    def step() -> None:
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return rate(timed(step, steps))


CONTENDERS = {
    "pretune": measure_pretune,
    "pretune, Muon": partial(measure_pretune, optimizer="muon"),
    "Trainer": measure_trainer,
    "bare loop": measure_bare,
}


def measure(name: str, precision: str, steps: int, litgpt_python: str | None) -> float:
    """tokens/s of one contender in a process of its own; pretune's has the environment that its launcher gives."""
    folder = Path(__file__).parent
    command = [sys.executable, __file__, "--only", name, precision, "--steps", str(steps)]
    if name == "litgpt":
        command = [str(litgpt_python), str(folder / "training_litgpt.py"), precision, str(steps)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    if name.startswith("pretune"):
        from tasks.launch.local import KEEP_FREED_MEMORY

        environment |= KEEP_FREED_MEMORY
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} {precision} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--litgpt-python")
    parser.add_argument("--only", nargs=2, metavar=("CONTENDER", "PRECISION"))
    arguments = parser.parse_args()
    if arguments.only:
        name, precision = arguments.only
        print(json.dumps({"tokens_per_second": CONTENDERS[name](precision, arguments.steps)}))
        return
    peers = [*CONTENDERS, *(["litgpt"] if arguments.litgpt_python else [])]
    pairs = [(name, precision) for precision in PRECISIONS for name in peers]
    rates: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for number in range(arguments.rounds):
        for i in range(len(pairs)):
            name, precision = pair = pairs[(i + number) % len(pairs)]
            rates[pair].append(measure(name, precision, arguments.steps, arguments.litgpt_python))
            print(f"round {number + 1}: {name} {precision} {rates[pair][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    print("| contender | median tokens/s | lowest | highest | pretune is so many times as fast |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for (name, precision), values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(rates["pretune", precision], values, strict=True))
        print(
            f"| {name} {precision} | {statistics.median(values):,.0f} | {min(values):,.0f} | {max(values):,.0f} | {ratio:.2f} |"
        )


if __name__ == "__main__":
    main()
