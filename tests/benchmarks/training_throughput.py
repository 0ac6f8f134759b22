"""Training tokens/s of pretune's loop against `transformers.Trainer` and a bare loop, interleaved in one run.

    python tests/benchmarks/training_throughput.py [--rounds 5] [--steps 12]

A 5.5 M-parameter Llama (4 layers, 256 wide, 4 heads, feed-forward 768, vocabulary 8192, tied), batch 8 x 256, one process with
all cores. Each round measures every contender once, in an order that rotates; the first steps of each measurement are left
out. A contender's figure is the median over rounds, its ratio to the Trainer the median of the ratios within rounds.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

VOCABULARY, LENGTH, BATCH = 8192, 256, 8
WARMUP_STEPS = 3
CONTENDERS = ("pretune bf16", "pretune fp32", "Trainer bf16", "Trainer fp32", "bare loop bf16", "bare loop fp32")


def build_model():
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def tokens(count: int):
    """Random ids, (count, LENGTH + 1): the same work whatever their values."""
    import numpy as np

    return np.random.default_rng(0).integers(1, VOCABULARY, (count, LENGTH + 1), dtype=np.int64)


def rate(times: list[float]) -> float:
    return BATCH * LENGTH / statistics.median(times[WARMUP_STEPS:])


def measure_pretune(precision: str, steps: int) -> float:
    """The product's own loop: journal, hash chain, clipping and stop check included; no evaluation, no checkpoint."""
    import numpy as np
    import torch

    from tasks.run_layout import StageLayout
    from tasks.training.loop import Recipe, Trainer
    from tasks.training.model import attention_implementation
    from tasks.training.objective import choose_causal_loss
    from tasks.training.ranks import Ranks
    from tasks.training.schedule import Schedule

    data, model = tokens(steps * BATCH), build_model()
    model.set_attn_implementation(attention_implementation(model, LENGTH))
    positions = torch.arange(LENGTH).expand(BATCH, LENGTH).contiguous()

    def read(ids: np.ndarray) -> dict:
        rows = torch.from_numpy(data[ids])
        return {"input_ids": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous(), "position_ids": positions}

    recipe = Recipe(
        request_digest="", seed=0, schedule=Schedule(1e-3, 0.0, 2, 10, "1-sqrt"), max_steps=steps, global_batch_size=BATCH,
        micro_batch_size=BATCH, max_grad_norm=1.0, weight_decay=0.1, betas=(0.9, 0.95), precision=precision,
        evaluate_every_steps=10**9, checkpoint_every_steps=10**9, keep_checkpoints=1,
        sample_ids=lambda step: np.arange(step * BATCH, (step + 1) * BATCH), read=read,
        num_targets=lambda ids: len(ids) * LENGTH, num_tokens=lambda ids: len(ids) * LENGTH,
        loss=choose_causal_loss(model), evaluate=lambda model: {"heldout_loss": 0.0},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, model, Ranks(0, 1, torch.device("cpu")), StageLayout(Path(folder)), 1)
        model.train()
        return rate(timed(trainer.train_step, steps))


def timed(step: Callable[[], None], steps: int) -> list[float]:
    times = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return times


def measure_trainer(precision: str, steps: int) -> float:
    """`transformers.Trainer` with its defaults but for batch, optimizer (fused AdamW) and precision; nothing is saved."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    data = tokens(steps * BATCH)[:, :-1]
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args: object, **kwargs: object) -> None:
            marks.append(time.perf_counter())

        def on_step_end(self, *args: object, **kwargs: object) -> None:
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=1e-3, weight_decay=0.1,
            max_grad_norm=1.0, optim="adamw_torch_fused", bf16=precision == "bf16", use_cpu=True, report_to="none",
            save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_num_workers=0,
        )  # fmt: skip
        rows = [{"input_ids": row, "labels": row} for row in data]
        Trainer(model=build_model(), args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    # From the begin of one step to the begin of the next: loading is part of the work, as it is in pretune's step.
    begins = [*marks[::2], marks[-1]]
    return rate([b - a for a, b in itertools.pairwise(begins)])


def measure_bare(precision: str, steps: int) -> float:
    """The shortest loop that does the same mathematics with torch and the model's own loss."""
    import torch

    data, model = torch.from_numpy(tokens(steps * BATCH)), build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    batches = iter(data.split(BATCH))
    model.train()

    def step() -> None:
        rows = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=rows[:, :-1], labels=rows[:, :-1]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()

    return rate(timed(step, steps))


def measure(contender: str, steps: int) -> float:
    """tokens/s of one contender in a process of its own."""
    command = [sys.executable, __file__, "--only", contender, "--steps", str(steps)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--only", choices=CONTENDERS)
    arguments = parser.parse_args()
    if arguments.only:
        name, precision = arguments.only.rsplit(" ", 1)
        run = {"pretune": measure_pretune, "Trainer": measure_trainer, "bare loop": measure_bare}[name]
        print(json.dumps({"tokens_per_second": run(precision, arguments.steps)}))
        return
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(arguments.rounds):
        for i in range(len(CONTENDERS)):
            name = CONTENDERS[(i + number) % len(CONTENDERS)]
            rates[name].append(measure(name, arguments.steps))
            print(f"round {number + 1}: {name:<16} {rates[name][-1]:>8,.0f} tokens/s", file=sys.stderr, flush=True)
    print("| contender | median tokens/s | lowest | highest | ratio to the Trainer in the same precision, median |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, values in rates.items():
        peer = rates[f"Trainer {name.rsplit(' ', 1)[1]}"]
        ratio = statistics.median(a / b for a, b in zip(values, peer, strict=True))
        print(f"| {name} | {statistics.median(values):,.0f} | {min(values):,.0f} | {max(values):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
