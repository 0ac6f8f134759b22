"""Rates, utilisation and goodput by hand-computed numbers."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tasks.record.journal import Journal, read_journal
from tasks.training.measure.throughput import (
    Meter,
    attention_width,
    device_peak_flops,
    first_start,
    matmul_parameters,
    model_flops_per_token,
    peak_memory_bytes,
)

CPU = torch.device("cpu")
LLAMA_3_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


def on_meta(architecture: str, **settings: object) -> PreTrainedModel:
    with init_empty_weights(include_buffers=False):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **settings))


def test_llama_3_8b_has_the_operations_that_one_computes_by_hand() -> None:
    model = on_meta("llama", **LLAMA_3_8B)
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert matmul_parameters(model) == 32 * layer + 128256 * 4096 == 7_504_658_432
    assert sum(p.numel() for p in model.parameters()) == 8_030_261_248, "the published size"
    assert model_flops_per_token(model, 8192) == 6 * 7_504_658_432 + 12 * 32 * 4096 * 8192


def test_positions_are_looked_up_and_a_tied_head_counts_once() -> None:
    block = 768 * 3 * 768 + 768 * 768 + 2 * 768 * 3072
    assert matmul_parameters(on_meta("gpt2")) == 12 * block + 50257 * 768
    shape = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "vocab_size": 100}
    tied, untied = (on_meta("llama", **shape, tie_word_embeddings=tie) for tie in (True, False))
    assert matmul_parameters(tied) == matmul_parameters(untied) == 4 * 32 * 32 + 3 * 32 * 64 + 100 * 32


def test_a_model_with_values_has_as_many_as_on_the_meta_device() -> None:
    model = on_meta("llama", hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=99)
    real = AutoModelForCausalLM.from_config(model.config)
    assert matmul_parameters(real) == matmul_parameters(model) > 0


def test_only_the_experts_that_a_token_is_sent_to_count() -> None:
    shape = {
        "num_hidden_layers": 1, "hidden_size": 64, "moe_intermediate_size": 32, "num_experts": 8, "num_experts_per_tok": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100,
    }  # fmt: skip
    attention = 2 * 64 * 64 + 2 * 64 * 32
    assert matmul_parameters(on_meta("qwen3_moe", **shape)) == attention + 2 * 3 * 64 * 32 + 8 * 64 + 100 * 64


def test_the_width_of_attention_is_its_own() -> None:
    shape = {"num_hidden_layers": 1, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 100}
    assert attention_width(on_meta("qwen3", **shape, head_dim=32).config) == 128
    assert attention_width(on_meta("gpt2", n_embd=48, n_head=4, n_layer=1).config) == 48


def test_what_is_no_transformer_has_no_number_by_this_convention() -> None:
    shape = {"num_hidden_layers": 1, "hidden_size": 16, "state_size": 4, "vocab_size": 100}
    assert model_flops_per_token(on_meta("mamba", **shape), 64) is None


def test_the_rate_is_a_median_without_the_first_step() -> None:
    meter = Meter(began_at=0.0, clock=lambda: 1000.0)
    assert meter.latest == {} and meter.typical_step_seconds == 0.0
    assert meter.record(50.0, 0.0, 1000, 50.0)["tokens_per_second"] == 20.0, "there is no other yet"
    meter.record(2.0, 0.5, 1000, 52.0)
    meter.record(1.0, 0.5, 1000, 53.0)
    found = meter.record(4.0, 0.4, 1000, 57.0, 1.25)
    assert found == meter.latest
    assert (found["tokens_per_second"], meter.typical_step_seconds) == (500.0, 2.0)
    assert found["data_loading_share"] == 0.2, "1.4 of 7 seconds"
    assert found["checkpoint_stall_seconds"] == 1.25
    assert "mfu" not in found
    for _ in range(20):
        found = meter.record(10.0, 0.0, 1000, 100.0)
    assert (found["tokens_per_second"], found["data_loading_share"]) == (100.0, 0.0), "only the last 20 steps"


def test_utilisation_is_of_all_devices_and_only_where_their_peak_is_known() -> None:
    meter = Meter(began_at=0.0, flops_per_token=6e9, all_peak_flops=2 * 312e12, clock=lambda: 10.0)
    assert meter.record(1.0, 0.0, 52_000, 1.0)["mfu"] == 0.5
    assert "mfu" not in Meter(0.0, 6e9, device_peak_flops(CPU, "bf16"), clock=lambda: 10.0).record(1.0, 0.0, 52_000, 1.0)


def test_goodput_counts_a_step_that_was_lost_in_a_crash_once() -> None:
    """Begun at 100; steps of 2 s: 1 to 4 by 110; crash, last checkpoint after step 2; back at 120; 3 to 10 by 140."""
    now = 110.0
    first = Meter(began_at=100.0, clock=lambda: now)
    for step in range(1, 5):
        found = first.record(2.0, 0.0, 100, 2.0 * step)
    assert found["goodput"] == 0.8, "8 of 10 seconds"
    now = 140.0
    again = Meter(began_at=100.0, clock=lambda: now)
    for step in range(3, 11):
        found = again.record(2.0, 0.0, 100, 2.0 * step)
    assert found["goodput"] == 0.5, "10 steps that count in 40 seconds, though 12 were taken"
    now = 90.0
    assert again.record(2.0, 0.0, 100, 22.0)["goodput"] == 1.0, "a clock that was set back gives no more than all"


def test_the_first_attempt_began_with_the_first_line_of_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert first_start(path) is None
    path.write_bytes(b'{"kind": "start", "ti')
    assert first_start(path) is None, "a line that a killed writer left"
    Journal(path, 1).append("start", step=0)
    began = read_journal(path)[0][0]["time"]
    Journal(path, 2).append("start", step=0, time=began + 60)
    assert first_start(path) == began > 0


def test_peak_memory_is_what_this_process_held_at_most() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, after = pool.apply(memory_before_and_after)
    assert after - before == pytest.approx(200e6, rel=0.1)


def memory_before_and_after() -> tuple[int, int]:
    before = peak_memory_bytes(CPU)
    held = torch.ones(50_000_000)
    del held
    return before, peak_memory_bytes(CPU)
