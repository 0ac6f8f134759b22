"""Examples as the tokenizer and the chat template of a base from elsewhere write them: the ids of plain transformers."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.data.tokens.examples import IGNORED, Example
from tasks.data.tokens.intake import load_given
from tasks.record.errors import ConfigError
from tasks.record.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger("pretune.tokens")

LEAST_ROOM = 2
"""Tokens that a cut example has for prompt and answer, beside what the template writes."""


class GivenTokenizer:
    """A tokenizer as `AutoTokenizer` gives it, and the tokens at which its model stops."""

    def __init__(self, folder: Path) -> None:
        """Of an export, which an intake has made complete."""
        self.tokenizer: PreTrainedTokenizerBase = load_given(folder)
        self.ends = end_ids(folder, self.tokenizer)

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)

    @property
    def first_id(self) -> int:
        """What stands for an empty text."""
        first = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if first is None else first)

    def ids_of(self, texts: Sequence[str], special: bool) -> list[list[int]]:
        """With `special`, what the post-processor adds to a text that stands alone."""
        if not texts:
            return []
        return self.tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]

    def written(self, prompt: str, answer: str | None = None) -> str:
        """By the template: a question and its answer, or all that stands before the answer."""
        turns = [{"role": "user", "content": prompt}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None))

    def frame(self) -> tuple[int, int]:
        """How many tokens the template writes before and behind a prompt."""
        one, two = self.ids_of([self.written("a"), self.written("B 1")], special=False)
        head = common_start(one, two)
        return head, min(common_start(one[::-1], two[::-1]), len(one) - head)


def end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> frozenset[int]:
    file = folder / "generation_config.json"
    named = read_json(file).get("eos_token_id") if file.is_file() else None
    return frozenset([*(named if isinstance(named, list) else [named]), tokenizer.eos_token_id]) - {None}


def common_start(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens are the same from the beginning on."""
    return next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def given_classification(
    given: GivenTokenizer, examples: Sequence[Example], labels: Sequence[str], max_length: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """What `encode_classification` returns, with what the tokenizer itself adds to a text, or does not.

    A text of no token at all is the one that begins a text, or ends it.
    """
    place = {label: number for number, label in enumerate(labels)}
    texts = [example["text"] for example in examples]
    ids = given.tokenizer(texts, truncation=True, max_length=max_length)["input_ids"] if texts else []
    rows = [np.array(row or [given.first_id], dtype=np.int64) for row in ids]
    return rows, np.array([place[example["label"]] for example in examples], dtype=np.int64)


def given_instruction(
    given: GivenTokenizer, examples: Sequence[Example], max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What `encode_instruction` returns: ids of `apply_chat_template`, labels of the answer and of the token that ends it.

    What is before the answer is found as the ids that the prompt alone has too. A tokenizer that joins the end of the prompt
    with the beginning of the answer has fewer of those; the joined token is learned as part of the answer, and that is said.
    Raises ConfigError where an example has to be cut and `max_length` has no room beside what the template writes.
    """
    whole = given.ids_of([given.written(one["prompt"], one["answer"]) for one in examples], special=False)
    prompts = given.ids_of([given.written(one["prompt"]) for one in examples], special=False)
    ids, labels, joined, endless = [], [], 0, 0
    for full, prompt in zip(whole, prompts, strict=True):
        start = common_start(full, prompt)
        joined += start < len(prompt)
        end = last_end(full, start, given.ends)
        endless += end is None
        stop = len(full) if end is None else end + 1
        row, begin, stop = (full, start, stop) if len(full) <= max_length else cut(given, full, start, stop, max_length)
        ids.append(np.array(row, dtype=np.int64))
        labels.append(np.array([IGNORED] * begin + row[begin:stop] + [IGNORED] * (len(row) - stop), dtype=np.int64))
    if joined:
        logger.warning(
            "%d of %d prompts have other tokens alone than before their answers: the tokenizer joins both, or the template "
            "writes them apart; the loss is taken from the first token that differs", joined, len(ids),
        )  # fmt: skip
    if endless:
        logger.warning("%d of %d answers do not end with a token at which the model stops", endless, len(ids))
    return ids, labels


def last_end(full: Sequence[int], start: int, ends: Collection[int]) -> int | None:
    """Place of the last token behind `start` at which the model stops; a template may write a new line after it."""
    return next((place for place in range(len(full) - 1, start - 1, -1) if full[place] in ends), None)


def cut(given: GivenTokenizer, full: list[int], start: int, stop: int, max_length: int) -> tuple[list[int], int, int]:
    """An example of `max_length` tokens, and where its answer begins and ends; it loses what `encode_instruction` cuts away."""
    head, tail = given.frame()
    room = max_length - head - tail
    if room < LEAST_ROOM:
        raise ConfigError(
            f"max_length={max_length} has no room for a prompt and its answer: the chat template of the base writes "
            f"{head + tail} tokens around them; set it to more than {head + tail + LEAST_ROOM}"
        )
    target = full[start:stop][: max(room - (start - head - tail), (room + 1) // 2)]
    before = full[: start - tail][: max_length - tail - len(target)] + full[start - tail : start]
    return before + target, len(before), len(before) + len(target)


def given_prompt(given: GivenTokenizer, prompt: str) -> np.ndarray:
    """What an answer is generated from, int64 of shape (sequence,)."""
    return np.array(given.ids_of([given.written(prompt)], special=False)[0], dtype=np.int64)
