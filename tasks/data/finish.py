"""The end of a preparation: the results of its parts get their final names, the card and the manifest are written."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config.data import DataConfig
from tasks.data.card.card import CARD_FILE, CARD_PLOT, dataset_card
from tasks.data.card.plot import draw_card
from tasks.data.documents.cleaning import MAX_EXAMPLES, Counts
from tasks.data.extract import QUARANTINE_FILE, TOUCHED_FILE
from tasks.data.inputs.sources import SOURCES_FILE, files_listing
from tasks.data.inputs.text import text_identity
from tasks.data.steps import Preparation, disk_full_explained
from tasks.data.tokens.shard_writer import token_dtype
from tasks.data.tokens.shards import TOKEN_BYTES_FILE
from tasks.record.errors import DataError
from tasks.record.files import file_entries, fsync_folder, write_json
from tasks.record.manifest import Manifest, stamp
from tasks.record.parts import Part, WorkLayout

SPLITS = ("train", "heldout")
SUFFIXES = (".bin", ".documents.npy", ".digests.npy")
"""Of a shard: its tokens, where its documents start, and the first 16 bytes of the SHA-256 of each document's text."""
TOKENIZER_FOLDER = "tokenizer"
PLAN_PART, TOKENIZER_PART, DUPLICATES_PART = Part("plan", 0), Part("tokenizer", 0), Part("deduplicate", 0)
TEMPLATES_LISTED = 20
"""Names of templates that were dropped: those most often dropped, and those most often dropped inside a sentence."""


def payload_patterns() -> tuple[str, ...]:
    """Everything that a preparation leaves in the stage's folder before its manifest."""
    shards = tuple(f"{split}-*{suffix}" for split in SPLITS for suffix in SUFFIXES)
    files = (TOKEN_BYTES_FILE, CARD_FILE, CARD_PLOT, SOURCES_FILE, QUARANTINE_FILE)
    return ("work", "manifest.json.finished", TOKENIZER_FOLDER, *files, *shards)


@dataclass
class Gathered:
    """What the parts found, added up in their order."""

    counts: Counts = field(default_factory=Counts)
    splits: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    languages: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Kept documents by the number of binary digits of their length in characters."""
    changes: Counter[str] = field(default_factory=Counter)
    """What was cut out of documents that were kept, by what it was."""
    templates: dict[str, list[int]] = field(default_factory=dict)
    """Templates of which nothing is left: by name how many, and how many inside a sentence."""
    contamination: Counter[str] = field(default_factory=Counter)
    """Documents dropped, by evaluation set."""
    touched: np.ndarray | None = None
    """Which items of the evaluation sets were found."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    """Each evaluation set's name, items, and those that are long enough to be looked for; in the order of `touched`."""
    source_documents: Counter[int] = field(default_factory=Counter)
    source_tokens: Counter[int] = field(default_factory=Counter)
    table_bytes: int = 0
    engines: set[str] = field(default_factory=set)
    heldout_seen: np.ndarray | None = None


def finish(preparation: Preparation) -> None:
    """Put the payload in its place and leave the manifest beside it; what a killed attempt had put there is replaced.

    Raises DiskFullError as `do_part` does.
    """
    with disk_full_explained(preparation, Part("finish", 0)):
        place_everything(preparation)


def place_everything(preparation: Preparation) -> None:
    work = preparation.work
    folder = work.path / "finish"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    gathered = gather(work)
    check_unchanged(preparation)
    check_split(preparation, gathered)
    shards = place_shards(work, folder)
    place_rest(preparation, folder)
    manifest = describe(preparation, folder, gathered, shards)
    for entry in sorted(folder.iterdir()):
        target = preparation.stage.path / entry.name
        if target.is_dir():
            shutil.rmtree(target)
        entry.rename(target)
    fsync_folder(preparation.stage.path)
    stamp(manifest).write(work.finished)


def complete(work: WorkLayout) -> Manifest:
    """Remove the work folder and give the manifest its name: the last two things, in this order."""
    if work.path.exists():
        shutil.rmtree(work.path)
    work.finished.rename(work.stage.manifest)
    fsync_folder(work.stage.path)
    return Manifest.read(work.stage.manifest)


