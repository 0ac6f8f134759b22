"""From labelled rows, or the pages of the sample, to frozen train and test examples. They are held in memory."""

import json
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tasks.config.examples import ExamplesConfig
from tasks.data.card.card import examples_card
from tasks.data.documents.cleaning import Counts
from tasks.data.example_ids import ids_sha256
from tasks.data.example_rows import Asked, Candidate, read_candidates
from tasks.data.example_split import Splits, settle, split_by_file, split_by_hash
from tasks.data.inputs.files import find_input
from tasks.data.inputs.folders import by_reason, passed_over_sentence
from tasks.data.sources.streams import Meter
from tasks.data.tokens.examples import examples_file
from tasks.record.errors import DataError
from tasks.record.files import file_entries
from tasks.record.manifest import Manifest, Request

log = logging.getLogger(__name__)

FEW_TEST_EXAMPLES = 200
"""Below so many a warning says how uncertain a measurement on them is."""
Report = Callable[[float, str], None]


def prepare_examples(request: Request, folder: Path, home: Path, report: Report) -> Manifest:
    """Write train.jsonl and test.jsonl of `request` (kind `examples`) into the empty `folder`; the manifest is returned.

    Raises DataError for anything that is wrong with the input.
    """
    examples, counts = examples_settings(request), Counts()
    asked = Asked(examples, request.identity["kind"], request.execution["section"], home)
    settled = settle(followed(asked, "path", report), asked, counts)
    read = {"path": counts.read}
    if examples.test_share is not None:
        by_label = asked.kind == "classification" and examples.source != "sample"
        splits = split_by_hash(settled, examples.test_share, by_label)
    else:
        splits = split_by_file(settled, settle(followed(asked, "test_path", report), asked, counts), asked, counts)
        read["test_path"] = counts.read - read["path"]
    check_size(splits, asked, counts)
    labels = check_labels(splits, asked) if asked.kind == "classification" else []
    cut(splits, asked, counts)
    counts.kept = len(splits.train) + len(splits.test)
    counts.check()
    warnings = doubts(splits, labels, asked) + not_read(examples)
    for warning in warnings:
        log.warning("%s", warning)
    return write(request, folder, splits, labels, counts, {"read": read, "warnings": warnings})


def examples_settings(request: Request) -> ExamplesConfig:
    """The configuration as it was: its identity and the paths, which are not part of that."""
    paths = {"path": request.execution["data_path"], "test_path": request.execution["test_path"]}
    return ExamplesConfig(**paths, **request.identity["examples"])


def followed(asked: Asked, setting: Literal["path", "test_path"], report: Report) -> Iterator[Candidate]:
    """The candidates of a setting's files, with progress: of two settings each has half of it."""
    meter, halves = Meter(), 1 if asked.examples.test_path is None else 2
    before = 1 if setting == "test_path" else 0
    for number, candidate in enumerate(read_candidates(asked, setting, meter), 1):
        yield candidate
        report(0.95 * (before + meter.fraction) / halves, f"reading examples: {number:,}")


def check_size(splits: Splits, asked: Asked, counts: Counts) -> None:
    """Raises DataError where there is nothing to train on, or too little to test on."""
    examples, train, test = asked.examples, len(splits.train), len(splits.test)
    where = "the sample" if examples.path is None else asked.shown("path")
    if train + test == 0:
        raise DataError(f"{where} has no example: none of the {counts.read} rows was kept ({reasons(counts)}); mend the rows")
    if train == 0:
        raise DataError(f"{where} leaves nothing to train on beside {test} examples to test on ({reasons(counts)}); give more")
    least, share = examples.min_test_examples, examples.test_share
    if test >= least:
        return
    rule = f"fewer than {asked.shown('min_test_examples')}"
    if share is None:
        raise DataError(
            f"{asked.shown('test_path')} has {test} test examples, {rule}; give more of them, or lower the minimum, if a "
            "measurement may be that uncertain"
        )
    enough = least / (train + test)
    larger = f"set test_fraction to {enough * 1.25:.2g} or more, " if enough * 1.25 < 0.5 else ""
    raise DataError(
        f"{where} gives {test} test examples of {train + test} with {asked.section}.test_fraction={share}, {rule}; {larger}"
        "give more examples, or lower the minimum, if a measurement may be that uncertain"
    )


def reasons(counts: Counts) -> str:
    found = [f"{number} {reason}" for reason, number in sorted(counts.dropped.items()) if number]
    return f"dropped: {', '.join(found)}" if found else "nothing was dropped"


