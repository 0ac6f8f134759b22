"""Models that were not made here: tiny ones, in the layouts in which they are found."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.kit.models import tiny_model
from tests.kit.preparations import sentences

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<s>", "<|im_start|>", "<|im_end|>"]
README = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"


def byte_level() -> Tokenizer:
    """A byte-level BPE of 320 entries, three of them special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sentences(100), trainer)
    return tokenizer


def metaspace() -> Tokenizer:
    """As SentencePiece has it: a space is part of the word behind it, unknown characters are bytes."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    every = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=[*SPECIAL, *every], show_progress=False)
    tokenizer.train_from_iterator(sentences(100), trainer)
    return tokenizer


def written_base(
    folder: Path, tokenizer: Tokenizer | None = None, template: str | None = TEMPLATE, dtype: str = "float32", **changes: Any
) -> Path:
    """A model of a few thousand parameters as `save_pretrained` leaves it; `changes` are those of `tiny_model`."""
    import torch

    model = tiny_model(**changes).to(getattr(torch, dtype))
    model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id = 0, 2, None
    model.generation_config.bos_token_id, model.generation_config.eos_token_id = 0, 2
    model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    named = {"bos_token": "<s>", "eos_token": "<|im_end|>", "clean_up_tokenization_spaces": False}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer or byte_level(), **named)
    fast.chat_template = template
    fast.save_pretrained(folder)
    (folder / "README.md").write_text(README)
    return folder


def changed(folder: Path, name: str, **values: Any) -> None:
    """Other values in one of the folder's JSON files; None takes the name out."""
    file = folder / name
    known = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in known.items() if value is not None}))


def plain(folder: Path) -> Any:
    """The model as everybody loads it."""
    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
