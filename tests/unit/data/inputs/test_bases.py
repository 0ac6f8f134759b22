"""What a base from elsewhere is by content, and what is refused before any process starts."""

import json
import struct
from pathlib import Path

import pytest

from tasks.config.base import parse_base
from tasks.data.inputs.bases import Source, licence_of, local_source
from tasks.record.errors import DataError

SETTINGS = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def folder_with(path: Path, config: dict | None = None, leave_out: str = "", **files: str) -> Path:
    path.mkdir()
    known = {
        "config.json": json.dumps(SETTINGS | (config or {})), "model.safetensors": "weights", "tokenizer.json": "{}",
        "tokenizer_config.json": "{}",
    } | {name.replace("__", "."): content for name, content in files.items()}  # fmt: skip
    for name, content in known.items():
        if name != leave_out:
            (path / name).write_text(content)
    return path


def source_of(tmp_path: Path, path: Path | str) -> Source:
    return local_source(tmp_path / "home", parse_base(str(path)))


def refusal(tmp_path: Path, path: Path | str) -> str:
    with pytest.raises(DataError) as error:
        source_of(tmp_path, path)
    return str(error.value)


def test_a_folder_is_what_its_files_hold_wherever_it_lies(tmp_path: Path) -> None:
    one, two = folder_with(tmp_path / "a"), folder_with(tmp_path / "b", README__md="# words")
    assert source_of(tmp_path, one).identity == source_of(tmp_path, two).identity
    assert list(source_of(tmp_path, one).identity["files"]) == [
        "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
    ]  # fmt: skip
    assert source_of(tmp_path, one).path == str(one)
    for name in ("model__safetensors", "tokenizer__json", "generation_config__json", "chat_template__jinja"):
        other = folder_with(tmp_path / name, **{name: '{"other": 1}'})
        assert source_of(tmp_path, other).identity != source_of(tmp_path, one).identity, name


def test_weights_in_several_files_count_with_their_index(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    files = {"model.safetensors.index__json": index, "model-1__safetensors": "1", "model-2__safetensors": "2"}
    whole = folder_with(tmp_path / "whole", leave_out="model.safetensors", **files)
    assert list(source_of(tmp_path, whole).identity["files"])[-3:] == [
        "model.safetensors.index.json", "model-1.safetensors", "model-2.safetensors",
    ]  # fmt: skip
    (whole / "model-2.safetensors").unlink()
    assert refusal(tmp_path, whole) == (
        f"base={str(whole)!r}: its model.safetensors.index.json names model-2.safetensors, which is not there; fetch the whole "
        "model again"
    )
    (whole / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    assert "names ../a.safetensors, which is not there" in refusal(tmp_path, whole)
    (whole / "model.safetensors.index.json").write_text("{}")
    assert "names no file" in refusal(tmp_path, whole)


@pytest.mark.parametrize(
    ("leave_out", "files", "sentence"),
    [
        ("config.json", {}, "has no config.json, so it is no model in Hugging Face layout; write it with `save_pretrained`"),
        ("config.json", {"adapter_config__json": "{}"},
         "holds an adapter (adapter_config.json) and no model; merge it into its base and save that"),
        ("model.safetensors", {}, "has neither model.safetensors nor model.safetensors.index.json; write the model with "
         "`save_pretrained`"),
        ("model.safetensors", {"pytorch_model__bin": "x"},
         "has its weights as a pickle (pytorch_model.bin), which runs whatever code is in it when it is read; write it again "
         "with `save_pretrained`, which makes safetensors"),
        ("tokenizer.json", {}, "has no tokenizer.json; write a fast tokenizer beside the model with `save_pretrained`"),
    ],
)  # fmt: skip
def test_files_that_are_missing_are_named(tmp_path: Path, leave_out: str, files: dict, sentence: str) -> None:
    folder = folder_with(tmp_path / "a", leave_out=leave_out, **files)
    assert refusal(tmp_path, folder) == f"base={str(folder)!r} {sentence}"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}},
         ": its config.json names code of its own (auto_map), which is not run; take a model whose architecture is part of "
         "transformers, such as llama, qwen3, mistral or gpt2"),
        ({"quantization_config": {"quant_method": "gptq"}},
         " has weights that are quantized (gptq); give the model that it was made from, or a GGUF file"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]},
         " is a base of another architecture: BertForMaskedLM (model_type 'bert') is no causal language model of transformers; "
         "take one such as llama, qwen3, mistral or gpt2"),
        ({"model_type": "t5", "architectures": None, "is_encoder_decoder": True},
         " is a base of another architecture: t5 (model_type 't5') is no causal language model of transformers; take one such "
         "as llama, qwen3, mistral or gpt2"),
        ({"model_type": None}, ": its config.json has no model_type; write the model with `save_pretrained`"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_base_is_refused_by_its_settings(tmp_path: Path, config: dict, sentence: str) -> None:
    folder = folder_with(tmp_path / "a", config)
    assert refusal(tmp_path, folder) == f"base={str(folder)!r}{sentence}"


def test_a_tokenizer_with_code_of_its_own_and_settings_that_are_no_json_are_refused(tmp_path: Path) -> None:
    coded = folder_with(tmp_path / "a", tokenizer_config__json='{"auto_map": {}}')
    assert "its tokenizer_config.json names code of its own (auto_map)" in refusal(tmp_path, coded)
    broken = folder_with(tmp_path / "b", config__json="{")
    assert refusal(tmp_path, broken).startswith(f"base={str(broken)!r}: its config.json is not valid JSON (Expecting")
    assert "its config.json holds no JSON object; mend it" in refusal(tmp_path, folder_with(tmp_path / "c", config__json="[]"))
    empty = folder_with(tmp_path / "d", model__safetensors="")
    assert "model.safetensors is empty" in refusal(tmp_path, empty)


def test_a_path_that_is_not_there_or_no_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, tmp_path / "gone") == (
        f"base={str(tmp_path / 'gone')!r} does not exist; give a folder with config.json, model.safetensors and tokenizer.json"
        ", or a file that ends in .gguf"
    )
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path, tmp_path / "file") == (
        f"base={str(tmp_path / 'file')!r} is a file; give the folder that it lies in, or a file that ends in .gguf"
    )


