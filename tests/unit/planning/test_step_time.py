"""How long a step takes: published and known rates, and what each part must do when one size changes."""

from dataclasses import replace
from statistics import median

import pytest

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.planning.hardware import ACCELERATORS, cpu, limited
from tasks.planning.shapes import Shape, shape_of
from tasks.planning.step_time import (
    FP8_SPEEDUP,
    OVERLAP,
    UNFUSED,
    all_reduce_seconds,
    describe,
    gather_seconds,
    pipeline_seconds,
    product_rate,
    slowest_link,
    step_time,
    utilisation,
)
from tasks.planning.work import Work
from tasks.record.errors import ConfigError
from tasks.training.measure.rates import Rates
from tests.kit.published_runs import DENSE, FP8, PIPELINES, TENSOR, PublishedRun, predicted

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
]  # fmt: skip


@pytest.mark.parametrize(("model", "rows", "length", "size", "count", "known"), KNOWN, ids=["124M", "355M", "1.24B"])
def test_the_known_rates_are_met_within_15_percent(model, rows, length, size, count, known):
    shape = shape_of(ModelConfig(max_position_embeddings=length, **model), rows)
    time = step_time(Work(shape, Layout(), size, length, count, "bf16", on_gpu=True), H200)
    assert size * length * count / time.total == pytest.approx(known, rel=0.15)


FAR_OFF = {"OLMo-core 1B of 2024": 0.21}
"""Runs that are further from the estimate than others of their kind, and how far: a script whose successor is within 3 %."""


def named(runs: tuple[PublishedRun, ...]) -> list:
    return [pytest.param(run, id=f"{run.name} {run.recomputed} {run.software}") for run in runs]


@pytest.mark.parametrize("run", named(DENSE))
def test_published_rates_of_dense_runs_are_met_within_15_percent(run):
    assert predicted(run) == pytest.approx(run.rate, rel=FAR_OFF.get(run.name, 0.15))


@pytest.mark.parametrize("run", named(PIPELINES + TENSOR))
def test_published_rates_of_pipelines_and_tensor_parallel_runs_are_met_within_25_percent(run):
    assert predicted(run) == pytest.approx(run.rate, rel=0.25)


@pytest.mark.parametrize("run", named(FP8))
def test_published_rates_in_fp8_are_met_within_25_percent(run):
    rate = predicted(run, fp8=True)
    assert rate == pytest.approx(run.rate, rel=0.25)
    assert 1.05 * predicted(run) < rate < FP8_SPEEDUP * predicted(run)


@pytest.mark.parametrize(("precision", "known"), [("bf16", 5070), ("fp32", 3246)])
def test_rates_on_the_cpu_that_was_measured_are_met_within_25_percent(precision, known):
    """Rates of the first table of tests/benchmarks/RESULTS.md, and of that machine's two cores."""
    rates = Rates(fp32_flops=1.88e11, bf16_flops=4.80e11, short_dimension=19.5, memory_bandwidth=3.85e10)
    shape = Shape("llama", 4, 256, 768, 4, 4, 64, 8192, 0, tied=True)
    time = step_time(Work(shape, Layout(), 8, 256, 1, precision, attention="eager"), cpu(2, 1.0, 16e9, rates))
    assert 2048 / time.total == pytest.approx(known, rel=0.25)


def test_what_was_held_out_is_met_as_what_was_fitted():
    errors = {
        chosen: [
            abs(predicted(run, fp8) / run.rate - 1)
            for runs, fp8 in ((DENSE, False), (PIPELINES, False), (FP8, True))
            for run in runs
            if run.fitted is chosen
        ]
        for chosen in (True, False)
    }
    assert len(errors[True]) == 11 and len(errors[False]) == 43
    assert median(errors[True]) < 0.02 and median(errors[False]) < 0.05


def test_fewer_watts_are_slower_but_not_in_proportion():
    full = step_time(work(Layout()), ACCELERATORS["h100"]).total
    held = step_time(work(Layout()), limited(ACCELERATORS["h100"], 500)).total
    assert 1.1 < held / full < 7 / 5
    with pytest.raises(ConfigError, match=r"--watts=800 is no limit of one h100: it takes 700 W at most; give a number up to"):
        limited(ACCELERATORS["h100"], 800)


def test_what_is_not_compiled_moves_more_memory():
    compiled, eager = (step_time(work(Layout(), compiled=one), H200).compute for one in (True, False))
    assert 1.05 < eager / compiled < UNFUSED
    assert step_time(work(Layout()), H200).compute == compiled, "on GPUs layers are compiled"


def test_a_short_dimension_slows_a_product():
    assert product_rate(H200, "bf16", 1e9, 1e9) == pytest.approx(H200.peak_bf16 * H200.matmul_fraction, rel=1e-6)
    half = product_rate(H200, "bf16", 1e9, H200.short_dimension, 1e9)
    assert half == pytest.approx(H200.peak_bf16 * H200.matmul_fraction / 2, rel=1e-6)


def test_interleaved_transfers_run_beside_the_passes_and_those_of_1f1b_do_not():
    many = step_time(work(Layout(8, virtual_stages=4)), H200)
    one = step_time(work(Layout(8)), H200)
    assert many.pipeline_transfers == 0 < one.pipeline_transfers
    slow = replace(H200, link_bandwidth=1e8)
    transfers = 32 * pipeline_seconds(work(Layout(8, virtual_stages=4)), slow)
    left = step_time(work(Layout(8, virtual_stages=4)), slow)
    assert left.pipeline_transfers == pytest.approx(transfers - OVERLAP * left.compute)


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
    # What is hidden still takes CONTENTION of its time from the passes; copies are seen by both.
    assert hidden.data_parallel < 0.7 * seen.data_parallel
    assert hidden.data_parallel < 0.35 * hidden.compute


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
