"""tokens/s of litgpt's own pre-training loop; run by `training_throughput.py` in an environment that has litgpt.

    LITGPT_ENVIRONMENT/bin/python tests/benchmarks/training_litgpt.py bf16|fp32 STEPS

The rate is that of the iteration times that it prints, the first steps left out: the figure that it ends with is the number of
tokens divided by the time of day.
"""

import contextlib
import io
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path

VOCABULARY, LENGTH, BATCH, WARMUP_STEPS = 8192, 256, 8, 3


def main(precision: str, steps: int) -> None:
    import torch
    from litgpt import pretrain
    from litgpt.args import EvalArgs, TrainArgs
    from litgpt.config import Config
    from litgpt.data import DataModule

    tokens = torch.randint(1, VOCABULARY, (steps * BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))

    class RandomTokens(DataModule):
        def connect(self, tokenizer: object = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
            self.batch_size = batch_size

        def train_dataloader(self) -> torch.utils.data.DataLoader:
            return torch.utils.data.DataLoader(list(tokens), batch_size=self.batch_size)

        val_dataloader = train_dataloader

    config = Config(
        name="llama-5m", block_size=LENGTH, n_layer=4, n_head=4, n_embd=256, intermediate_size=768, vocab_size=VOCABULARY,
        padded_vocab_size=VOCABULARY, rotary_percentage=1.0, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP", norm_eps=1e-6,
    )  # fmt: skip
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
        pretrain.setup(
            "llama-5m", config, Path(folder), precision={"bf16": "bf16-mixed", "fp32": "32-true"}[precision],
            data=RandomTokens(), devices=1, logger_name="csv", eval=EvalArgs(interval=10**9, max_iters=1),
            train=TrainArgs(
                save_interval=None, log_interval=1, global_batch_size=BATCH, micro_batch_size=BATCH, lr_warmup_steps=2,
                max_tokens=steps * BATCH * LENGTH, max_seq_length=LENGTH, max_norm=1.0, tie_embeddings=True,
            ),
        )  # fmt: skip
    times = [float(found) / 1000 for found in re.findall(r"iter time: ([\d.]+) ms", said.getvalue())]
    parameters = re.search(r"Total parameters: ([\d,]+)", said.getvalue())
    assert len(times) == steps and parameters is not None
    print(parameters[0], file=sys.stderr)
    print(json.dumps({"tokens_per_second": BATCH * LENGTH / statistics.median(times[WARMUP_STEPS:])}))


if __name__ == "__main__":
    precision, steps = sys.argv[1:]
    # litgpt parses the command line once more when it saves its settings.
    sys.argv = ["litgpt", "pretrain", "llama-5m"]
    main(precision, int(steps))
