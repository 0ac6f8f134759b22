"""Bases from elsewhere are taken in: what is kept, what is completed, what is refused when it is tried."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.config.base import parse_base
from tasks.data.tokens.tokenizer import CHAT_TEMPLATE
from tasks.record.errors import DataError, IntegrityError
from tasks.record.files import read_json
from tasks.record.manifest import verify
from tasks.stages.bases import base_work
from tasks.stages.work import Result
from tasks.training.base import TEXT
from tests.kit.bases import TEMPLATE, changed, metaspace, written_base
from tests.kit.stages import run


def taken(home: Path, folder: Path) -> Result:
    return run(base_work(home, parse_base(str(folder))))


def refused(home: Path, folder: Path) -> str:
    with pytest.raises(DataError) as error:
        taken(home, folder)
    return str(error.value)


def loss_of(folder: Path, dtype: torch.dtype = torch.float32) -> float:
    """As nobody of pretune computes it."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    ids = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")["input_ids"][:, :64]
    with torch.no_grad():
        return float(model(ids, labels=ids).loss)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3", "mistral"])
def test_a_folder_becomes_an_export_without_a_copy_of_its_weights(home: Path, tmp_path: Path, architecture: str) -> None:
    folder = written_base(tmp_path / "given", architecture=architecture)
    result = taken(home, folder)
    export, details = result.stage.export, result.manifest.details
    verify(result.stage.path, result.manifest)
    assert (export / "model.safetensors").samefile(folder / "model.safetensors")
    assert (export / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert (export / "chat_template.jinja").read_text() == TEMPLATE
    assert details == {
        "architecture": architecture, "num_parameters": details["num_parameters"], "dtype": "float32", "max_length": 64,
        "vocab_size": 384, "round_trip": "exact", "chat_template": True, "source": str(folder), "kind": "folder",
        "licence": "apache-2.0",
    }  # fmt: skip
    assert result.manifest.metrics["intake_loss"] == pytest.approx(loss_of(folder), rel=1e-6)
    assert details["num_parameters"] == sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())


def test_where_a_text_ends_and_what_fills_a_row_is_settled_without_a_new_token(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "given")
    export = taken(home, folder).stage.export
    tokenizer = AutoTokenizer.from_pretrained(export)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert len(tokenizer) == len(AutoTokenizer.from_pretrained(folder))
    for name in ("config.json", "generation_config.json"):
        assert {k: read_json(export / name)[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")} == {
            "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2,
        }  # fmt: skip
    assert AutoModelForCausalLM.from_pretrained(export).generation_config.eos_token_id == 2
    assert read_json(folder / "config.json")["pad_token_id"] is None, "the given folder stays as it was"


def test_an_end_that_only_the_generation_settings_know_is_one_more(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "given")
    changed(folder, "generation_config.json", eos_token_id=[1, 0])
    export = taken(home, folder).stage.export
    assert read_json(export / "generation_config.json")["eos_token_id"] == [1, 0, 2]


def test_numbers_in_bf16_stay_and_others_become_fp32(home: Path, tmp_path: Path) -> None:
    short = taken(home, written_base(tmp_path / "bf16", dtype="bfloat16"))
    assert short.manifest.details["dtype"] == "bfloat16"
    assert short.manifest.metrics["intake_loss"] == pytest.approx(loss_of(tmp_path / "bf16"), rel=1e-6), "computed in fp32"
    half = taken(home, written_base(tmp_path / "fp16", dtype="float16"))
    assert half.manifest.details["dtype"] == "float32"
    given, kept = (load_file(folder / "model.safetensors") for folder in (tmp_path / "fp16", half.stage.export))
    assert all(torch.equal(given[name].float(), kept[name]) for name in given)
    assert read_json(half.stage.export / "config.json")["dtype"] == "float32"


def test_names_of_another_layout_are_written_as_the_model_has_them(home: Path, tmp_path: Path) -> None:
    """GPT-2's own files on the hub leave out the first part of every name."""
    folder = written_base(tmp_path / "given", architecture="gpt2")
    loss = loss_of(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({k.removeprefix("transformer."): v for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    result = taken(home, folder)
    assert set(load_file(result.stage.export / "model.safetensors")) == set(weights)
    assert result.manifest.metrics["intake_loss"] == pytest.approx(loss, rel=1e-6)


def test_a_base_without_a_template_gets_one(home: Path, tmp_path: Path) -> None:
    result = taken(home, written_base(tmp_path / "given", template=None))
    assert result.manifest.details["chat_template"] is False
    assert (result.stage.export / "chat_template.jinja").read_text() == CHAT_TEMPLATE


def test_a_tokenizer_as_sentencepiece_has_it_keeps_every_character(home: Path, tmp_path: Path) -> None:
    result = taken(home, written_base(tmp_path / "given", tokenizer=metaspace()))
    assert result.manifest.details["round_trip"] == "exact"


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("config.json", {"model_type": "nonsense", "architectures": None},
         " is a base of another architecture: nonsense (model_type 'nonsense') is no causal language model of transformers; "
         "take one such as llama, qwen3, mistral or gpt2"),
        ("config.json", {"model_type": "bert", "architectures": None},
         " is a base of another architecture: Bert (model_type 'bert') is no causal language model of transformers; take one "
         "such as llama, qwen3, mistral or gpt2"),
        ("config.json", {"num_hidden_layers": 3},
         " has no weights for model.layers.2.input_layernorm.weight, and 8 more; give a whole causal language model"),
        ("config.json", {"vocab_size": 300},
         ": its tokenizer numbers tokens up to 319 and the model has 300 rows for them; give the tokenizer that belongs to it"),
        ("config.json", {"intermediate_size": 100}, " cannot be read ("),
        ("tokenizer_config.json", {"chat_template": "{{ raise_exception('no') }}"},
         ": its chat template cannot write a question and an answer (no); mend or remove it"),
    ],
)  # fmt: skip
def test_what_only_shows_when_it_is_tried_is_refused(
    home: Path, tmp_path: Path, name: str, values: dict[str, Any], sentence: str
) -> None:
    folder = written_base(tmp_path / "given")
    (folder / "chat_template.jinja").unlink()
    changed(folder, name, **values)
    assert refused(home, folder).startswith(f"base={str(folder)!r}{sentence}")


def test_a_tokenizer_that_loses_characters_is_refused(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "given")
    known = json.loads((folder / "tokenizer.json").read_text())
    known["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(known))
    assert refused(home, folder) == (
        f"base={str(folder)!r}: its tokenizer does not give back what it was given ('The quick brown fox' came back as 'the "
        "quick brown fox'); give a tokenizer that keeps every character, such as a byte-level one"
    )


def test_weights_without_numbers_are_refused(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "given")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert refused(home, folder) == (
        f"base={str(folder)!r} gives a loss of nan for a plain sentence; its weights are damaged, fetch it again"
    )


def test_a_folder_that_changed_since_it_was_looked_at_is_not_taken(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "given")
    work = base_work(home, parse_base(str(folder)))
    changed(folder, "config.json", rms_norm_eps=0.1)
    with pytest.raises(IntegrityError, match=r"config\.json has changed since base='.*' was looked at; run the same command"):
        run(work)
