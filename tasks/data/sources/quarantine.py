"""What is wrong with a single row, line or document: it ends the reading, or is written down and passed over."""

import json
import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TextIO

from tasks.record.errors import DamagedError, DataError

Policy = Literal["fail", "quarantine"]

EXCERPT_BYTES = 200
NUM_EXAMPLES = 3
"""Places remembered for each reason."""

MAX_CONTROL_SHARE = 0.05
"""Of a text's bytes: random bytes have 0.11, UTF-16 taken for UTF-8 has 0.5, and prose has none."""
MIN_CONTROLS = 4
"""So many are needed before a text is called binary: single ones are removed by cleaning."""
CONTROLS = bytes([*range(0x09), *range(0x0E, 0x20), 0x7F])
"""All but tab, line feed, vertical tab, form feed and carriage return."""
REPLACEMENT = "\ufffd".encode()

REMEDIES = {
    "invalid_utf8": "convert it, for example with `iconv -f latin1 -t utf-8`",
    "invalid_json": "each line must be one JSON object",
    "no_object": "each line must be one JSON object",
    "missing_column": "set text_column (or label_column, prompt_column, answer_column) to a column that every row has",
    "no_text": "convert or remove the row",
    "lone_surrogate": "write the character whole, as a pair of escapes or as UTF-8",
    "binary": "remove what is no text",
    "line_too_long": "break it into shorter lines, or raise data.limits.max_line_megabytes",
    "text_too_long": "split the document, or raise data.limits.max_line_megabytes",
    "wrong_fields": "quote fields with commas or line ends",
    "invalid_csv": "mend the row",
    "invalid_page": "export the page again",
    "invalid_xml": "fetch the dump again",
    "truncated": "copy or download the file again",
    "damaged": "copy or write the file again",
    "empty_file": "remove it or give it content",
}
"""What to do, by reason; the keys are what is counted."""


class Place(NamedTuple):
    """Where a row stands, and its bytes."""

    location: str
    """Path or URL of the file."""
    name: str
    """The file as it is called in records, the same wherever the data lie."""
    where: str
    """Such as `line 7`, `row 3`, `page 'Title'`."""
    offset: int | None = None
    """Of the row's first byte in the unpacked stream; None where rows have none (Parquet, data sets of the hub)."""
    raw: bytes = b""
    """The row, or its beginning."""
    size: int = 0
    """Bytes of the row."""

    @property
    def full(self) -> str:
        return f"{self.location} {self.where}"

    @property
    def short(self) -> str:
        return f"{self.name} {self.where}"


class Quarantine:
    """Refuses what is bad: raises under the policy `fail`, else counts it and writes it to `path`, made when needed."""

    def __init__(self, path: Path | None, policy: Policy) -> None:
        assert path is not None or policy == "fail", "a quarantine needs a file"
        self.path, self.policy = path, policy
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._file: TextIO | None = None

    def refuse(self, place: Place, reason: str, problem: str) -> None:
        """`problem` says what is wrong with the row (`is not valid JSON`). Raises DataError under the policy `fail`."""
        if self.policy == "fail":
            byte = "" if place.offset is None or place.where.startswith("byte") else f" (byte {place.offset})"
            hint = ", or set data.limits.on_bad_input='quarantine'" if self.path else ""
            raise DataError(f"{place.full}{byte} {problem}; {REMEDIES[reason]}{hint}")
        self.counts[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < NUM_EXAMPLES:
            examples.append(f"{place.short} {problem}")
        record: dict[str, Any] = {
            "file": place.name,
            "place": place.where,
            "byte": place.offset,
            "reason": reason,
            "problem": problem,
            "start": place.raw[:EXCERPT_BYTES].decode("utf-8", "backslashreplace"),
            "bytes": place.size,
        }
        if self._file is None:
            assert self.path is not None, "only the policy `fail` goes without a file"
            self._file = self.path.open("w", encoding="ascii")
        self._file.write(json.dumps(record) + "\n")

    def refuse_rest(self, place: Place, damage: DamagedError) -> None:
        """The same of a file that cannot be read from some place on: all that follows counts as one."""
        if self.policy == "fail":
            hint = ", or set data.limits.on_bad_input='quarantine' to take what can be read" if self.path else ""
            raise DataError(f"{damage}{hint}") from None
        self.refuse(place._replace(where=damage.place or "the file"), damage.reason, damage.problem)

    @property
    def total(self) -> int:
        return self.counts.total()

    def close(self) -> None:
        """Waits until the file is on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def text_problem(text: str, max_bytes: int) -> tuple[str, str] | None:
    """Reason and problem of a text that cannot be a document; None for a good one."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        return "lone_surrogate", f"has the lone surrogate \\u{ord(text[error.start]):04x} at character {error.start}"
    if len(data) > max_bytes:
        return "text_too_long", f"has a text of {len(data)} bytes, more than {max_bytes}"
    controls = len(data) - len(data.translate(None, CONTROLS)) + data.count(REPLACEMENT)
    if controls >= MIN_CONTROLS and controls > MAX_CONTROL_SHARE * len(data):
        return "binary", f"is binary: {controls} of its {len(data)} bytes are control characters or stand for unreadable ones"
    return None


def utf8_problem(error: UnicodeDecodeError, offset: int) -> str:
    """`offset` is that of the first byte that was decoded."""
    return f"is not valid UTF-8 at byte {offset + error.start} (0x{error.object[error.start]:02x})"


def shortened(value: Any) -> str:
    """Type and beginning of a value, for messages."""
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"
