"""From rows of labelled data, or pages of the sample, to candidates for examples: their texts, labels and hashes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.config.examples import ExamplesConfig
from tasks.data.documents.cleaning import clean, text_digest
from tasks.data.inputs.sources import examples_input
from tasks.data.sources.csv_rows import CsvFormat
from tasks.data.sources.quarantine import shortened
from tasks.data.sources.read import first_rows, read_rows, string_at
from tasks.data.sources.rows import Column, Row
from tasks.data.sources.streams import Meter
from tasks.data.tokens.examples import Example
from tasks.record.errors import DataError

UNCATEGORIZED = "Uncategorized"
WHOLE_NUMBER = re.compile(r"-?[0-9]+")
ANSWER_CHARACTERS = 200
"""Answers made from the sample are whole sentences of at most so many characters together."""
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[^\W\d_a-z])")
ABBREVIATION = re.compile(
    r"(?:^|[\s(.])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Lt|Col|Sgt|vs|ca|cf|lit|approx|No|Mt|Ft|Inc|Ltd|Co)\.$"
)


@dataclass(frozen=True)
class Asked:
    """Which examples are wanted, and how their settings are called in messages."""

    examples: ExamplesConfig
    kind: str
    """Of the fine-tune: `classification` or `instruction`."""
    section: str
    """Such as `finetune[topic].examples`."""
    home: Path | None = None
    """Where the digests of files are remembered, by which these are ordered; None where only a first row is looked at."""

    @property
    def columns(self) -> tuple[Column, Column]:
        names = ("text_column", "label_column") if self.kind == "classification" else ("prompt_column", "answer_column")
        first, second = (Column(getattr(self.examples, name), f"{self.section}.{name}") for name in names)
        return first, second

    @property
    def form(self) -> CsvFormat:
        return CsvFormat(self.examples.delimiter, self.examples.header, self.examples.columns, self.section)

    def shown(self, setting: str) -> str:
        """`finetune[topic].examples.path='rows.csv'`."""
        value = getattr(self.examples, setting)
        return f"{self.section}.{setting}={list(value) if isinstance(value, tuple) else value!r}"


@dataclass(frozen=True)
class Candidate:
    """One row as an example, or the reason why it is none."""

    example: Example
    split_digest: bytes
    """By which it goes to train or test: for the sample of the page's text, as in pre-training."""
    where: str
    reason: str | None = None

    @property
    def id(self) -> str:
        return self.example["id"]

    @property
    def label(self) -> str:
        """Empty where examples have none."""
        return self.example.get("label", "")


def read_candidates(asked: Asked, setting: Literal["path", "test_path"], meter: Meter) -> Iterator[Candidate]:
    """Every row of the files that a setting names; raises DataError for a row that cannot be one."""
    examples = asked.examples
    path, files = getattr(examples, setting), None
    if path is not None and asked.home is not None:
        files = examples_input(asked.home, examples, setting, asked.section).files
    rows = read_rows(examples.source, path, asked.columns, f"{asked.section}.{setting}", meter, asked.form, files)
    return (candidate_of(row, asked) for row in rows)


def check_first_rows(examples: ExamplesConfig, kind: str, section: str) -> None:
    """Raises DataError where the first row of a local file cannot be an example, as one column's name is wrong in all rows."""
    asked = Asked(examples, kind, section)
    for setting in ("path", "test_path") if examples.source != "sample" else ():
        if (path := getattr(examples, setting)) is not None:
            rows = first_rows(examples.source, path, asked.columns, f"{section}.{setting}", asked.form, setting == "path")
            if (row := next(rows, None)) is not None:
                candidate_of(row, asked)


def candidate_of(row: Row, asked: Asked) -> Candidate:
    if asked.examples.source == "sample":
        return sample_candidate(row, asked)
    first, second = asked.columns
    if asked.kind == "classification":
        return labelled(clean(string_at(row, first)), label_at(row, second, asked), row.where)
    prompt, answer = clean(string_at(row, first)), clean(string_at(row, second))
    return answered(prompt, answer, text_digest(f"{prompt}\0{answer}"), text_digest(prompt), row.where)


def sample_candidate(row: Row, asked: Asked) -> Candidate:
    """A page as an example: its lead section and topic, or the question for its title and its first sentences."""
    text = clean(row.values["text"])
    if asked.kind == "classification":
        topic = row.values["topic"]
        if topic == UNCATEGORIZED:
            return labelled(text, topic, row.where, "no_topic")
        return labelled(text, permitted(topic, row.where, asked), row.where)
    answer, page = first_sentences(text, ANSWER_CHARACTERS), text_digest(text)
    reason = "long_sentence" if text and not answer else None
    return answered(f"What is {clean(row.values['title'])}?", answer, page, page, row.where, reason)


def labelled(text: str, label: str, where: str, reason: str | None = None) -> Candidate:
    digest = text_digest(text)
    return Candidate({"id": digest.hex(), "text": text, "label": label}, digest, where, reason if text else "empty")


def answered(prompt: str, answer: str, identity: bytes, split: bytes, where: str, reason: str | None = None) -> Candidate:
    if not reason and not (prompt and answer):
        reason = "empty"
    return Candidate({"id": identity.hex(), "prompt": prompt, "answer": answer}, split, where, reason)


def label_at(row: Row, column: Column, asked: Asked) -> str:
    """The label in a column as one of those that are permitted: text, a whole number, or true and false."""
    value = row.value(column)
    if isinstance(value, float):
        raise DataError(
            f"{row.where} column {column.path!r} is the number {value}, and a label is text or a whole number; write 3.0 as 3, "
            "and give what is measured, such as a rating of 4.5, the name of a class, such as high"
        )
    return permitted(label_text(value, f"{row.where} column {column.path!r}"), row.where, asked)


def label_text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} is {shortened(value)}, which is no label; give text or a whole number, or remove the row")
    return value.strip()


def permitted(label: str, where: str, asked: Asked) -> str:
    """The label, or that of its number; raises DataError where labels are given and it is none of them."""
    labels = asked.examples.labels
    if labels is None or label in labels:
        return label
    if WHOLE_NUMBER.fullmatch(label) and not any(map(WHOLE_NUMBER.fullmatch, labels)):
        if 0 <= (number := int(label)) < len(labels):
            return labels[number]
        raise DataError(
            f"{where} has label {label}, and {asked.shown('labels')} are numbered from 0 to {len(labels) - 1}; correct the row "
            "or add the label"
        )
    raise DataError(f"{where} has label {label!r}, which is not in {asked.shown('labels')}; correct the row or add the label")


def first_sentences(text: str, limit: int) -> str:
    """As many whole sentences from the start of `text` as fit into `limit` characters; empty if the first does not."""
    text = " ".join(text.split())
    ends = [match.start() + len(match.group().rstrip()) for match in SENTENCE_END.finditer(text)]
    ends = [end for end in ends if end <= limit and not ABBREVIATION.search(text[:end])]
    if len(text) <= limit:
        return text
    return text[: ends[-1]] if ends else ""
