"""What a model says about many texts, as lines of JSON in their order: `python -m tasks.training.predict FOLDER INPUT`.

A classifier gives each text its label with probabilities; any other model continues or answers it. Memory is bounded by
CHUNK_ROWS texts, which are sorted by their length, so that a batch is hardly padded.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TextIO, cast, get_args

import torch
from transformers import PreTrainedModel

from tasks.data.sources.streams import Meter
from tasks.data.sources.texts import TextFormat, read_texts
from tasks.record.errors import DataError
from tasks.record.files import fsync_folder
from tasks.training.asked import (
    HuggingFaceTokenizer,
    conversation_ids,
    ended,
    is_classifier,
    load_model,
    load_tokenizer,
    num_positions,
)

CHUNK_ROWS = 1024
DIGITS = 6
REPORT_SECONDS = 10.0

Answer = dict[str, Any]
"""A line of the output: `text`, `label`, `probability` and `probabilities`, or `prompt` and `answer`."""
Say = Callable[[list[str]], list[Answer]]

logger = logging.getLogger("pretune")


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier, which reads as much of a text as its training did."""

    model: PreTrainedModel
    tokenizer: HuggingFaceTokenizer
    max_length: int
    top: int | None = None
    batch_size: int = 32

    def __call__(self, texts: list[str]) -> list[Answer]:
        ids = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        labels = labels_of(self.model)
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        found: list[Answer] = [{} for _ in texts]
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            probabilities = self.probabilities([ids[i] for i in places])
            for i, row in zip(places, probabilities.tolist(), strict=True):
                found[i] = {"text": texts[i]} | verdict(labels, row, self.top)
        return found

    def probabilities(self, ids: list[list[int]]) -> torch.Tensor:
        """(batch, classes), each row of which sums up to one."""
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            return self.model(**batch).logits.double().softmax(-1).cpu()


def labels_of(model: PreTrainedModel) -> list[str]:
    names = cast(dict[int, str], model.config.id2label)
    return [names[i] for i in range(len(names))]


def verdict(labels: list[str], probabilities: list[float], top: int | None) -> Answer:
    """The most probable label, and the `top` most probable ones in their order, or all in the model's order."""
    best = sorted(range(len(labels)), key=lambda i: -probabilities[i])
    shown = range(len(labels)) if top is None else best[:top]
    return {
        "label": labels[best[0]],
        "probability": round(probabilities[best[0]], DIGITS),
        "probabilities": {labels[i]: round(probabilities[i], DIGITS) for i in shown},
    }


@dataclass(frozen=True)
class Generator:
    """A causal model that continues texts, or answers them where `chat` is set; greedily at temperature 0."""

    model: PreTrainedModel
    tokenizer: HuggingFaceTokenizer
    chat: bool
    max_new_tokens: int
    temperature: float = 0.0
    batch_size: int = 16

    def __call__(self, texts: list[str]) -> list[Answer]:
        ids = [self.prompt_ids(text) for text in texts]
        rooms = [self.room(text, row) for text, row in zip(texts, ids, strict=True)]
        order = sorted(range(len(texts)), key=lambda i: (-rooms[i], len(ids[i])))
        found: list[Answer] = [{} for _ in texts]
        # What a row may still say must not depend on the length of those that are asked beside it.
        for room, group in groupby(order, key=lambda i: rooms[i]):
            places = list(group)
            for start in range(0, len(places), self.batch_size):
                some = places[start : start + self.batch_size]
                for i, answer in zip(some, self.answers([ids[i] for i in some], room), strict=True):
                    found[i] = {"prompt": texts[i], "answer": answer}
        return found

    def prompt_ids(self, text: str) -> list[int]:
        if self.chat:
            return conversation_ids(self.tokenizer, [{"role": "user", "content": text}])
        return list(self.tokenizer(text)["input_ids"])

    def room(self, text: str, ids: list[int]) -> int:
        """Tokens that fit behind the prompt; raises DataError if there are none."""
        room = min(self.max_new_tokens, num_positions(self.model) - len(ids))
        if room < 1:
            raise DataError(
                f"the prompt {text[:40]!r}... has {len(ids)} tokens and the model reads {num_positions(self.model)}; shorten it"
            )
        return room

    def answers(self, ids: list[list[int]], room: int) -> list[str]:
        batch = self.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt").to(self.model.device)
        sampling = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        with torch.inference_mode():
            made = self.model.generate(  # type: ignore[operator]  # causal models have it from a second base class
                **batch, max_new_tokens=room, pad_token_id=self.tokenizer.pad_token_id, **sampling
            )
        return self.tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def loaded(arguments: argparse.Namespace) -> Say:
    """The model of the folder, ready to be asked."""
    folder = arguments.folder
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    torch.manual_seed(arguments.seed)
    if is_classifier(folder):
        longest = min(arguments.max_length or num_positions(model), num_positions(model))
        return Classifier(model, tokenizer, longest, arguments.top)
    return Generator(model, tokenizer, arguments.chat, arguments.max_new_tokens, arguments.temperature)


def predict(arguments: argparse.Namespace) -> None:
    """Ask about the whole input; a file is there when all of it was answered, and not before."""
    meter = Meter()
    texts = read_texts(arguments.input, arguments.format, arguments.column, meter)
    chunk = list(islice(texts, CHUNK_ROWS))  # what is wrong with the input is said before the model is loaded
    say = loaded(arguments)
    begun = reported = time.monotonic()
    done = 0
    with output(arguments.output) as file:
        while chunk:
            for answer in say(chunk):
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
            done += len(chunk)
            chunk = list(islice(texts, CHUNK_ROWS))
            if chunk and time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                logger.info("%s", progress(done, reported - begun, meter.fraction))
    seconds = time.monotonic() - begun
    logger.info("%d %s answered in %.1f s", done, "text" if done == 1 else "texts", seconds)


def progress(done: int, seconds: float, fraction: float) -> str:
    """How many, how fast, and how long it may still take where that is known."""
    left = f", {fraction:.0%} of the input, about {seconds / fraction - seconds:.0f} s left" if fraction else ""
    return f"{done:,} texts answered, {done / seconds:,.0f} per second{left}"


@contextmanager
def output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name when it is whole and on disk."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def parser() -> argparse.ArgumentParser:
    asked = argparse.ArgumentParser(description="Labels of texts by a classifier, or answers to prompts by a causal model.")
    asked.add_argument("folder", type=Path, help="a model in Hugging Face layout")
    asked.add_argument("input", help="file of texts; - for standard input")
    asked.add_argument("--format", choices=get_args(TextFormat))
    asked.add_argument("--column", default="text")
    asked.add_argument("--output", type=Path)
    asked.add_argument("--top", type=int)
    asked.add_argument("--max-length", type=int, help="tokens of a text that a classifier reads")
    asked.add_argument("--chat", action="store_true", help="a text is a question to a model that was taught to answer")
    asked.add_argument("--max-new-tokens", type=int, default=60)
    asked.add_argument("--temperature", type=float, default=0.0)
    asked.add_argument("--seed", type=int, default=0)
    return asked


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    given = parser().parse_args(arguments)
    return ended(lambda: predict(given))


if __name__ == "__main__":
    sys.exit(main())
