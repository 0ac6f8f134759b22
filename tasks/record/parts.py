"""The steps of a preparation and their parts, read off the stage's folder: what is done and what is left.

A part is one folder, `work/STEP/NNNNN`, which appears by a rename when it is whole. So a part is done by whoever does it, once,
with the same bytes, and a preparation that was interrupted goes on with the parts that are missing.
"""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tasks.record.files import read_json
from tasks.record.layout import StageLayout

STEPS = ("plan", "extract", "deduplicate", "tokenizer", "encode")
"""In their order; each reads what the ones before it made. The stage's own process then puts the results in their place."""
MAPPED = ("extract", "encode")
"""Steps whose parts do not depend on each other."""
SHARES = {"plan": 0.01, "extract": 0.5, "deduplicate": 0.09, "tokenizer": 0.1, "encode": 0.28}
"""Of the time, for the progress bar; the rest goes to putting the results in their place."""
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Part:
    step: str
    index: int

    @property
    def name(self) -> str:
        return f"{self.step}-{self.index:05d}"


@dataclass(frozen=True)
class DocumentFile:
    """One file of cleaned documents."""

    path: Path
    source: int
    """Number of its source in `DataConfig.sources`, or -1 for documents of an earlier data set."""
    documents: int
    bytes: int
    """UTF-8 bytes of its text."""

    @property
    def reference(self) -> bool:
        """Whether it only says which documents are known already."""
        return self.source < 0

    @property
    def keys(self) -> Path:
        return self.path.with_suffix(".keys.npy")

    @property
    def paragraphs(self) -> Path:
        return self.path.with_suffix(".paragraphs.npy")


@dataclass(frozen=True)
class WorkLayout:
    """The folder of a preparation that is under way."""

    stage: StageLayout

    @property
    def path(self) -> Path:
        return self.stage.path / "work"

    @property
    def finished(self) -> Path:
        """The manifest, before everything else of the work folder is removed."""
        return self.stage.path / "manifest.json.finished"

    def folder(self, part: Part) -> Path:
        return self.path / part.step / f"{part.index:05d}"

    def error(self, part: Part) -> Path:
        return self.path / "errors" / f"{part.name}.json"

    def progress(self, part: Part) -> Path:
        """How far the part's process is, as a fraction."""
        return self.path / "progress" / part.name

    def result(self, part: Part) -> dict[str, Any]:
        return read_json(self.folder(part) / RESULT_FILE)

    @cached_property
    def plan(self) -> list[list[dict[str, Any]]]:
        """The units of input of each part of the extraction."""
        return self.result(Part("plan", 0))["parts"]

    @cached_property
    def document_files(self) -> list[DocumentFile]:
        """What the extraction made, in the order of the documents."""
        found = []
        for index in range(len(self.plan)):
            part = Part("extract", index)
            for entry in self.result(part)["files"]:
                path = self.folder(part) / entry["name"]
                found.append(DocumentFile(path, entry["source"], entry["documents"], entry["bytes"]))
        return found

    @property
    def encoded_files(self) -> list[DocumentFile]:
        """The files that the encoding takes, one for each of its parts."""
        return [file for file in self.document_files if not file.reference]

    def parts(self, step: str) -> list[Part]:
        """Every part of a step whose earlier steps are done."""
        count = {"extract": lambda: len(self.plan), "encode": lambda: len(self.encoded_files)}.get(step, lambda: 1)()
        return [Part(step, index) for index in range(count)]

    def pending(self, step: str) -> list[Part]:
        return [part for part in self.parts(step) if not self.folder(part).is_dir()]

    def fraction(self, step: str) -> float:
        """How far the whole preparation is, in `step`, from 0 to 1."""
        parts = self.parts(step)
        done = sum(1.0 if self.folder(part).is_dir() else part_progress(self.progress(part)) for part in parts)
        return fraction_before(step) + SHARES[step] * done / max(1, len(parts))


def fraction_before(step: str) -> float:
    """How far the whole preparation is when `step` begins."""
    return sum(SHARES[earlier] for earlier in STEPS[: STEPS.index(step)])


def part_progress(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0  # not begun, or just being written


def clear_leftovers(work: WorkLayout) -> None:
    """Remove what killed processes left half-made. Only for the owner of the stage's lock."""
    for path in work.path.glob("*/.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("errors", "progress"):
        shutil.rmtree(work.path / name, ignore_errors=True)
