"""Step 2: from input to cleaned documents that passed the filters, with what de-duplication needs to know of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config.data import DuplicatesConfig, TextSource
from tasks.data.documents.document import DocumentWriter
from tasks.data.filters import DocumentFilter
from tasks.data.inputs.sources import ordered_input
from tasks.data.overlap.paragraphs import write_paragraphs
from tasks.data.overlap.signatures import NearDuplicateSettings, write_keys
from tasks.data.references import read_reference
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.read import RawDocument, read_unit
from tasks.data.sources.streams import Meter, reading_limits
from tasks.data.sources.units import Unit
from tasks.data.steps import Preparation, Report
from tasks.record.errors import DataError
from tasks.record.parts import DocumentFile, Part

MEGABYTE = 1 << 20
QUARANTINE_FILE = "quarantine.jsonl"
TOUCHED_FILE = "touched.npy"
"""Which items of the evaluation sets were found in the part's text."""
BATCH_CHARACTERS = 1 << 20
"""Text that is filtered at once."""
KEYS_SHARE = 0.1
"""Of a part's time, for what de-duplication needs."""


class DocumentFiles:
    """Document files of at most `file_bytes` of text, one after the other."""

    def __init__(self, folder: Path, source: int, file_bytes: int) -> None:
        self.folder, self.source, self.file_bytes = folder, source, file_bytes
        self.entries: list[dict[str, Any]] = []
        self._writer: DocumentWriter | None = None

    @property
    def writer(self) -> DocumentWriter:
        """The file that is written to; a full one is closed."""
        if self._writer is not None and self._writer.num_bytes >= self.file_bytes:
            self.close()
        if self._writer is None:
            self._writer = DocumentWriter(self.folder / f"{len(self.entries):05d}.arrow")
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            path, documents, size = self._writer.path, self._writer.num_documents, self._writer.num_bytes
            self.entries.append({"name": path.name, "source": self.source, "documents": documents, "bytes": size})
            self._writer = None


def extract_part(preparation: Preparation, part: Part, folder: Path, report: Report) -> dict[str, Any]:
    """Write the documents of the part's units; returns the files and what became of everything that was read."""
    units = preparation.work.plan[part.index]
    data = preparation.data
    source = units[0]["source"]
    files = DocumentFiles(folder, source, data.part_megabytes * MEGABYTE)
    if source < 0:
        for unit in units:
            for document in read_reference(Path(unit["dataset"]), unit["shard"]):
                files.writer.add(document)
            report(0.5, f"reading {unit['shard']} of an earlier data set")
        files.close()
        write_hashes(data.duplicates, folder, files.entries)
        return {"files": files.entries, "counts": None, "changes": {}}

    documents = DocumentFilter(data, report)
    total = max(1, sum(unit["bytes"] for unit in units))
    meter, dropped, templates = Meter(total), Counter[str](), dict[str, list[int]]()
    with Quarantine(folder / QUARANTINE_FILE, data.limits.on_bad_input) as quarantine:
        for batch in batches(read_raw(preparation, units, quarantine, meter, dropped, templates)):
            for document in documents.take(batch):
                files.writer.add(document)
            report((1 - KEYS_SHARE) * meter.fraction, f"extracting: {documents.counts.read:,} documents")
    files.close()
    report(1 - KEYS_SHARE, f"hashing: {documents.counts.kept:,} documents")
    write_hashes(data.duplicates, folder, files.entries)
    counts = documents.counts
    for reason, number in dropped.items():
        counts.read += number
        counts.dropped[reason] += number
    counts.read += quarantine.total
    counts.quarantined.update(quarantine.counts)
    counts.check()
    np.save(folder / TOUCHED_FILE, documents.touched)
    return {
        "files": files.entries,
        "counts": counts.to_json(),
        "changes": dict(documents.changes),
        "templates": templates,
        "contamination": dict(documents.contamination),
        "evaluations": documents.evaluations(),
    }


def read_raw(
    preparation: Preparation,
    units: list[dict[str, Any]],
    quarantine: Quarantine,
    meter: Meter,
    dropped: Counter[str],
    templates: dict[str, list[int]],
) -> Iterator[RawDocument]:
    """The documents of all units, as many as are wanted; `dropped` and `templates` as `read_unit` has them."""
    number = units[0]["source"]
    source = preparation.data.sources[number]
    limits = reading_limits(preparation.data.limits)
    planned = [Unit(**{k: v for k, v in values.items() if k != "source"}) for values in units]
    found = (
        document
        for unit in located_units(preparation, source, planned)
        for document in read_unit(unit, source, limits, quarantine, meter, dropped, templates)
    )
    return islice(found, source.max_documents)


def located_units(preparation: Preparation, source: TextSource, units: list[Unit]) -> list[Unit]:
    """The units with the place where their files lie now.

    Since the plan was made, the same files may have been moved or renamed, and what lies in their old place be another text.
    """
    if source.source in ("sample", "huggingface"):
        return units
    files = ordered_input(preparation.home, source.source, source.path or "", empty=True).files
    if any(unit.file >= len(files) for unit in units):
        raise DataError(
            f"data.path={source.path!r} has fewer files than when the preparation began; run the same command again"
        )
    return [replace(unit, location=files[unit.file].location) for unit in units]


def batches(documents: Iterator[RawDocument]) -> Iterator[list[RawDocument]]:
    """Documents in groups of about BATCH_CHARACTERS."""
    batch: list[RawDocument] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def write_hashes(duplicates: DuplicatesConfig, folder: Path, entries: list[dict[str, Any]]) -> None:
    """Beside each document file, what its documents are compared by."""
    for entry in entries:
        file = DocumentFile(folder / entry["name"], entry["source"], entry["documents"], entry["bytes"])
        if duplicates.near:
            write_keys(file.path, file.keys, near_settings(duplicates))
        if duplicates.paragraphs:
            write_paragraphs(file.path, file.paragraphs, duplicates.paragraph_min_characters)


def near_settings(duplicates: DuplicatesConfig) -> NearDuplicateSettings:
    return NearDuplicateSettings(threshold=duplicates.similarity, ngram=duplicates.ngram)
