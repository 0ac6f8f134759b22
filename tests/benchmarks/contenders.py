"""What the benchmarks of training share: a Llama, the order of the data, pretune's own loop and `transformers.Trainer`."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, TrainerCallback, TrainingArguments
from transformers import Trainer as TransformersTrainer

from tasks.config.parallel import ParallelConfig
from tasks.config.training import PretrainConfig
from tasks.data.order.permutation import samples_of_step
from tasks.data.tokens.shards import TokenDataset
from tasks.record.layout import StageLayout
from tasks.training.evaluation import read_text
from tasks.training.loop import Recipe, Trainer
from tasks.training.model.mesh import Mesh
from tasks.training.model.objective import causal_loss, token_losses
from tasks.training.model.partition import Partition
from tasks.training.model.ranks import Ranks
from tasks.training.optimizer import OptimizerKind
from tasks.training.schedule import Schedule
from tasks.training.setup import Setup, make_trainable

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shape:
    """A Llama."""

    vocab_size: int = 8192
    hidden_size: int = 256
    intermediate_size: int = 768
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    tie_word_embeddings: bool = True


@dataclass(frozen=True)
class Run:
    """How it is trained; the same values for every contender."""

    length: int
    micro_batch_size: int
    steps: int
    accumulation: int = 1
    precision: str = "bf16"
    learning_rate: float = 1e-3
    warmup_steps: int = 2
    decay_steps: int = 1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    seed: int = 0

    @property
    def batch_size(self) -> int:
        return self.micro_batch_size * self.accumulation

    @property
    def step_tokens(self) -> int:
        return self.batch_size * self.length

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.learning_rate, 0.0, self.warmup_steps, self.decay_steps, "1-sqrt")

    @property
    def decay_start(self) -> int:
        return self.steps - self.decay_steps


@dataclass(frozen=True)
class Data:
    """Sequences by number, and which ones a step reads."""

    size: int
    read: Callable[[np.ndarray], Batch]

    @classmethod
    def of(cls, dataset: TokenDataset) -> "Data":
        return cls(dataset.num_sequences, lambda ids: read_text(dataset, ids))

    @classmethod
    def random(cls, size: int, length: int, vocab_size: int) -> "Data":
        """Random tokens, two documents in every sequence."""
        tokens = torch.from_numpy(np.random.default_rng(0).integers(1, vocab_size, (size, length + 1), dtype=np.int64))
        positions = torch.arange(length) % (length // 2)

        def read(ids: np.ndarray) -> Batch:
            rows = tokens[torch.from_numpy(ids)]
            return {
                "input_ids": rows[:, :-1].contiguous(), "labels": rows[:, 1:].contiguous(),
                "position_ids": positions.expand(len(ids), -1).contiguous(),
            }  # fmt: skip

        return cls(size, read)

    def sample_ids(self, run: Run, step: int) -> np.ndarray:
        return samples_of_step(step, run.batch_size, self.size, run.seed)


def llama(shape: Shape, length: int, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The same weights on every call, made on the device: 8 billion take minutes on a CPU."""
    torch.manual_seed(0)
    config = LlamaConfig(**vars(shape), max_position_embeddings=length, use_cache=False)
    with device():
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pretune_trainer(
    model: PreTrainedModel, run: Run, data: Data, folder: Path, optimizer: OptimizerKind = "adamw", **parallel: Any
) -> Trainer:
    """The product's loop, ready to train; it never evaluates and never saves. `parallel` are settings of ParallelConfig."""
    settings = ParallelConfig(**parallel)
    setup = Setup(Mesh(settings.layout(1), Ranks(0, 1, device())), settings)
    partition = Partition(setup.mesh, [model.to(device())], whole=model)
    make_trainable(partition, setup, causal_loss)
    config = PretrainConfig().model_copy(update={
        "seed": run.seed, "micro_batch_size": run.micro_batch_size, "sequence_length": run.length,
        "global_batch_tokens": run.step_tokens, "weight_decay": run.weight_decay, "beta1": run.betas[0], "beta2": run.betas[1],
        "precision": run.precision, "optimizer": optimizer, "evaluate_every_steps": 10**9, "checkpoint_every_steps": 10**9,
    })  # fmt: skip
    recipe = Recipe(
        config=config, request_digest="", schedule=run.schedule, max_steps=run.steps,
        sample_ids=lambda step: data.sample_ids(run, step), read=data.read,
        num_targets=lambda ids: len(ids) * run.length, num_tokens=lambda ids: len(ids) * run.length,
        evaluate=lambda trainer: {"heldout_loss": math.nan},
    )  # fmt: skip
    trainer = Trainer(recipe, partition, StageLayout(folder), 1)
    trainer.state.decay_start = run.decay_start
    partition.train()
    return trainer


