"""From labelled rows, or the pages of the sample, to frozen train and test examples. They are held in memory."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config.examples import ExamplesConfig
from tasks.data.card.card import examples_card
from tasks.data.documents.cleaning import Counts, clean, is_held_out, text_digest
from tasks.data.sources.read import Meter, Row, missing_column, read_rows, shortened, string_at
from tasks.data.tokens.examples import Example, examples_file
from tasks.record.errors import DataError
from tasks.record.files import file_entries
from tasks.record.manifest import Manifest, Request

UNCATEGORIZED = "Uncategorized"
ANSWER_CHARACTERS = 200
"""Answers made from the sample are whole sentences of at most so many characters together."""
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[^\W\d_a-z])")
ABBREVIATION = re.compile(
    r"(?:^|[\s(.])(?:[A-Za-z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Lt|Col|Sgt|vs|ca|cf|lit|approx|No|Mt|Ft|Inc|Ltd|Co)\.$"
)


@dataclass(frozen=True)
class Candidate:
    """One row as an example, or the reason why it is none."""

    example: Example
    split_digest: bytes
    """By which it goes to train or test: for the sample of the page's text, as in pre-training."""
    where: str
    reason: str | None = None


def prepare_examples(request: Request, folder: Path, report: Callable[[float, str], None]) -> Manifest:
    """Write train.jsonl and test.jsonl of `request` (kind `examples`) into the empty `folder`; the manifest is returned.

    Raises DataError for anything that is wrong with the input.
    """
    examples = examples_settings(request)
    kind = request.identity["kind"]
    meter, counts = Meter(), Counts()
    splits: dict[str, list[Example]] = {"train": [], "test": []}
    for candidate in keep(read_candidates(examples, kind, meter), examples, counts):
        splits["test" if is_held_out(candidate.split_digest, examples.test_fraction) else "train"].append(candidate.example)
        report(0.95 * meter.fraction, f"reading examples: {counts.kept:,}")
    for split in splits.values():
        split.sort(key=lambda example: example["id"])
    labels = check_examples(examples, kind, splits, counts)
    over = splits["train"][examples.max_examples :] if examples.max_examples else []
    if over:
        del splits["train"][-len(over) :]
        counts.kept -= len(over)
        counts.dropped["over_max_examples"] += len(over)
    counts.check()
    return write(request, folder, splits, labels, counts)


def examples_settings(request: Request) -> ExamplesConfig:
    """The configuration as it was: its identity and the path, which is not part of that."""
    return ExamplesConfig(path=request.execution["data_path"], **request.identity["examples"])


def read_candidates(examples: ExamplesConfig, kind: str, meter: Meter) -> Iterator[Candidate]:
    columns = (examples.text_column, examples.label_column)
    if kind == "instruction":
        columns = (examples.prompt_column, examples.answer_column)
    for row in read_rows(examples.source, examples.path, columns, "examples.path", meter):
        if examples.source == "sample":
            yield sample_candidate(row, kind)
        elif kind == "classification":
            yield labelled(clean(string_at(row, columns[0])), label_at(row, columns[1]), row.where)
        else:
            prompt, answer = clean(string_at(row, columns[0])), clean(string_at(row, columns[1]))
            yield answered(prompt, answer, text_digest(f"{prompt}\0{answer}"), text_digest(prompt), row.where)


def sample_candidate(row: Row, kind: str) -> Candidate:
    """A page as an example: its lead section and topic, or the question for its title and its first sentences."""
    text = clean(row.values["text"])
    if kind == "classification":
        topic = row.values["topic"]
        return labelled(text, topic, row.where, "no_topic" if topic == UNCATEGORIZED else None)
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


def label_at(row: Row, column: str) -> str:
    """The label in a column: text, or a whole number, which is taken as its text."""
    if column not in row.values:
        raise missing_column(column, list(row.values), row.where)
    value = row.values[column]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{row.where} column {column!r} is {shortened(value)}, which is no label; give text or a whole number")
    return value.strip()