def gather(work: WorkLayout) -> Gathered:
    gathered = Gathered()
    for part in work.parts("extract"):
        result = work.result(part)
        if result["counts"] is None:
            continue  # documents of an earlier data set
        gathered.counts.merge(Counts.from_json(result["counts"]))
        gathered.changes.update(result["changes"])
        for name, numbers in result["templates"].items():
            before = gathered.templates.get(name, [0, 0])
            gathered.templates[name] = [before[0] + numbers[0], before[1] + numbers[1]]
        gathered.contamination.update(result["contamination"])
        touched = np.load(work.folder(part) / TOUCHED_FILE)
        gathered.touched = touched if gathered.touched is None else gathered.touched | touched
        gathered.evaluations = result["evaluations"]
    duplicates = work.result(DUPLICATES_PART)
    for reason, number in duplicates["dropped"].items():
        gathered.counts.dropped[reason] += number
        gathered.counts.kept -= number
    gathered.changes.update(duplicates["changes"])
    if pairs := duplicates["summary"]["examples"]:
        gathered.counts.examples["near_duplicate"] = pairs[:MAX_EXAMPLES]
    for part, file in zip(work.parts("encode"), work.encoded_files, strict=True):
        result = work.result(part)
        for split, numbers in result["splits"].items():
            gathered.splits[split].update(numbers)
            gathered.source_documents[file.source] += numbers.get("documents", 0)
            gathered.source_tokens[file.source] += numbers.get("tokens", 0)
        gathered.languages.update(result["languages"])
        gathered.lengths.update({int(digits): number for digits, number in result["lengths"].items()})
        gathered.table_bytes += result["table_bytes"]
        gathered.engines.add(result["engine"])
        if result["blank"]:
            gathered.counts.dropped["repeated_paragraphs"] += result["blank"]
            gathered.counts.kept -= result["blank"]
        seen = np.load(work.folder(part) / "heldout_seen.npy")
        gathered.heldout_seen = seen if gathered.heldout_seen is None else gathered.heldout_seen | seen
    gathered.counts.check()
    return gathered


def check_unchanged(preparation: Preparation) -> None:
    """Raises DataError if what was read is not what the request was made for."""
    if preparation.request.identity["source"] != text_identity(preparation.home, preparation.data):
        places = ", ".join(path or "the sample" for path in preparation.request.execution["paths"])
        raise DataError(
            f"the files of {places} were changed while they were read; run the same command again when nothing writes to them"
        )


def check_split(preparation: Preparation, gathered: Gathered) -> None:
    """Raises DataError if nothing is left, or one side of the split is empty."""
    data, counts = preparation.data, gathered.counts
    given = ["the sample" if source.path is None else f"data.path={source.path!r}" for source in data.sources]
    where = given[0] if len(given) == 1 else "data and its mixture of " + ", ".join(data.source_names[1:])
    if counts.kept == 0:
        dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.dropped.items())) or "none dropped"
        raise DataError(
            f"{where} has nothing left after cleaning: {counts.read} documents read ({dropped}), 0 kept; "
            f"give other text, or change what dropped most of it ({remedy(data, counts)})"
        )
    train, held_out = (gathered.splits[split]["documents"] for split in SPLITS)
    if not (held_out and train):
        raise DataError(
            f"{where} has too few documents to split: {counts.kept} kept documents with data.heldout_fraction="
            f"{data.heldout_fraction} give {train} to train on and {held_out} to hold out, and each needs at least 1; "
            "give more documents or change data.heldout_fraction"
        )


def remedy(data: DataConfig, counts: Counts) -> str:
    """The setting behind the most frequent reason for a drop that a setting can change."""
    named = {
        "too_short": f"data.min_characters={data.min_characters}",
        "language": f"data.quality.languages={list(data.quality.languages)}",
        "duplicate": "data.duplicates.against" if data.duplicates.against else "the text is one document many times",
        "near_duplicate": f"data.duplicates.similarity={data.duplicates.similarity}",
    }
    known = [reason for reason in sorted(counts.dropped) if reason in named or "." in reason]
    if not known:
        return "its own contents"
    return named.get(max(known, key=lambda reason: counts.dropped[reason]), "data.quality.filters and thresholds")


def place_shards(work: WorkLayout, folder: Path) -> list[dict[str, list[str]]]:
    """Hard-link every shard under its final name, numbered in the order of the documents; names by source and split."""
    sources = 1 + max((file.source for file in work.encoded_files), default=0)
    names: list[dict[str, list[str]]] = [{split: [] for split in SPLITS} for _ in range(sources)]
    numbers = Counter[str]()
    for part, file in zip(work.parts("encode"), work.encoded_files, strict=True):
        for split in SPLITS:
            for made in work.result(part)["shards"][split]:
                stem = f"{split}-{numbers[split]:05d}"
                numbers[split] += 1
                for suffix in SUFFIXES:
                    os.link(work.folder(part) / (made.removesuffix(".bin") + suffix), folder / (stem + suffix))
                names[file.source][split].append(stem + ".bin")
    return names


def place_rest(preparation: Preparation, folder: Path) -> None:
    """Tokenizer, table of token bytes, quarantine, and the list of files that were read."""
    work = preparation.work
    made = work.folder(TOKENIZER_PART)
    shutil.copytree(made / TOKENIZER_FOLDER, folder / TOKENIZER_FOLDER, copy_function=os.link)
    os.link(made / TOKEN_BYTES_FILE, folder / TOKEN_BYTES_FILE)
    quarantined = [work.folder(part) / QUARANTINE_FILE for part in work.parts("extract")]
    if any(path.exists() for path in quarantined):
        with (folder / QUARANTINE_FILE).open("wb") as out:
            for path in filter(Path.exists, quarantined):
                out.write(path.read_bytes())
            out.flush()
            os.fsync(out.fileno())
    sources = [
        {"name": name, "files": files_listing(preparation.home, source)}
        for name, source in zip(preparation.data.source_names, preparation.data.sources, strict=True)
    ]
    write_json(folder / SOURCES_FILE, sources)


