"""Counting parameters: the closed forms agree with models that were really built, on the meta device."""

import pytest

from tasks.config.model import ModelConfig
from tasks.config.presets import parse_config
from tasks.planning.shapes import FAMILIES, Shape, shape_of, vocab_rows
from tasks.record.errors import ConfigError
from tasks.training.model.model import build_model

SHAPES = [
    {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96},
    {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "max_position_embeddings": 128, "vocab_size": 640},
    {"hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 8, "tie_word_embeddings": False},
    {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2048},
]


def assert_equal(model: ModelConfig):
    real = build_model(model, 512, 0, 0)
    real.tie_weights()
    shape = shape_of(model, model.vocab_size or 512)
    assert shape.total == sum(p.numel() for p in real.parameters())
    layer = next(m for name, m in real.named_modules() if name.endswith((".layers.0", ".h.0")))
    assert shape.layer() == sum(p.numel() for p in layer.parameters())
    assert shape.layer_matrices() == sum(p.numel() for p in layer.parameters() if p.ndim == 2)


@pytest.mark.parametrize("values", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_family_is_counted_exactly(architecture, tied, values):
    assert_equal(ModelConfig(**{"architecture": architecture, "tie_word_embeddings": tied} | values))


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_grouped_query_attention_is_counted_exactly(architecture):
    assert_equal(ModelConfig(architecture=architecture, num_attention_heads=8, num_key_value_heads=2))


def test_what_extra_adds_is_counted_exactly():
    assert_equal(ModelConfig(extra={"head_dim": 48, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-6}))
    assert_equal(ModelConfig(architecture="qwen3", num_key_value_heads=2, extra={"head_dim": 32}))


def test_tensor_ranks_hold_all_matrices_once_and_the_norms_each():
    shape = shape_of(ModelConfig(architecture="qwen3", num_key_value_heads=2), 512)
    assert shape.layer(2) * 2 == shape.layer() + 2 * shape.hidden_size + 2 * shape.head_dim


def test_flops_follow_the_convention_of_palm():
    shape = Shape("llama", 2, 64, 96, 4, 2, 16, 512, 0, tied=True)
    matrices = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + 512 * 64
    assert shape.matmul_parameters == matrices
    assert shape.flops_per_token(128) == 6 * matrices + 12 * 2 * 64 * 128


def test_the_vocabulary_is_the_models_or_the_trained_tokenizers():
    assert vocab_rows(parse_config({"tokenizer": {"vocab_size": 1024}})) == 1024
    assert vocab_rows(parse_config({"model": {"vocab_size": 9000}})) == 9000
    with pytest.raises(ConfigError, match=r"model.vocab_size is not set.*tokenizer.path='somewhere'.*set model.vocab_size"):
        vocab_rows(parse_config({"tokenizer": {"path": "somewhere"}}))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ConfigError, match=r"architecture='mamba' cannot be planned.*llama, mistral, qwen2, qwen3, gpt2"):
        shape_of(ModelConfig(architecture="mamba"), 512)
    with pytest.raises(ConfigError, match=r"model.extra.num_experts=8 cannot be planned"):
        shape_of(ModelConfig(extra={"num_experts": 8}), 512)