def first_sentences(text: str, limit: int) -> str:
    """As many whole sentences from the start of `text` as fit into `limit` characters; empty if the first does not."""
    text = " ".join(text.split())
    ends = [match.start() + len(match.group().rstrip()) for match in SENTENCE_END.finditer(text)]
    ends = [end for end in ends if end <= limit and not ABBREVIATION.search(text[:end])]
    if len(text) <= limit:
        return text
    return text[: ends[-1]] if ends else ""


def keep(candidates: Iterator[Candidate], examples: ExamplesConfig, counts: Counts) -> Iterator[Candidate]:
    """The candidates that become examples, each once; raises DataError for a label that is not permitted."""
    permitted = set(examples.labels) if examples.labels is not None else None
    seen: dict[str, str | None] = {}
    for candidate in candidates:
        counts.read += 1
        example, reason = candidate.example, candidate.reason
        label = example.get("label")
        if reason is None and permitted is not None and label is not None and label not in permitted:
            raise DataError(
                f"{candidate.where} has label {label!r}, which is not in examples.labels={sorted(permitted)}; "
                "correct the row or add the label"
            )
        if reason is None and example["id"] in seen:
            reason = "duplicate" if seen[example["id"]] == label else "conflicting_label"
        if reason is not None:
            counts.dropped[reason] += 1
            continue
        seen[example["id"]] = label
        counts.kept += 1
        yield candidate


def check_examples(examples: ExamplesConfig, kind: str, splits: dict[str, list[Example]], counts: Counts) -> list[str]:
    """The labels, sorted (none for instruction); raises DataError for an empty side of the split or fewer than two labels."""
    where = "the sample" if examples.path is None else f"examples.path={examples.path!r}"
    train, test = len(splits["train"]), len(splits["test"])
    if not (train and test):
        raise DataError(
            f"{where} has too few examples to split: {counts.kept} kept of {counts.read} read with examples.test_fraction="
            f"{examples.test_fraction} give {train} to train on and {test} to test on, and each needs at least 1; "
            "give more examples or change examples.test_fraction"
        )
    if kind == "instruction":
        return []
    labels = sorted(set(examples.labels or {example["label"] for split in splits.values() for example in split}))
    if len(labels) < 2:
        raise DataError(
            f"{where} has {len(labels)} label in column {examples.label_column!r} ({labels}); classification needs at least 2"
        )
    return labels


def write(request: Request, folder: Path, splits: dict[str, list[Example]], labels: list[str], counts: Counts) -> Manifest:
    kind, source = request.identity["kind"], request.identity["source"]
    metrics: dict[str, float | int | None] = {f"{name}_examples": len(split) for name, split in splits.items()}
    metrics |= {"read_examples": counts.read, "kept_examples": counts.kept}
    split_key = "text" if kind == "classification" else "prompt"
    details: dict[str, Any] = {
        "kind": kind,
        "dropped": dict(sorted(counts.dropped.items())),
        "source": source,
        "split_key": "page text" if "sample" in source else split_key,
    }
    if kind == "classification":
        by_split = {name: Counter(example["label"] for example in split) for name, split in splits.items()}
        majority = max(labels, key=lambda label: by_split["train"][label])
        metrics["majority_share"] = by_split["test"][majority] / len(splits["test"])
        details |= {"labels": labels, "majority_label": majority}
        details["label_counts"] = {name: dict(sorted(found.items())) for name, found in by_split.items()}
    paths = [folder / "data_card.md"]
    paths[0].write_text(examples_card(request, metrics, details), encoding="utf-8")
    for name, split in splits.items():
        paths.append(examples_file(folder, name))
        with paths[-1].open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(example, ensure_ascii=False) + "\n" for example in split)
    return Manifest(
        kind=request.kind,
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(folder, paths),
        metrics=metrics,
        details=details,
    )
