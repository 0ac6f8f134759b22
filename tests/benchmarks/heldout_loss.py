"""Held-out loss after equal tokens: pretune's loop against `transformers.Trainer`, and pretune's recipe against the Trainer's.

    python tests/benchmarks/heldout_loss.py [--steps 300] [--precision bf16] [--text FOLDER] [--home FOLDER]

The 5.5 M-parameter Llama of training_throughput.py (4 layers, 256 wide, vocabulary 8192, tied), the same initial weights, the
same batches of 8 x 256 tokens in the same order, prepared by pretune: English Wikipedia lead sections, or the text files of a
folder. The held-out loss is that of at most 100,000 tokens that no contender trained on, in fp32, by the same function. One
process each, one after the other:

- `pretune`: its recipe (warm-up, stable, decay 1-sqrt; decay of matrices only; 0.9, 0.95), AdamW
- `pretune, Muon`: the same with Muon for the matrices of the layers
- `Trainer, same recipe`: `transformers.Trainer` with these values, its own choice of what decays
- `Trainer, its recipe`: linear decay from the first step, betas 0.9 and 0.999, no weight decay, at pretune's learning rate
- `Trainer, its defaults`: the same at its own learning rate, 5e-5
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LENGTH, BATCH, VOCABULARY = 256, 8, 8192
HELDOUT_TOKENS = 100_000
ITS_RECIPE = {
    "lr_scheduler_type": "linear",
    "lr_scheduler_kwargs": None,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_beta2": 0.999,
}
CONTENDERS: dict[str, dict[str, Any]] = {
    "pretune": {"optimizer": "adamw"},
    "pretune, Muon": {"optimizer": "muon"},
    "Trainer, same recipe": {},
    "Trainer, its recipe": ITS_RECIPE,
    "Trainer, its defaults": ITS_RECIPE | {"learning_rate": 5e-5},
}


def prepared(home: Path, text: Path | None) -> Path:
    """Folder of the token data, made once in `home` by the process that makes it for every run."""
    from tasks.config.presets import parse_config
    from tasks.record.files import write_json
    from tasks.stages.work import prepare_work

    source = {"source": "text", "path": str(text)} if text else {"source": "sample"}
    config = parse_config({"data": {"name": "heldout", **source}, "tokenizer": {"vocab_size": VOCABULARY}})
    work = prepare_work(home, config)
    if not work.stage.manifest.exists():
        write_json(work.stage.request, work.request)
        subprocess.run([sys.executable, "-m", "tasks.data", str(work.stage.path)], check=True)
    return work.stage.path


def measure(name: str, folder: Path, steps: int, precision: str) -> dict[str, float]:
    """Training and held-out loss of one contender, nats/token."""
    from contenders import Clock, Data, Run, Shape, heldout_loss, llama, pretune_trainer, transformers_trainer

    from tasks.data.tokens.shards import TokenDataset
    from tasks.record.journal import latest_by_step, read_journal
    from tasks.record.manifest import Manifest
    from tasks.training.model.model import attention_implementation

    manifest = Manifest.read(folder / "manifest.json")
    train, heldout = (TokenDataset(folder, manifest, split, LENGTH) for split in ("train", "heldout"))
    run = Run(LENGTH, BATCH, steps, precision=precision, warmup_steps=steps // 10, decay_steps=steps // 5)
    model, data, changes = llama(Shape(VOCABULARY), LENGTH), Data.of(train), CONTENDERS[name]
    with tempfile.TemporaryDirectory() as scratch:
        if name.startswith("pretune"):
            model.set_attn_implementation(attention_implementation(model, LENGTH, model.device))
            trainer = pretune_trainer(model, run, data, Path(scratch), **changes)
            for _ in range(steps):
                trainer.train_step()
            losses = [line["loss"] for line in latest_by_step(read_journal(trainer.stage.journal)[0], "step")]
        else:
            settings = {"logging_strategy": "steps", "logging_steps": 1} | changes
            trainer = transformers_trainer(model, run, data, Path(scratch), Clock(), **settings)
            trainer.train()
            losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    number = min(heldout.num_sequences, HELDOUT_TOKENS // LENGTH)
    return {"first": losses[0], "last": sum(losses[-10:]) / 10, "heldout": heldout_loss(model, heldout, number, BATCH)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--home", type=Path, help="where the prepared text is kept; empty: a folder that is deleted")
    parser.add_argument("--only", nargs=2, metavar=("CONTENDER", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.only:
        name, folder = arguments.only
        print(json.dumps(measure(name, Path(folder), arguments.steps, arguments.precision)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = prepared(arguments.home or Path(scratch), arguments.text)
        print("| contender | loss of the first step | mean of the last 10 | held-out loss, nats/token |")
        print("| --- | ---: | ---: | ---: |")
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--only", name, str(folder)]
            command += ["--steps", str(arguments.steps), "--precision", arguments.precision]
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| {name} | {found['first']:.4f} | {found['last']:.4f} | {found['heldout']:.4f} |", flush=True)


if __name__ == "__main__":
    main()
