"""Examples as the tokenizer of an export has them: one that was made here, or that of a base from elsewhere."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.tokens.examples import Example, encode_classification, encode_instruction, encode_prompt, encode_texts
from tasks.data.tokens.given import GivenTokenizer, given_classification, given_instruction, given_prompt
from tasks.data.tokens.tokenizer import CHAT_TEMPLATE, TextTokenizer, load_tokenizer, token_text
from tasks.record.files import read_json

NO_LIMIT = sys.maxsize
ExportTokenizer = TextTokenizer | GivenTokenizer


@dataclass(frozen=True)
class Rows:
    ids: list[np.ndarray]
    """int64 of shape (sequence,)."""
    labels: list[Any]
    """Class numbers, or per row the token labels, not shifted, with IGNORED on all but the answer."""
    truncated: int
    """Examples that were longer than allowed."""


def is_own(folder: Path) -> bool:
    """Whether `save_tokenizer` wrote the files: then a text begins with the token that ends it, and the template is ours."""
    template, named = folder / "chat_template.jinja", read_json(folder / "tokenizer_config.json")
    if not template.is_file() or template.read_text(encoding="utf-8") != CHAT_TEMPLATE:
        return False
    end = token_text(named.get("eos_token"))
    if end is None or token_text(named.get("bos_token")) != end:
        return False
    post = json.loads((folder / "tokenizer.json").read_bytes()).get("post_processor") or {}
    return [next(iter(piece.values()))["id"] for piece in post.get("single", [])] == [end, "A"]


def tokenizer_of(export: Path) -> ExportTokenizer:
    return load_tokenizer(export) if is_own(export) else GivenTokenizer(export)


def encode_rows(
    tokenizer: ExportTokenizer, kind: str, examples: Sequence[Example], labels: Sequence[str], max_length: int
) -> Rows:
    """Examples of kind `classification`, with these labels, or `instruction`."""
    ids, targets = encoded(tokenizer, kind, examples, labels, NO_LIMIT)
    long = [number for number, row in enumerate(ids) if len(row) > max_length]
    if long:
        shorter, cut = encoded(tokenizer, kind, [examples[number] for number in long], labels, max_length)
        for number, row, target in zip(long, shorter, cut, strict=True):
            ids[number], targets[number] = row, target
    return Rows(ids, targets, len(long))


def encoded(
    tokenizer: ExportTokenizer, kind: str, examples: Sequence[Example], labels: Sequence[str], max_length: int
) -> tuple[list[np.ndarray], list[Any]]:
    if isinstance(tokenizer, TextTokenizer):
        if kind == "classification":
            ids, classes = encode_classification(tokenizer, examples, labels, max_length)
            return ids, list(classes)
        return encode_instruction(tokenizer, examples, max_length)
    if kind == "classification":
        ids, classes = given_classification(tokenizer, examples, labels, max_length)
        return ids, list(classes)
    return given_instruction(tokenizer, examples, max_length)


def ids_to_continue(tokenizer: ExportTokenizer, prompt: str, chat: bool) -> list[int]:
    """What a text is generated from: the beginning of it, or, with `chat`, a question that is to be answered."""
    if isinstance(tokenizer, TextTokenizer):
        if chat:
            return encode_prompt(tokenizer, prompt).tolist()
        return [tokenizer.end_of_text_id, *encode_texts(tokenizer, [prompt])[0]]
    if chat:
        return given_prompt(tokenizer, prompt).tolist()
    return tokenizer.ids_of([prompt], special=True)[0] or [tokenizer.first_id]


def text_of(tokenizer: ExportTokenizer, ids: list[int]) -> str:
    """Without special tokens."""
    return str(tokenizer.tokenizer.decode(ids, skip_special_tokens=True))
