"""One rank of any layout without its other ranks: what its tensors would take, without taking it."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tasks.config.parallel import Layout
from tasks.record.layout import REPOSITORY
from tasks.training.measure.simulation import SimulatedPeak
from tasks.training.model.objective import causal_loss
from tasks.training.simulate import MemoryTracker
from tests.kit.models import text_batch, tiny_model
from tests.kit.planned_ranks import measured, request, simulated
from tests.kit.ranks import run_ranks


def test_the_tracker_counts_what_is_alive_and_its_peak():
    tracker = MemoryTracker()
    before = torch.zeros(100)
    tracker.add(before)
    with tracker:
        one = torch.ones(1000)
        view = one[:10]
        two = one * 2
        del one
        assert (tracker.bytes, tracker.peak_bytes) == (400 + 4000 + 4000, 8400)
        del view
        assert tracker.bytes == 4400
        two.untyped_storage().resize_(0)
        assert tracker.bytes == 400
        two.untyped_storage().resize_(8000)
        assert (tracker.bytes, tracker.peak_bytes) == (8400, 8400)
        tracker.reset_peak()
        del two
    assert (tracker.bytes, tracker.peak_bytes) == (400, 8400)


def test_the_tracker_agrees_with_the_profiler_of_torch():
    model, batch = tiny_model(num_hidden_layers=3), text_batch(rows=8, length=64)

    def step() -> None:
        causal_loss(model, batch).backward()
        model.zero_grad()

    step()
    with MemoryTracker() as tracker:
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    now = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    # A little more: while an operation is watched from Python, what it was given stays alive until it has returned.
    assert peak <= tracker.peak_bytes <= 1.03 * peak


@pytest.mark.parametrize(
    "asked",
    [
        request(Layout(shard=2), sequence_length=128),
        request(Layout(tensor_parallel=2), sequence_length=128, model={"architecture": "qwen3"}),
        request(Layout(2), micro_batches=4, sequence_length=128),
    ],
    ids=lambda asked: str(asked.layout),
)
def test_a_simulated_rank_takes_what_a_real_one_takes(asked):
    real = run_ranks(2, partial(measured, asked=asked))
    (fake,) = run_ranks(1, partial(simulated, asked=asked))
    assert fake.peak_memory_bytes == pytest.approx(real[0], rel=0.05)


def test_the_depths_are_extrapolated_to_the_depth_of_the_model():
    asked = request(Layout(shard=4), model={"num_hidden_layers": 6}, micro_batch_size=1, sequence_length=64)
    (near,) = run_ranks(1, partial(simulated, asked=asked))
    (whole,) = run_ranks(1, partial(simulated, asked=asked.model_copy(update={"depths": (3, 6)})))
    assert near.depths == (1, 2)
    assert near.peak_memory_bytes == pytest.approx(whole.peak_memory_bytes, rel=0.01)


def test_the_process_answers_in_json_for_a_thousand_ranks_with_no_memory_of_their_model():
    large = {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64, "num_key_value_heads": 8}
    asked = request(Layout(1, 2, 64, 8), model=large | {"num_hidden_layers": 80}, micro_batch_size=1, precision="fp32")
    done = subprocess.run(
        [sys.executable, "-m", "tasks.training.simulate"], input=asked.model_dump_json(), capture_output=True, text=True,
        cwd=REPOSITORY, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    peak = SimulatedPeak.model_validate(json.loads(done.stdout))
    assert peak.peak_memory_bytes > 12 * 68e9 / 512
    assert set(peak.phases) == {"passes", "update"}