def check_labels(splits: Splits, asked: Asked) -> list[str]:
    """The labels, as they were given, else sorted; raises DataError for fewer than two, and for one that cannot be learned."""
    train, test = splits.label_counts()
    labels = list(asked.examples.labels or sorted(train | test))
    if len(labels) < 2:
        where = "the sample" if asked.examples.path is None else asked.shown("path")
        column = asked.examples.label_column
        raise DataError(f"{where} has {len(labels)} label in column {column!r} ({labels}); classification needs at least 2")
    unlearned = [label for label in labels if not train[label]]
    if unlearned and (tested := [f"{label!r} ({test[label]} examples)" for label in unlearned if test[label]]):
        where = asked.shown("test_path") if asked.examples.test_path else "the test set"
        raise DataError(
            f"{where} has labels that no training example has: {', '.join(tested)}; give training examples of them, or take "
            "them out of the test set"
        )
    if unlearned:
        raise DataError(
            f"{asked.shown('labels')}: no training example has {', '.join(map(repr, unlearned))}, which cannot be learned; "
            "give examples of it or take it out of the labels"
        )
    return labels


def cut(splits: Splits, asked: Asked, counts: Counts) -> None:
    """Take away training examples beyond `max_examples`, but never the last of a label.

    Raises DataError where there are more labels than that.
    """
    most = asked.examples.max_examples
    if most is None or len(splits.train) <= most:
        return
    kept = {one.id for one in {one.label: one for one in reversed(splits.train)}.values()}
    if len(kept) > most:
        raise DataError(f"{asked.shown('max_examples')} is fewer than the {len(kept)} labels; give each at least one example")
    kept.update(islice((one.id for one in splits.train if one.id not in kept), most - len(kept)))
    counts.dropped["over_max_examples"] += len(splits.train) - most
    splits.train = [one for one in splits.train if one.id in kept]


def not_read(examples: ExamplesConfig) -> list[str]:
    """What lies beside the files that were read, in sentences."""
    if examples.path is None:
        return []
    return [passed_over_sentence("path", one) for one in by_reason(find_input(examples.source, examples.path).passed_over)]


def doubts(splits: Splits, labels: list[str], asked: Asked) -> list[str]:
    """What somebody who reads a result of these examples should know, in sentences."""
    found, num_tests = [], len(splits.test)
    if num_tests < FEW_TEST_EXAMPLES:
        text = f"{num_tests} test examples are few"
        if asked.kind == "classification":
            # Normal approximation of a binomial share at its widest, one half: 1.96 x sqrt(1/4 / n).
            text += f": an accuracy of them is uncertain by up to {98 / num_tests**0.5:.0f} points to each side (95%)"
        found.append(f"{text}; from {FEW_TEST_EXAMPLES} on nothing is said.")
    _, test = splits.label_counts()
    if untested := [label for label in labels if not test[label]]:
        found.append(
            f"{len(untested)} of {len(labels)} labels have no test example, so that nothing is measured of them: "
            f"{', '.join(map(repr, untested[:20]))}{', ...' if len(untested) > 20 else ''}."
        )
    return found


def write(
    request: Request, folder: Path, splits: Splits, labels: list[str], counts: Counts, details: dict[str, Any]
) -> Manifest:
    """The files, their card, and the manifest, whose `details` get more."""
    kind, source = request.identity["kind"], request.identity["source"]
    sides = {"train": splits.train, "test": splits.test}
    metrics: dict[str, float | int | None] = {f"{name}_examples": len(side) for name, side in sides.items()}
    metrics |= {"read_examples": counts.read, "kept_examples": counts.kept}
    split_key = "text" if kind == "classification" else "prompt"
    details = {
        "kind": kind,
        "dropped": {reason: number for reason, number in sorted(counts.dropped.items()) if number},
        "source": source,
        "split_key": "page text" if "sample" in source else split_key,
        "test_share": examples_settings(request).test_share,
        "example_ids_sha256": ids_sha256(one.id for side in sides.values() for one in side),
    } | details
    if kind == "classification":
        train, test = splits.label_counts()
        majority = max(sorted(labels), key=lambda label: train[label])
        metrics["majority_share"] = test[majority] / len(splits.test)
        details |= {"labels": labels, "majority_label": majority}
        details["untested_labels"] = [label for label in labels if not test[label]]
        details["label_counts"] = {"train": dict(sorted(train.items())), "test": dict(sorted(test.items()))}
    paths = [folder / "data_card.md"]
    paths[0].write_text(examples_card(request, metrics, details), encoding="utf-8")
    for name, side in sides.items():
        paths.append(examples_file(folder, name))
        with paths[-1].open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(one.example, ensure_ascii=False) + "\n" for one in side)
    return Manifest(
        kind=request.kind,
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(folder, paths),
        metrics=metrics,
        details=details,
    )
