"""What the simulation is asked."""

import pytest

from tasks.config.parallel import Layout
from tasks.training.measure.simulation import SimulationRequest
from tests.kit.planned_ranks import request


@pytest.mark.parametrize(
    ("layout", "micro_batches", "simulated"),
    [(Layout(), 1, 1), (Layout(shard=4), 64, 2), (Layout(8), 64, 9), (Layout(8), 8, 8), (Layout(4, virtual_stages=2), 64, 8)],
)
def test_as_many_micro_batches_are_simulated_as_show_the_peak(layout, micro_batches, simulated):
    assert request(layout, micro_batches=micro_batches).simulated_micro_batches == simulated


def test_the_question_survives_the_way_to_the_process():
    asked = request(Layout(2, shard=2), rank=2, micro_batches=4, model={"architecture": "qwen3"})
    assert SimulationRequest.model_validate_json(asked.model_dump_json()) == asked
