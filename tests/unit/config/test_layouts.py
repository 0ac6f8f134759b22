"""Which meshes a model divides over, and what is said where it does not."""

import pytest

from tasks.config.layouts import check_layout, tensor_sizes
from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.record.errors import ConfigError

LLAMA = ModelConfig(hidden_size=96, intermediate_size=192, num_hidden_layers=6, num_attention_heads=12, num_key_value_heads=4)


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(pipeline_parallel=6), Layout(tensor_parallel=4), Layout(3, 2, 2, 2, 2)], ids=str
)
def test_a_model_that_divides_passes(layout):
    check_layout(LLAMA, 512, layout)


@pytest.mark.parametrize(
    ("model", "rows", "layout", "said"),
    [
        (LLAMA, 512, Layout(pipeline_parallel=4, virtual_stages=2), "4 x virtual_stages=2 = 8 stages.*num_hidden_layers=6"),
        (LLAMA, 512, Layout(tensor_parallel=8), "num_attention_heads=12 is not a multiple.*tensor_parallel=8.* 1, 2, 4$"),
        (LLAMA, 512, Layout(tensor_parallel=6), "num_key_value_heads=4 is not a multiple.*tensor_parallel=6"),
        (LLAMA, 510, Layout(tensor_parallel=4), "vocab_size .*=510 is not a multiple.*tensor_parallel=4.* 1, 2$"),
        (
            LLAMA.model_copy(update={"intermediate_size": 190}), 512, Layout(tensor_parallel=4),
            "intermediate_size=190 is not a multiple",
        ),
        (
            ModelConfig(architecture="gpt2"), 512, Layout(pipeline_parallel=2),
            "pipeline_parallel=2 cannot be had with model.architecture='gpt2'.*use shard",
        ),
        (
            ModelConfig(architecture="gpt2"), 512, Layout(tensor_parallel=2),
            "tensor_parallel=2 cannot be had with model.architecture='gpt2'.*use shard",
        ),
    ],
)  # fmt: skip
def test_what_does_not_divide_is_refused_with_the_numbers(model, rows, layout, said):
    with pytest.raises(ConfigError, match=said):
        check_layout(model, rows, layout)


def test_the_tensor_sizes_are_all_that_divide():
    assert tensor_sizes(LLAMA, 512) == [1, 2, 4]
    assert tensor_sizes(LLAMA, 510) == [1, 2]
    assert tensor_sizes(ModelConfig(architecture="gpt2"), 512) == [1]
    assert tensor_sizes(ModelConfig(hidden_size=40, num_attention_heads=4, intermediate_size=None), 514) == [1, 2]
