"""The plan's memory of a rank against what the GPU's allocator gave out, and on a CPU against the tensors that were made."""

import pytest
import torch
from transformers import PreTrainedModel

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout, ParallelConfig
from tasks.planning.memory import peak_memory
from tasks.planning.shapes import shape_of
from tasks.planning.work import Work
from tasks.training.gradients import FlatGradients
from tasks.training.measure.simulation import SimulationRequest
from tasks.training.model.mesh import Mesh
from tasks.training.model.model import attention_implementation, build_model, with_parameters_in
from tasks.training.model.objective import causal_loss
from tasks.training.model.partition import partitioned
from tasks.training.model.ranks import Ranks
from tasks.training.optimizer import allocate_state, build_optimizer
from tasks.training.passes import WholePasses
from tasks.training.setup import Setup, make_trainable, random_partition
from tasks.training.simulate import batch_of, measured_step

ROWS, MICRO_BATCH, MICRO_BATCHES = 8192, 4, 2
WIDTH, LENGTH = (512, 1024) if torch.cuda.is_available() else (192, 128)
MODEL = ModelConfig(
    hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4,
    max_position_embeddings=LENGTH,
)  # fmt: skip


def request(states: str, kept: str) -> SimulationRequest:
    return SimulationRequest(
        model=MODEL, vocab_rows=ROWS, layout=Layout(), rank=0, micro_batch_size=MICRO_BATCH, sequence_length=LENGTH,
        micro_batches=MICRO_BATCHES, precision="bf16", state_precision=states, activation_checkpointing=kept,
        layers_of_rank=6, depths=(6, 6),
    )  # fmt: skip


def planned(asked: SimulationRequest, device: str, compiled: bool) -> int:
    work = Work(
        shape_of(MODEL, ROWS), Layout(), MICRO_BATCH, LENGTH, MICRO_BATCHES, "bf16", asked.activation_checkpointing, "fused",
        device == "cuda", state_precision=asked.state_precision, saves_fused=compiled,
    )  # fmt: skip
    return peak_memory(work).total


def builder(asked: SimulationRequest):
    def build() -> PreTrainedModel:
        model = build_model(asked.model, asked.vocab_rows, 0, 0)
        on_gpu = torch.cuda.is_available()
        model.set_attn_implementation(attention_implementation(model, LENGTH, torch.device("cuda")) if on_gpu else "sdpa")
        return with_parameters_in(model, asked.state_precision)

    return build


def allocated(asked: SimulationRequest, compiled: bool) -> int:
    """The allocator's peak in the third step of a rank on a GPU, without what was there before."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    settings = ParallelConfig(compile="on" if compiled else "off", activation_checkpointing=asked.activation_checkpointing)
    setup = Setup(Mesh(Layout(), Ranks(0, 1, torch.device("cuda"))), settings)
    partition = random_partition(setup, builder(asked), "bf16", 0)
    make_trainable(partition, setup, causal_loss)
    optimizer = build_optimizer(partition, 1e-3, 0.1, (0.9, 0.95))
    gradients, passes = FlatGradients(partition), WholePasses(partition, "bf16")
    allocate_state(optimizer)
    for step in range(3):
        if step == 2:
            torch.cuda.reset_peak_memory_stats()
        gradients.zero()
        passes.train([batch_of(asked, torch.device("cuda")) for _ in range(MICRO_BATCHES)], lambda number: number, 1)
        gradients.clip(1.0)
        optimizer.step()
    return torch.cuda.max_memory_allocated() - before


SHOWN = [("fp32", "none"), ("bf16", "selective"), ("fp32", "full")]
SOAKED = [("bf16", "none"), ("fp32", "selective"), ("bf16", "full")]


@pytest.mark.parametrize(("states", "kept"), [*SHOWN, *(pytest.param(*one, marks=pytest.mark.soak) for one in SOAKED)])
def test_the_peak_is_the_planned_one(device: str, states: str, kept: str) -> None:
    """A plan is of layers that are not compiled; compiled ones need no more, and about what a refusal asks for."""
    asked = request(states, kept)
    if device == "cuda":
        plain, compiled = (allocated(asked, setting) for setting in (False, True))
    else:
        partition = partitioned(builder(asked), Mesh(Layout(), Ranks(0, 1, torch.device("cpu"))), "bf16")
        plain = compiled = max(measured_step(partition, asked).values())
    expected, least = (planned(asked, device, setting) for setting in (False, True))
    print(f"{device} {states} {kept}: MiB planned {expected / 2**20:.0f} or {least / 2**20:.0f}, plain {plain / 2**20:.0f}, "
          f"compiled {compiled / 2**20:.0f}")  # fmt: skip
    assert plain == pytest.approx(expected, rel=0.15)
    assert compiled < 1.05 * expected
    assert least <= expected