def test_nothing_outside_of_the_data_root_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, root = folder_with(tmp_path / "outside"), tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("PRETUNE_DATA_ROOT", str(root))
    assert "is a path that leaves the data root" in refusal(tmp_path, folder)
    inside = folder_with(root / "inside", leave_out="model.safetensors")
    (inside / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert f"{inside / 'model.safetensors'} (that is {folder / 'model.safetensors'}) is a path that leaves" in refusal(
        tmp_path, inside
    )


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\n# A\nlicense: mit\n"}, "apache-2.0"),
        ({"README.md": "---\nlicense: other\nlicense_name: llama3.2\n---\n"}, "llama3.2"),
        ({"README.md": "# A\nlicense: mit\n"}, "unknown"),
        ({"README.md": "# A", "LICENSE": "\n   MIT License\n\nCopyright"}, "MIT License (LICENSE)"),
        ({"LICENSE.txt": ""}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_licence_is_the_one_that_lies_beside_the_model(tmp_path: Path, files: dict[str, str], licence: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert licence_of(tmp_path) == licence


def entry(name: str, kind: int, content: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + content


def words(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(path: Path, architecture: str = "llama", parts: int = 0, tokens: bool = True) -> Path:
    entries = [
        entry("general.architecture", 8, words(architecture)), entry("split.count", 2, struct.pack("<H", parts)),
        entry("general.license", 8, words("mit")),
    ]  # fmt: skip
    if tokens:
        entries.insert(1, entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + words("a") + words("b")))
        entries.insert(2, entry("tokenizer.ggml.scores", 9, struct.pack("<IQ", 6, 2) + bytes(8)))
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
    return path


def test_a_gguf_file_is_known_by_its_header(tmp_path: Path) -> None:
    found = source_of(tmp_path, gguf(tmp_path / "a.gguf"))
    assert (found.identity["kind"], found.identity["architecture"], found.licence) == ("gguf", "llama", "mit")
    assert found.identity == source_of(tmp_path, gguf(tmp_path / "b.gguf")).identity
    assert found.identity != source_of(tmp_path, gguf(tmp_path / "c.gguf", "qwen2")).identity


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"architecture": "nomic-bert"},
         " is a base of another architecture: nomic-bert (model_type 'nomic-bert') is no causal language model of "
         "transformers; take one such as llama, qwen3, mistral or gpt2"),
        ({"parts": 2}, " is one of 2 parts of a model; put them together with `llama-gguf-split --merge`"),
        ({"tokens": False}, " holds no tokenizer; give a GGUF file that has its vocabulary in it"),
    ],
)  # fmt: skip
def test_a_gguf_file_that_is_no_whole_causal_model_is_refused(tmp_path: Path, settings: dict, sentence: str) -> None:
    file = gguf(tmp_path / "a.gguf", **settings)
    assert refusal(tmp_path, file) == f"base={str(file)!r}{sentence}"
