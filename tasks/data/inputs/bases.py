"""Which bytes a base means that is no stage of this home: a folder in Hugging Face layout or a GGUF file, and what is refused.

Everything that can be said without reading the weights is said here, before any process starts. What only transformers can
say (whether it has this architecture at all) is said by the process that takes the base in (`tasks.training.base`).
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config.base import Base
from tasks.data.inputs.files import check_allowed, check_not_empty, check_readable, first_line
from tasks.data.inputs.gguf import gguf_header
from tasks.data.inputs.sources import cached_sha256
from tasks.record.errors import DataError

CONFIG, WEIGHTS, WEIGHTS_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
SETTINGS = (CONFIG, "generation_config.json")
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How the class of a causal language model ends that transformers brings."""
NOT_CAUSAL = ("bert", "t5", "clip", "whisper")
"""Parts of the names that GGUF files have for encoders."""
LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
UNKNOWN = "unknown"
CAUSAL_EXAMPLES = "llama, qwen3, mistral or gpt2"


@dataclass(frozen=True)
class Source:
    """A base that is to be taken in."""

    identity: dict[str, Any]
    """What it is, by content; where it lies does not count."""
    licence: str
    path: str | None = None
    """Absolute; None for one that has to be fetched."""


def local_source(home: Path, base: Base, field: str = "base") -> Source:
    """A folder or GGUF file of this machine; raises DataError for one from which no causal language model can be had."""
    path, said = Path(base.name).expanduser().absolute(), f"{field}={base.text!r}"
    check_allowed([path], field, base.text)
    if not path.exists():
        raise DataError(
            f"{said} does not exist; give a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}, or a file that ends in .gguf"
        )
    return gguf_source(home, path, field) if base.kind == "gguf" else folder_source(home, path, field, base.text)


def folder_source(home: Path, folder: Path, field: str, text: str) -> Source:
    if not folder.is_dir():
        raise DataError(f"{field}={text!r} is a file; give the folder that it lies in, or a file that ends in .gguf")
    names = {path.name for path in folder.iterdir()}
    check_names(names, f"{field}={text!r}")
    kept = [*SETTINGS, *TOKENIZER_FILES, *weight_files(folder, names, f"{field}={text!r}")]
    files = [folder / name for name in kept if name in names]
    check_allowed(files, field, text)
    check_content(files, field, text)
    check_settings(folder, f"{field}={text!r}")
    digests = dict(zip([path.name for path in files], cached_sha256(home, files), strict=True))
    return Source({"kind": "folder", "files": digests}, licence_of(folder), str(folder))


def check_names(names: Collection[str], said: str) -> None:
    """Raises DataError where files are missing that a model needs; `said` begins the sentence."""
    if CONFIG not in names and "adapter_config.json" in names:
        raise DataError(f"{said} holds an adapter (adapter_config.json) and no model; merge it into its base and save that")
    if CONFIG not in names:
        raise DataError(f"{said} has no {CONFIG}, so it is no model in Hugging Face layout; write it with `save_pretrained`")
    if WEIGHTS not in names and WEIGHTS_INDEX not in names:
        if pickled := sorted(name for name in names if name.endswith((".bin", ".pt", ".pth"))):
            raise DataError(
                f"{said} has its weights as a pickle ({pickled[0]}), which runs whatever code is in it when it is read; "
                "write it again with `save_pretrained`, which makes safetensors"
            )
        raise DataError(f"{said} has neither {WEIGHTS} nor {WEIGHTS_INDEX}; write the model with `save_pretrained`")
    if TOKENIZER not in names:
        raise DataError(f"{said} has no {TOKENIZER}; write a fast tokenizer beside the model with `save_pretrained`")


