"""What each pipeline rank holds, and how many micro-batches are in flight on it."""

import pytest

from tasks.config.parallel import Layout
from tasks.planning.shapes import Shape
from tasks.planning.work import Work, in_flight, stages_of

SHAPE = Shape("llama", 7, 64, 96, 4, 2, 16, 512, 0, tied=True)


def test_the_stages_hold_all_layers_and_the_tied_matrix_twice():
    stages = stages_of(SHAPE, Layout(3))
    assert [stage.layers for stage in stages] == [2, 2, 3]
    assert [stage.has_embedding for stage in stages] == [True, False, False]
    assert [stage.has_head for stage in stages] == [False, False, True]
    assert sum(stage.elements for stage in stages) == SHAPE.total + SHAPE.embedding
    assert [stage.head_is_copy for stage in stages] == [False, False, True]
    assert stages_of(SHAPE, Layout())[0].elements == SHAPE.total


def test_interleaved_stages_hold_pieces_from_everywhere():
    assert [stage.layers for stage in stages_of(SHAPE, Layout(2, virtual_stages=2))] == [1 + 2, 2 + 2]


def test_1f1b_holds_as_many_micro_batches_as_there_are_stages_behind():
    assert [in_flight(Layout(4), place, 8) for place in range(4)] == [4, 3, 2, 1]
    assert [in_flight(Layout(4), place, 2) for place in range(4)] == [2, 2, 2, 1]


@pytest.mark.parametrize("pipeline", [2, 4, 8])
@pytest.mark.parametrize("virtual", [2, 3])
def test_interleaving_holds_what_megatron_says(pipeline, virtual):
    held = in_flight(Layout(pipeline, virtual_stages=virtual), 0, 8 * pipeline)
    assert held == pytest.approx(pipeline * (1 + (pipeline - 1) / (pipeline * virtual)))


def test_the_residual_stream_is_bf16_only_behind_fsdp():
    def residual(layout: Layout, precision: str) -> int:
        return Work(SHAPE, layout, 1, 64, 2, precision).residual_bytes

    assert residual(Layout(), "bf16") == residual(Layout(replicate=4), "bf16") == residual(Layout(2), "bf16") == 4
    assert residual(Layout(shard=2), "bf16") == residual(Layout(2, 2), "bf16") == 2
    assert residual(Layout(shard=2), "fp32") == 4
