"""Memory by closed form beside tensors that were counted: of real ranks, and of simulated ones where there are too many."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from tasks.config.parallel import Layout
from tasks.planning import memory
from tasks.planning.shapes import Shape
from tasks.planning.work import Work
from tests.kit.planned_ranks import formula, measured, request, simulated
from tests.kit.ranks import run_ranks

REAL = {
    "one rank, bf16": request(Layout()),
    "one rank, fp32, short sequences": request(Layout(), precision="fp32", attention="eager", micro_batches=2),
    "GPT-2, two replicas": request(
        Layout(replicate=2), attention="eager", model={"architecture": "gpt2", "num_key_value_heads": None}
    ),
    "Qwen3, two shards, untied": request(
        Layout(shard=2), model={"architecture": "qwen3", "tie_word_embeddings": False, "extra": {"head_dim": 48}}
    ),
    "two tensor ranks": request(Layout(tensor_parallel=2)),
    "two stages x two shards": request(Layout(2, shard=2), micro_batches=4),
    "four shards, accumulated": request(Layout(shard=4), micro_batches=3),
    "bf16 states": request(Layout(), state_precision="bf16"),
    "bf16 states, two shards": request(Layout(shard=2), state_precision="bf16", micro_batches=2),
    "Muon, two shards": request(Layout(shard=2), optimizer="muon", micro_batch_size=1),
    "full checkpointing": request(Layout(), activation_checkpointing="full", micro_batch_size=8),
}
SIMULATED = {
    "shard 8 x tensor 2": request(Layout(shard=8, tensor_parallel=2)),
    "replicate 16 x shard 4, accumulated": request(Layout(replicate=16, shard=4), micro_batches=2),
    "pipeline 4, first stage": request(Layout(4), micro_batches=8),
    "pipeline 4 x shard 64, last stage": request(Layout(4, shard=64), rank=3 * 64, micro_batches=4),
    "interleaved": request(Layout(2, shard=2, virtual_stages=2), micro_batches=4),
    "selective": request(Layout(shard=4), micro_batch_size=8, activation_checkpointing="selective"),
    "everything": request(Layout(2, 2, 2, 2), micro_batches=4, model={"tie_word_embeddings": False}),
}


SOAKED = {
    *("one rank, fp32, short sequences", "GPT-2, two replicas", "Qwen3, two shards, untied", "four shards, accumulated"),
    *("bf16 states, two shards", "Muon, two shards", "replicate 16 x shard 4, accumulated", "pipeline 4, first stage"),
    *("pipeline 4 x shard 64, last stage", "selective"),
}
"""What `make soak` alone runs."""


def some_of(cases: Iterable[str]) -> list[object]:
    return [pytest.param(case, marks=[pytest.mark.soak] if case in SOAKED else []) for case in cases]


@pytest.mark.parametrize("case", some_of(REAL))
def test_the_formula_is_within_5_percent_of_what_real_ranks_take(case):
    asked = REAL[case]
    taken = run_ranks(asked.layout.world_size, partial(measured, asked=asked))
    stage_size = asked.layout.stage_size
    for rank, peak in enumerate(taken):
        there = asked.model_copy(update={"rank": rank // stage_size * stage_size})
        assert formula(there) == pytest.approx(peak, rel=0.05), f"rank {rank}"


@pytest.mark.parametrize("case", some_of(SIMULATED))
def test_the_formula_is_within_5_percent_of_a_simulated_rank(case):
    asked = SIMULATED[case]
    (peak,) = run_ranks(1, partial(simulated, asked=asked))
    assert formula(asked) == pytest.approx(peak.peak_memory_bytes, rel=0.05)


def test_the_state_is_16_bytes_per_parameter_divided_by_the_mesh():
    shape = Shape("llama", 8, 512, 1536, 8, 8, 64, 4096, 0, tied=False)
    one = memory.peak_memory(Work(shape, Layout(), 1, 64, 1, "bf16"))
    assert one.parameters + one.optimizer + one.gradients == 16 * shape.total
    many = memory.peak_memory(Work(shape, Layout(2, 1, 4, 2), 1, 64, 2, "bf16"))
    replicated = 8 * (shape.layer(2) - shape.layer() // 2) + shape.norm
    assert many.parameters + many.optimizer <= 12 * (shape.total + 2 * replicated + shape.embedding) / 16


def test_no_rank_waits_with_a_whole_gradient_under_fsdp():
    shape = Shape("llama", 8, 512, 1536, 8, 8, 64, 4096, 0, tied=False)
    several = Work(shape, Layout(shard=8), 1, 64, 4, "bf16")
    assert memory.peak_memory(several).gradients <= 4 * shape.total / 8
    assert memory.peak_memory(replace(several, layout=Layout(2, shard=8))).gradients > 4 * shape.total / 3


def test_bf16_states_and_muon_take_less():
    shape = Shape("llama", 8, 512, 1536, 8, 8, 64, 4096, 0, tied=False)
    usual = Work(shape, Layout(shard=8), 1, 64, 4, "bf16")
    full, half = (memory.peak_memory(work) for work in (usual, replace(usual, state_precision="bf16")))
    assert (half.parameters, half.optimizer) == (full.parameters // 2, full.optimizer // 2)
    orthogonal = memory.peak_memory(replace(usual, optimizer="muon"))
    assert full.optimizer - orthogonal.optimizer == 4 * 8 * shape.layer_matrices() // 8
