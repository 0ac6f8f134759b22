"""What layers save for their backward pass: the closed form is what autograd really kept, to the byte."""

from contextlib import nullcontext

import pytest
import torch

from tasks.config.model import ModelConfig
from tasks.config.parallel import Layout
from tasks.planning.activations import layer_activations
from tasks.planning.shapes import shape_of
from tasks.planning.work import Work
from tasks.training.model.model import build_model

ROWS, SEQUENCES, LENGTH = 160, 2, 64


def saved_by_a_layer(config: ModelConfig, precision: str, attention: str, weights: torch.dtype) -> float:
    """Bytes per token that the second layer's operations saved: new storages, without parameters and casts of them."""
    model = build_model(config, ROWS, 0, 0)
    model.to_empty(device="cpu").to(weights)
    for buffer in model.buffers():
        buffer.zero_()
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    model.set_attn_implementation("eager" if attention == "eager" else "sdpa")
    shapes = {tuple(p.shape) for p in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    inside, seen, total = [False], set(), [0]
    layer = model.get_submodule("transformer.h.1" if config.architecture == "gpt2" else "model.layers.1")
    layer.register_forward_pre_hook(lambda *_: inside.__setitem__(0, True))
    layer.register_forward_hook(lambda *_: inside.__setitem__(0, False))

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kept.append(tensor)
            if inside[0] and tuple(tensor.shape) not in shapes:
                total[0] += storage.nbytes()
        return tensor

    kept: list[torch.Tensor] = []
    ids = torch.ones(SEQUENCES, LENGTH, dtype=torch.long)
    positions = torch.arange(LENGTH // 2).repeat(2).expand(SEQUENCES, LENGTH)
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), cast:
        model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False)
    return total[0] / (SEQUENCES * LENGTH)


@pytest.mark.parametrize("attention", ["fused", "eager"])
@pytest.mark.parametrize(
    ("precision", "weights", "layout"),
    [
        ("fp32", torch.float32, Layout()),
        ("bf16", torch.float32, Layout()),
        ("bf16", torch.bfloat16, Layout(shard=2)),  # what FSDP2 gives a layer
    ],
    ids=["fp32", "autocast", "sharded"],
)
@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gpt2"])
def test_a_layer_saves_what_the_formula_says(architecture, precision, weights, layout, attention):
    grouped = {} if architecture == "gpt2" else {"num_key_value_heads": 2}
    head = {"extra": {"head_dim": 8}} if architecture == "qwen3" else {}
    config = ModelConfig(
        architecture=architecture, hidden_size=32, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=96, **grouped, **head,
    )  # fmt: skip
    work = Work(shape_of(config, ROWS), layout, SEQUENCES, LENGTH, 1, precision, attention=attention)
    assert layer_activations(work) == pytest.approx(saved_by_a_layer(config, precision, attention, weights), rel=0.02)
