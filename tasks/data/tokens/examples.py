"""Reading prepared examples and turning them into token ids: what fine-tuning and evaluation train and measure on."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks.data.tokens.tokenizer import ASSISTANT, USER, TextTokenizer
from tasks.record.errors import IntegrityError
from tasks.record.manifest import Manifest

Example = dict[str, str]
"""`id` with `text` and `label`, or `id` with `prompt` and `answer`."""

IGNORED = -100
"""Label of a position on which no loss is taken."""


def examples_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.jsonl"


def read_examples(folder: Path, manifest: Manifest, split: str) -> list[Example]:
    """The examples of `train` or `test`, sorted by id.

    Raises IntegrityError if there are not as many as the manifest says, or one cannot be read.
    """
    path, examples = examples_file(folder, split), []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                examples.append(json.loads(line))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} cannot be read after line {len(examples)} ({error}); prepare it again") from None
    expected = manifest.metrics[f"{split}_examples"]
    if len(examples) != expected:
        raise IntegrityError(
            f"{examples_file(folder, split)} has {len(examples)} examples and its manifest says {expected}; prepare it again"
        )
    return examples


def encode_classification(
    tokenizer: TextTokenizer, examples: Sequence[Example], labels: Sequence[str], max_length: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """[end-of-text, t1 .. tn] of each text, cut to `max_length`, as `AutoTokenizer` gives it; and the places of the labels.

    The ids are int64 of shape (sequence,), the labels int64 of shape (examples,).
    """
    place = {label: number for number, label in enumerate(labels)}
    texts = encode_texts(tokenizer, [example["text"] for example in examples])
    ids = [np.array([tokenizer.end_of_text_id, *text][:max_length], dtype=np.int64) for text in texts]
    return ids, np.array([place[example["label"]] for example in examples], dtype=np.int64)


def encode_instruction(
    tokenizer: TextTokenizer, examples: Sequence[Example], max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Token ids and labels, int64 of shape (sequence,): the labels of the answer and of the end-of-text after it, else -100.

    Labels stand at the place of their own token (not shifted), as in transformers. What is longer than `max_length` loses the
    end of the answer, and the end of the prompt where that takes more than half of the room, so that there is always an answer.
    """
    prompts = encode_texts(tokenizer, [example["prompt"] for example in examples])
    answers = encode_texts(tokenizer, [example["answer"] for example in examples])
    end = [tokenizer.end_of_text_id]
    before, between = end + marker_ids(tokenizer, USER), marker_ids(tokenizer, ASSISTANT)
    room = max_length - len(before) - len(between)
    ids, labels = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        target = [*answer, *end][: max(room - len(prompt), (room + 1) // 2)]
        context = before + prompt[: room - len(target)] + between
        ids.append(np.array(context + target, dtype=np.int64))
        labels.append(np.array([IGNORED] * len(context) + target, dtype=np.int64))
    return ids, labels


def encode_prompt(tokenizer: TextTokenizer, prompt: str) -> np.ndarray:
    """What an answer is generated from: `<|endoftext|><|user|>PROMPT<|assistant|>` as int64 ids of shape (sequence,)."""
    middle = encode_texts(tokenizer, [prompt])[0]
    ids = [tokenizer.end_of_text_id, *marker_ids(tokenizer, USER), *middle, *marker_ids(tokenizer, ASSISTANT)]
    return np.array(ids, dtype=np.int64)


def encode_texts(tokenizer: TextTokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoded.ids for encoded in tokenizer.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def marker_ids(tokenizer: TextTokenizer, marker: str) -> list[int]:
    """The id of a role's marker, or the ids of its characters for a given tokenizer that does not have it."""
    known = tokenizer.tokenizer.token_to_id(marker)
    return encode_texts(tokenizer, [marker])[0] if known is None else [known]
