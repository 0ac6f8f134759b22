"""Step 1: cut the input into parts, the same on every machine and for any number of processes."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.data.inputs.folders import by_reason, passed_over_sentence
from tasks.data.inputs.sources import ordered_input
from tasks.data.sources.units import input_units
from tasks.data.steps import Preparation, Report
from tasks.record.manifest import Manifest
from tasks.record.parts import Part

log = logging.getLogger(__name__)

MEGABYTE = 1 << 20


def plan_parts(preparation: Preparation, part: Part, folder: Path, report: Report) -> dict[str, Any]:
    """The units of every part: earlier data sets first, then the sources in their order; a part has units of one source.

    Beside them what of each source is passed over.
    """
    data = preparation.data
    parts: list[list[dict[str, Any]]] = [[unit] for unit in reference_units(preparation)]
    passed_over: list[list[dict[str, Any]]] = []
    for number, source in enumerate(data.sources):
        report(number / len(data.sources), "looking at the input")
        files = None
        passed_over.append([])
        if source.source not in ("sample", "huggingface"):
            found = ordered_input(preparation.home, source.source, source.path or "", empty=True)
            files, passed_over[-1] = found.files, by_reason(found.passed_over)
            for entry in passed_over[-1]:
                log.warning("%s", passed_over_sentence(data.source_names[number], entry))
        size = 0
        room: list[dict[str, Any]] | None = None
        for unit in input_units(source, data.part_megabytes * MEGABYTE, files=files):
            values = asdict(unit) | {"source": number}
            if room is None or (size + unit.bytes > data.part_megabytes * MEGABYTE and source.max_documents is None):
                room, size = [], 0
                parts.append(room)
            room.append(values)
            size += unit.bytes
    return {"parts": parts, "passed_over": passed_over}


def reference_units(preparation: Preparation) -> list[dict[str, Any]]:
    """The training and held-out shards of the earlier data sets."""
    units = []
    for given in preparation.request.inputs.values():
        manifest = Manifest.read(Path(given.path) / "manifest.json")
        for split in ("train", "heldout"):
            units += [{"source": -1, "dataset": given.path, "shard": name} for name in manifest.details["shards"][split]]
    return units