class Clock(TrainerCallback):
    """Seconds from the begin of each step to the begin of the next: loading is part of the work, as it is in pretune's step."""

    def __init__(self) -> None:
        self._begins: list[float] = []

    def on_step_begin(self, *_arguments: Any, **_named: Any) -> None:
        self._begins.append(time.perf_counter())

    def on_train_end(self, *_arguments: Any, **_named: Any) -> None:
        self._begins.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [b - a for a, b in pairwise(self._begins)]


class InOrder(TransformersTrainer):
    """transformers' Trainer, but for the order of the data, which is as given, and the learning rate, which is pretune's.

    Its own warm-up begins with a step at learning rate 0.
    """

    learning_rate_of: Callable[[int], float] | None = None

    def _get_train_sampler(self, *_arguments: Any) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.learning_rate_of is None:
            return super().create_scheduler(num_training_steps, optimizer)
        peak = self.args.learning_rate
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda s: self.learning_rate_of(s) / peak
        )
        return self.lr_scheduler


def transformers_trainer(model: PreTrainedModel, run: Run, data: Data, folder: Path, clock: Clock, **changes: Any) -> InOrder:
    """`transformers.Trainer` on the same samples in the same order, with the same predictions from each.

    `changes` are laid over its arguments; with a schedule among them it has its own learning rate.
    """
    order = np.concatenate([data.sample_ids(run, step) for step in range(run.steps)])
    rows = []
    for number in order:
        row = {name: tensor[0] for name, tensor in data.read(np.array([number])).items()}
        # The labels are already shifted: without `shift_labels` the model would shift them, and predict one token less.
        rows.append({**row, "shift_labels": row["labels"]})
    arguments = {
        "output_dir": str(folder), "per_device_train_batch_size": run.micro_batch_size,
        "gradient_accumulation_steps": run.accumulation, "max_steps": run.steps, "learning_rate": run.learning_rate,
        "weight_decay": run.weight_decay, "adam_beta1": run.betas[0], "adam_beta2": run.betas[1], "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused", "bf16": run.precision == "bf16", "use_cpu": device().type == "cpu",
        "report_to": "none", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "dataloader_num_workers": 0, "remove_unused_columns": False, "seed": run.seed,
    }  # fmt: skip
    trainer = InOrder(model=model, args=TrainingArguments(**arguments | changes), train_dataset=rows, callbacks=[clock])
    if "lr_scheduler_type" not in changes:
        trainer.learning_rate_of = lambda step: run.schedule.learning_rate(step, run.decay_start)
    return trainer


def heldout_loss(model: PreTrainedModel, dataset: TokenDataset, num_sequences: int, batch_size: int) -> float:
    """Mean loss in nats/token over the first sequences, fp32."""
    model.eval()
    total, where = 0.0, next(model.parameters()).device
    for start in range(0, num_sequences, batch_size):
        ids = np.arange(start, min(start + batch_size, num_sequences))
        batch = {name: tensor.to(where) for name, tensor in read_text(dataset, ids).items()}
        total += token_losses(model, batch).double().sum().item()
    return total / (num_sequences * dataset.sequence_length)
