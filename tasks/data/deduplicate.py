"""Step 3: which documents are copies of earlier ones, and which paragraphs; over all sources and earlier data sets at once."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.data.extract import MEGABYTE, near_settings
from tasks.data.overlap.duplicates import KEEP, find_duplicates
from tasks.data.overlap.paragraphs import ParagraphTable, read_paragraphs
from tasks.data.overlap.texts import ComparedPart
from tasks.data.steps import Preparation, Report
from tasks.record.parts import DocumentFile, Part

MEMORY_BYTES = 256 << 20
"""For sorting keys and comparing texts; more documents are taken in more passes."""


def drop_file(folder: Path, number: int) -> Path:
    """For each document of that document file whether it is dropped, and as what (uint8)."""
    return folder / f"{number:05d}.drop.npy"


def cut_file(folder: Path, number: int) -> Path:
    """For each long paragraph of that document file whether it is cut (bool)."""
    return folder / f"{number:05d}.cut.npy"


def deduplicate(preparation: Preparation, part: Part, folder: Path, report: Report) -> dict[str, Any]:
    """Decide for all documents; returns what was found."""
    settings, files = preparation.data.duplicates, preparation.work.document_files
    near = near_settings(settings) if settings.near else None
    compared = [ComparedPart(f.path, f.keys, folder / f"{n:05d}", f.reference) for n, f in enumerate(files)]
    summary = find_duplicates(compared, near, folder, MEMORY_BYTES, report)
    dropped = {"duplicate": summary.exact, "near_duplicate": summary.near}
    changes: dict[str, int] = {}
    if settings.paragraphs:
        changes = mark_paragraphs(settings.paragraph_memory_megabytes, files, folder)
    return {
        "dropped": {reason: number for reason, number in dropped.items() if number},
        "changes": changes,
        "summary": summary.as_json(),
    }


def mark_paragraphs(memory_megabytes: int, files: list[DocumentFile], folder: Path) -> dict[str, int]:
    """Mark the paragraphs of kept documents that an earlier one has; returns how many, and how many went unchecked."""
    table, repeated = ParagraphTable(memory_megabytes * MEGABYTE), 0
    for number, file in enumerate(files):
        kept = np.ones(file.documents, np.bool_) if file.reference else np.load(drop_file(folder, number)) == KEEP
        marks = table.repeated(read_paragraphs(file.paragraphs), kept)
        if not file.reference:
            np.save(cut_file(folder, number), marks)
            repeated += int(marks.sum())
    return {"repeated_paragraphs": repeated, "unchecked_paragraphs": table.unchecked}