def describe(preparation: Preparation, folder: Path, gathered: Gathered, shards: list[dict[str, list[str]]]) -> Manifest:
    """The data card, and the manifest that lists everything in `folder`."""
    request, tokenizer = preparation.request, preparation.work.result(TOKENIZER_PART)
    num_bytes = sum(numbers["bytes"] for numbers in gathered.splits.values())
    num_tokens = sum(numbers["tokens"] for numbers in gathered.splits.values())
    metrics: dict[str, float | int | None] = {
        "vocab_size": tokenizer["vocab_size"],
        "read_documents": gathered.counts.read,
        "kept_documents": gathered.counts.kept,
        "dropped_documents": gathered.counts.dropped.total(),
        "quarantined_documents": gathered.counts.quarantined.total(),
        "bytes_per_token": num_bytes / num_tokens,
        "token_bytes_error": gathered.table_bytes / num_bytes - 1.0,
        "heldout_overlap": heldout_overlap(gathered),
    }
    for split, numbers in gathered.splits.items():
        metrics |= {f"{split}_{what}": numbers[what] for what in ("tokens", "documents", "bytes", "characters")}
    kinds = [source.source for source in preparation.data.sources]
    duplicates = preparation.work.result(DUPLICATES_PART)["summary"]
    details = {
        "dtype": token_dtype(tokenizer["vocab_size"]),
        "shards": {split: [name for source in shards for name in source[split]] for split in SPLITS},
        "sources": [
            {
                "name": name,
                "kind": kinds[n],
                "documents": gathered.source_documents[n],
                "tokens": gathered.source_tokens[n],
                "shards": shards[n],
            }
            for n, name in enumerate(preparation.data.source_names)
            if n < len(shards)
        ],
        "end_of_text_id": tokenizer["end_of_text_id"],
        "end_of_text": tokenizer["end_of_text"],
        "pad": tokenizer["pad"],
        "token_bytes": "exact" if gathered.table_bytes == num_bytes else "approximate",
        "dropped": dict(sorted(gathered.counts.dropped.items())),
        "quarantined": dict(sorted(gathered.counts.quarantined.items())),
        "changes": dict(sorted(gathered.changes.items())),
        "templates": dropped_templates(gathered.templates),
        "contamination": contamination(gathered),
        "languages": dict(sorted(gathered.languages.items(), key=lambda item: (-item[1], item[0]))),
        "lengths": {str(digits): number for digits, number in sorted(gathered.lengths.items())},
        "duplicates": {key: value for key, value in duplicates.items() if key not in ("examples", "first_numbers")},
        "source": request.identity["source"],
        "passed_over": dict(zip(preparation.data.source_names, preparation.work.result(PLAN_PART)["passed_over"], strict=True)),
    }
    card = dataset_card(request, metrics, details, gathered.counts.examples, tokenizer["report"], sorted(gathered.engines))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    draw_card(folder / CARD_PLOT, metrics, details)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Manifest(
        kind=request.kind,
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(folder, files),
        metrics=metrics,
        details=details,
    )


def dropped_templates(found: dict[str, list[int]]) -> dict[str, Any]:
    """How many templates were dropped, how many of them inside a sentence, and of which names most of them were."""
    inside = sorted(found, key=lambda name: (-found[name][1], -found[name][0], name))
    number = sorted(found, key=lambda name: (-found[name][0], name))
    listed = dict.fromkeys([*(name for name in inside[:TEMPLATES_LISTED] if found[name][1]), *number[:TEMPLATES_LISTED]])
    return {
        "number": sum(one[0] for one in found.values()),
        "inside": sum(one[1] for one in found.values()),
        "names": {name: found[name] for name in listed},
    }


def contamination(gathered: Gathered) -> dict[str, dict[str, int]]:
    """What was found of each evaluation set."""
    found, first = {}, 0
    for one in gathered.evaluations:
        assert gathered.touched is not None, "every part that looked for evaluation sets says what it found"
        end = first + one["items"]
        found[one["name"]] = {
            "items": one["items"],
            "items looked for": one["searched"],
            "items found": int(gathered.touched[first:end].sum()),
            "documents dropped": gathered.contamination[one["name"]],
        }
        first = end
    return found


def heldout_overlap(gathered: Gathered) -> float | None:
    """Share of a sample of the held-out n-grams that the training text has too."""
    seen = gathered.heldout_seen
    return None if seen is None or not len(seen) else float(seen.mean())
