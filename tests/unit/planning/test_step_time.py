"""How long a step takes: known rates, and what each part must do when one size changes."""

from dataclasses import replace

import pytest

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.planning.hardware import ACCELERATORS
from tasks.planning.shapes import Shape, shape_of
from tasks.planning.step_time import all_reduce_seconds, describe, gather_seconds, slowest_link, step_time, utilisation
from tasks.planning.work import Work

H200 = ACCELERATORS["h200"]
EIGHT_BILLION = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip
KNOWN = [
    # model, rows, sequence_length, micro_batch_size, micro_batches, tokens/s on one H200
    ({"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
     50304, 1024, 32, 16, 462e3),
    ({"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16},
     50304, 1024, 32, 16, 165e3),
    ({"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
      "num_key_value_heads": 8}, 128256, 4096, 4, 32, 50e3),
    (EIGHT_BILLION, 128256, 4096, 1, 64, 10471),
]  # fmt: skip


@pytest.mark.parametrize(("model", "rows", "length", "size", "count", "known"), KNOWN, ids=["124M", "355M", "1.24B", "8B"])
def test_the_known_rates_are_met_within_15_percent(model, rows, length, size, count, known):
    shape = shape_of(ModelConfig(max_position_embeddings=length, **model), rows)
    time = step_time(Work(shape, Layout(), size, length, count, "bf16", on_gpu=True), H200)
    assert size * length * count / time.total == pytest.approx(known, rel=0.15)


def work(layout: Layout, micro_batches: int = 32, **changes) -> Work:
    shape = shape_of(ModelConfig(max_position_embeddings=4096, **EIGHT_BILLION), 128256)
    return replace(Work(shape, layout, 1, 4096, micro_batches, "bf16", on_gpu=True), **changes)


def test_the_bubble_is_that_of_the_formula():
    for virtual in (1, 2, 4):
        time = step_time(work(Layout(8, virtual_stages=virtual)), H200)
        ideal = time.compute + time.tensor_parallel + time.pipeline_transfers
        assert time.bubble == pytest.approx(ideal * 7 / (virtual * 32))
    assert step_time(work(Layout()), H200).bubble == 0


def test_recomputation_costs_time_and_is_no_model_flop():
    plain, full = work(Layout()), work(Layout(), activation_checkpointing="full")
    times = [step_time(one, H200).total for one in (plain, full)]
    assert 1.2 < times[1] / times[0] < 1.34
    assert utilisation(full, H200, times[1]) == pytest.approx(utilisation(plain, H200, times[0]) * times[0] / times[1])


def test_utilisation_is_flops_over_peak():
    shape = Shape("llama", 2, 64, 96, 4, 2, 16, 512, 0, tied=True)
    one = Work(shape, Layout(replicate=4), 2, 128, 3, "bf16")
    tokens = 2 * 128 * 3 * 4
    assert utilisation(one, H200, 2.0) == pytest.approx(shape.flops_per_token(128) * tokens / (2.0 * 4 * H200.peak_bf16))


def test_tensor_parallel_beyond_a_machine_is_slow():
    within, beyond = (step_time(work(Layout(tensor_parallel=size)), H200).tensor_parallel for size in (8, 16))
    assert beyond > 1.2 * within > 0


def test_collectives_go_as_fast_as_their_slowest_link():
    assert slowest_link(H200, 8, 1) == 0.75 * 450e9
    assert slowest_link(H200, 16, 1) == 0.75 * 400e9  # eight ranks of a machine share its eight links to the network
    assert slowest_link(H200, 16, 8) == 0.75 * 50e9
    size = 1e9
    assert gather_seconds(size, H200, 4, 1) == pytest.approx(size * 3 / 4 / (0.75 * 450e9), rel=0.01)
    assert all_reduce_seconds(size, H200, 4, 1) == pytest.approx(2 * size * 3 / 4 / (0.75 * 450e9), rel=0.02)
    assert gather_seconds(size, H200, 1, 1) == all_reduce_seconds(size, H200, 1, 1) == 0


def test_sharding_is_hidden_behind_the_passes_of_a_gpu():
    hidden = step_time(work(Layout(shard=8)), H200)
    seen = step_time(work(Layout(shard=8)), replace(H200, overlaps=False))
    assert hidden.data_parallel < 0.1 * hidden.compute
    assert seen.data_parallel > 3 * hidden.data_parallel


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        (Layout(), "one rank"), (Layout(replicate=2), "replicate"), (Layout(shard=2), "shard"),
        (Layout(1, 2, 2), "hybrid shard"),
        (Layout(2, 1, 2, 2), "pipeline + tensor + shard"), (Layout(2, virtual_stages=2), "interleaved pipeline"),
    ],
)  # fmt: skip
def test_a_layout_has_a_name(layout, kind):
    assert describe(layout) == kind
