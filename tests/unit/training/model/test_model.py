"""Models by name: built alike for the same seed, documents kept apart, settings without effect refused, exports complete."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tasks.config.model import ModelConfig
from tasks.record.errors import ConfigError
from tasks.training.model.model import (
    attention_implementation,
    autocast,
    build_model,
    check_isolation,
    export_model,
    load_causal,
)
from tasks.training.setup import probe_model
from tests.kit.models import text_batch, tiny_model


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A folder with a tokenizer's files, and one that is not the tokenizer's."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "notes.txt"):
        (folder / name).write_text(json.dumps({"file": name}))
    return folder


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "mistral", "mixtral"])
def test_documents_of_a_packed_sequence_are_kept_apart(architecture: str, attention: str) -> None:
    model = tiny_model(architecture)
    model.set_attn_implementation(attention)
    check_isolation(model)
    batch = text_batch(rows=1, length=12)
    other = {**batch, "input_ids": batch["input_ids"].clone()}
    other["input_ids"][0, :6] = 5
    with torch.no_grad():
        a, b = (
            model.eval()(input_ids=x["input_ids"], position_ids=x["position_ids"], attention_mask=None, use_cache=False).logits
            for x in (batch, other)
        )
    torch.testing.assert_close(a[:, 6:], b[:, 6:], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(a[:, :6], b[:, :6])


@pytest.mark.parametrize("architecture", ["bloom", "mamba", "opt", "falcon", "bert"])
def test_an_architecture_that_ignores_position_ids_is_refused(architecture: str) -> None:
    """ALiBi, a recurrence, absolute positions with a mask, rotary without packing, attention in both directions."""
    model = probe_model(build_model(ModelConfig(architecture=architecture, num_hidden_layers=2), 384, 0, 1).config)
    with pytest.raises(ConfigError) as found:
        check_isolation(model)
    assert str(found.value).startswith(
        f"model.architecture={architecture!r} lets documents of a packed sequence attend to each other (the loss moved by "
    )
    assert str(found.value).endswith("choose an architecture that honours position_ids, such as llama")


def test_a_shape_that_cannot_compute_is_a_users_mistake() -> None:
    """Rotary embeddings need an even head width, which transformers notices only in the forward pass."""
    model = tiny_model(hidden_size=12, num_attention_heads=4)
    with pytest.raises(ConfigError, match=r"'llama' cannot read a packed sequence with these settings: The size of tensor"):
        check_isolation(model)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architecture": "nosuch"}, "model.architecture='nosuch' cannot be built as a causal model: "),
        ({"architecture": "vit"}, "model.architecture='vit' cannot be built as a causal model: "),
        ({"architecture": "t5", "intermediate_size": None}, "model.architecture='t5' cannot be built as a causal model: "),
        ({"extra": {"hidden_act": "nosuch"}}, "model.architecture='llama' cannot be built as a causal model: 'nosuch'"),
        ({"extra": {"hidden_act": 5}}, "model.architecture='llama' cannot be built as a causal model: Validation error for"),
        ({"extra": {"rms_norm_epsilon": 1e-5}},
         "model.extra.rms_norm_epsilon=1e-05 has no effect on model.architecture='llama'; did you mean 'rms_norm_eps'?"),
        ({"extra": {"zzzz": 1}}, "model.extra.zzzz=1 has no effect on model.architecture='llama'; remove it"),
        ({"architecture": "gpt2", "num_key_value_heads": 1},
         "model.num_key_value_heads=1 has no effect on model.architecture='gpt2'; "),
        ({"architecture": "mamba"}, "model.intermediate_size=64 has no effect on model.architecture='mamba'; "),
    ],
)  # fmt: skip
def test_what_an_architecture_cannot_be_is_refused_in_one_line(changes: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as found:
        tiny_model(**changes)
    assert str(found.value).startswith(expected)
    assert len(str(found.value).splitlines()) == 1


def test_empty_settings_follow_the_documentation() -> None:
    config = tiny_model(intermediate_size=None, num_attention_heads=4).config
    assert config.intermediate_size == 3 * 32
    for architecture in ("llama", "qwen3", "mistral", "mixtral"):
        model = tiny_model(architecture, num_attention_heads=4)
        assert model.config.num_key_value_heads == 4, "as many as query heads"
        assert tiny_model(architecture, num_attention_heads=4, num_key_value_heads=2).config.num_key_value_heads == 2
    gpt2 = tiny_model("gpt2", intermediate_size=48)
    assert gpt2.transformer.h[0].mlp.c_fc.weight.shape == (32, 48)
    assert (gpt2.config.n_positions, gpt2.config.n_layer, gpt2.config.n_head) == (64, 2, 2)


def test_extra_settings_reach_the_model() -> None:
    config = tiny_model(extra={"rope_theta": 500.0, "rms_norm_eps": 1e-4, "attention_bias": True}).config
    assert (config.rms_norm_eps, config.attention_bias) == (1e-4, True)
    assert config.rope_parameters["rope_theta"] == 500.0


def test_the_vocabulary_is_the_tokenizers_or_larger() -> None:
    assert tiny_model().get_input_embeddings().weight.shape == (384, 32)
    assert tiny_model(vocab_size=512).get_input_embeddings().weight.shape == (512, 32)
    config = tiny_model().config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 0, 1)


def test_the_same_seed_gives_the_same_weights_in_fp32() -> None:
    torch.rand(5)
    a, b, c = tiny_model(seed=1), tiny_model(seed=1), tiny_model(seed=2)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))
    assert {p.dtype for p in a.parameters()} == {torch.float32}


def test_short_sequences_on_a_cpu_use_plain_attention_and_gpus_skip_blocks_between_documents() -> None:
    model, capped = tiny_model(), tiny_model("gemma2", extra={"head_dim": 16})
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [attention_implementation(model, n, cpu) for n in (1, 256, 257)] == ["eager", "eager", "sdpa"]
    assert attention_implementation(model, 16, gpu) == "flex_attention"
    assert attention_implementation(tiny_model(extra={"attention_dropout": 0.1}), 16, gpu) == "sdpa", "flex has no dropout"
    assert attention_implementation(tiny_model("gpt2"), 16, gpu) == "sdpa"
    assert [attention_implementation(capped, 4096, device) for device in (cpu, gpu)] == ["eager"] * 2, "no fused kernel"


def test_an_export_loads_alone_and_gives_the_same_logits(tmp_path: Path, tokenizer: Path) -> None:
    model, batch = tiny_model(seed=4).eval(), text_batch()
    files = export_model(model, tokenizer, tmp_path / "export")
    assert {p.name for p in files} >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert files == sorted(p for p in (tmp_path / "export").rglob("*") if p.is_file())
    assert all(p.suffix in (".json", ".safetensors", ".txt", ".jinja") for p in files), "no pickles"
    with torch.no_grad():
        expected = model(input_ids=batch["input_ids"]).logits
        for again in (load_causal(tmp_path / "export"), AutoModelForCausalLM.from_pretrained(tmp_path / "export")):
            torch.testing.assert_close(again.eval()(input_ids=batch["input_ids"]).logits, expected, rtol=1e-6, atol=1e-6)


def test_an_export_takes_only_the_named_files_of_its_base_and_never_overwrites(tmp_path: Path, tokenizer: Path) -> None:
    names = {p.name for p in export_model(tiny_model(), tokenizer, tmp_path / "export", only=("tokenizer.json", "absent"))}
    assert "tokenizer.json" in names
    assert not names & {"notes.txt", "tokenizer_config.json"}
    with pytest.raises(FileExistsError):
        export_model(tiny_model(), tokenizer, tmp_path / "export")


def test_exports_are_safetensors_in_fp32(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_model()
    export_model(model, tokenizer, tmp_path / "export")
    saved = load_file(tmp_path / "export" / "model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.float32}
    assert "lm_head.weight" not in saved, "tied"


def test_autocast_is_bf16_or_nothing() -> None:
    linear = torch.nn.Linear(4, 4)
    with autocast(torch.device("cpu"), "bf16"):
        assert linear(torch.ones(1, 4)).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "fp32"):
        assert linear(torch.ones(1, 4)).dtype == torch.float32


def test_every_model_of_the_presets_can_be_built_in_small() -> None:
    config = ModelConfig(architecture="llama", hidden_size=64, num_attention_heads=4, num_key_value_heads=2)
    model = build_model(config, 500, 0, 1)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    check_isolation(probe_model(model.config))
