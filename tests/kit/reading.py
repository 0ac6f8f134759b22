"""Reads a source the way a preparation does, for tests: documents, what was refused, what was left out."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config.data import TextSource
from tasks.data.sources.quarantine import Quarantine
from tasks.data.sources.read import RawDocument, read_unit
from tasks.data.sources.streams import Limits, Meter
from tasks.data.sources.units import input_units


@dataclass
class Read:
    documents: list[RawDocument]
    refused: list[dict[str, Any]]
    counts: Counter[str]
    dropped: Counter[str]
    meter: Meter

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.documents]

    @property
    def places(self) -> list[tuple[str, str, int | None]]:
        return [(record["reason"], record["place"], record["byte"]) for record in self.refused]


def read_all(
    source: str, path: Path | str, quarantine: Path | None = None, unit_bytes: int = 64 << 20, **settings: Any
) -> Read:
    """Under the policy `fail`, or with bad rows written to the file `quarantine`; `settings` of the source and `limits`."""
    limits = settings.pop("limits", Limits())
    given = TextSource(source=source, path=None if source == "sample" else str(path), **settings)
    units = input_units(given, unit_bytes)
    meter, dropped = Meter(sum(unit.bytes for unit in units)), Counter[str]()
    documents: list[RawDocument] = []
    with Quarantine(quarantine, "quarantine" if quarantine else "fail") as kept_out:
        for unit in units:
            documents += read_unit(unit, given, limits, kept_out, meter, dropped)
    refused = [json.loads(line) for line in quarantine.read_text().splitlines()] if quarantine and quarantine.exists() else []
    assert kept_out.counts == Counter(record["reason"] for record in refused)
    return Read(documents, refused, kept_out.counts, dropped, meter)