def weight_files(folder: Path, names: Collection[str], said: str) -> list[str]:
    """The safetensors files, their index first where there are several; raises DataError for one that is missing."""
    if WEIGHTS_INDEX not in names:
        return [WEIGHTS]
    listed = read_settings(folder / WEIGHTS_INDEX, said).get("weight_map")
    parts = sorted(set(listed.values())) if isinstance(listed, dict) else []
    if not parts or (missing := next((name for name in parts if name not in names), None)):
        what = f"names {missing}, which is not there" if parts else "names no file"
        raise DataError(f"{said}: its {WEIGHTS_INDEX} {what}; fetch the whole model again")
    return [WEIGHTS_INDEX, *parts]


def check_settings(folder: Path, said: str) -> None:
    """Raises DataError for a model with code of its own, a quantized one, and one that is not causal."""
    config = read_settings(folder / CONFIG, said)
    for name in (CONFIG, "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in read_settings(folder / name, said):
            raise DataError(
                f"{said}: its {name} names code of its own (auto_map), which is not run; take a model whose architecture is "
                f"part of transformers, such as {CAUSAL_EXAMPLES}"
            )
    if (quantized := config.get("quantization_config")) is not None:
        method = quantized.get("quant_method", UNKNOWN) if isinstance(quantized, dict) else UNKNOWN
        raise DataError(
            f"{said} has weights that are quantized ({method}); give the model that it was made from, or a GGUF file"
        )
    kind, classes = config.get("model_type"), config.get("architectures") or []
    if not isinstance(kind, str):
        raise DataError(f"{said}: its {CONFIG} has no model_type; write the model with `save_pretrained`")
    if config.get("is_encoder_decoder") or (classes and not any(str(one).endswith(CAUSAL) for one in classes)):
        raise other_architecture(said, str(classes[0]) if classes else kind, kind)


def other_architecture(said: str, name: str, kind: str) -> DataError:
    return DataError(
        f"{said} is a base of another architecture: {name} (model_type {kind!r}) is no causal language model of transformers; "
        f"take one such as {CAUSAL_EXAMPLES}"
    )


def check_content(files: list[Path], field: str, text: str) -> None:
    """Raises DataError for files that may not be read, and for empty ones."""
    check_readable(files, field, text)
    check_not_empty({str(path): path.stat().st_size for path in files}, field, text)


def gguf_source(home: Path, path: Path, field: str) -> Source:
    check_content([path], field, str(path))
    header, said = gguf_header(path, field), f"{field}={str(path)!r}"
    kind = str(header.get("general.architecture", UNKNOWN))
    if any(part in kind for part in NOT_CAUSAL):
        raise other_architecture(said, kind, kind)
    if (parts := header.get("split.count", 0)) > 1:
        raise DataError(f"{said} is one of {parts} parts of a model; put them together with `llama-gguf-split --merge`")
    if "tokenizer.ggml.tokens" not in header:
        raise DataError(f"{said} holds no tokenizer; give a GGUF file that has its vocabulary in it")
    licence = str(header.get("general.license", UNKNOWN))
    return Source({"kind": "gguf", "sha256": cached_sha256(home, [path])[0], "architecture": kind}, licence, str(path))


def read_settings(file: Path, said: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{said}: its {file.name} is not valid JSON ({first_line(error)}); mend it") from None
    if not isinstance(found, dict):
        raise DataError(f"{said}: its {file.name} holds no JSON object; mend it")
    return found


def licence_of(folder: Path) -> str:
    """By the front matter of README.md, else the first line of a licence file; `unknown` where neither says it."""
    readme = folder / "README.md"
    front = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    if front.startswith("---\n"):
        block = front[4:].partition("\n---")[0]
        named = {
            key: value.strip().strip("'\"") for key, value in re.findall(r"^(licen[sc]e|license_name): *(.+)$", block, re.M)
        }
        found = named.get("license") or named.get("licence")
        if found:
            return named.get("license_name", found) if found == "other" else found
    for name in LICENCE_FILES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").split("\n")
            return next((f"{line.strip()} ({name})" for line in lines if line.strip()), UNKNOWN)
    return UNKNOWN
