"""Cleaning of one text, the split by hash, and the counts of what happened to documents."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ftfy import fix_encoding

LINE_END_CHARACTERS = "\r\x0b\x0c\x85\u2028\u2029"
LINE_ENDINGS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
"""Control characters but for tab and newline, byte-order marks, and surrogates, which UTF-8 cannot hold."""
UNWANTED_ASCII = bytes(code for code in range(128) if UNWANTED.match(chr(code)))
C1_CONTROLS, BYTE_ORDER_MARK = re.compile(b"\xc2[\x80-\x9f]"), "\ufeff".encode()
"""The same in UTF-8; it cannot hold surrogates."""
BLANK_LINES = re.compile("\n{4,}")
SINGLE_BYTE_CODECS = (
    "latin-1", "iso-8859-2", *(f"sloppy-windows-{page}" for page in (1250, 1251, 1252, 1253, 1254, 1257))
)  # fmt: skip
"""Those that ftfy (which defines the sloppy ones) undoes."""
MAX_EXAMPLES, EXAMPLE_CHARACTERS = 3, 160
"""Of what was dropped, for each reason; and of the beginning of each."""


def clean(text: str) -> str:
    """Unicode NFC, `\\n` line ends, no control characters or trailing spaces, at most two blank lines in a row, stripped.

    Nearly all text needs none of it, so each step first asks, at the speed of memory, whether it has anything to do.
    """
    if any(ending in text for ending in LINE_END_CHARACTERS):
        text = LINE_ENDINGS.sub("\n", text)
    if has_unwanted(text):
        text = UNWANTED.sub("", text)
    if not text.isascii():
        text = without_trailing_spaces(unicodedata.normalize("NFC", text))
    elif " \n" in text or "\t\n" in text:
        text = without_trailing_spaces(text)
    if "\n\n\n\n" in text:
        text = BLANK_LINES.sub("\n\n\n", text)
    return text.strip()


def has_unwanted(text: str) -> bool:
    """Whether UNWANTED occurs in `text`, asked of its bytes."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return True
    if len(data.translate(None, UNWANTED_ASCII)) != len(data):
        return True
    return not text.isascii() and (BYTE_ORDER_MARK in data or C1_CONTROLS.search(data) is not None)


def without_trailing_spaces(text: str) -> str:
    return "\n".join([line.rstrip() for line in text.split("\n")])


@cache
def mojibake() -> re.Pattern[str]:
    """What the UTF-8 of a character that is not ASCII looks like when it is read as one of the single-byte codes of old.

    Mac Roman and code page 437 are looked for in Latin text only, since their other lead bytes are quotation marks and dashes.
    """

    def read_as(codecs: Iterable[str], start: int, end: int) -> str:
        return "".join({character for codec in codecs for character in bytes(range(start, end)).decode(codec)})

    two = read_as(SINGLE_BYTE_CODECS, 0xC2, 0xE0) + "¬√┬├"
    more = read_as(SINGLE_BYTE_CODECS, 0xE0, 0xF5) + "‚Γ"
    following = read_as((*SINGLE_BYTE_CODECS, "mac-roman", "cp437"), 0x80, 0xC0) + " "
    two, more, following = re.escape(two), re.escape(more), re.escape(following)
    return re.compile(f"[{two}{more}][{following}](?:(?<=[{two}].)|[{following}])")


def fix_unicode(text: str) -> str:
    """`text` with the lines that were decoded wrongly ("cafÃ©") put right by ftfy, where it is sure; nothing else is changed.

    ftfy's own test reads 5 MB/s; here it sees only lines with the pattern of `mojibake`, which is looked for at 200 MB/s.
    """
    pattern = mojibake()
    if text.isascii() or not pattern.search(text):
        return text
    return "\n".join([fix_encoding(line) if pattern.search(line) else line for line in text.split("\n")])


def text_digest(text: str) -> bytes:
    """SHA-256 of a cleaned text: its identity for de-duplication and for every split."""
    return hashlib.sha256(text.encode()).digest()


def is_held_out(digest: bytes, fraction: float) -> bool:
    """Whether the text of that digest belongs to the share that is kept out of training.

    Depends on nothing else: pre-training and fine-tuning keep the same pages out for the same fraction, and a larger fraction
    keeps out a superset.
    """
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


@dataclass
class Counts:
    """What happened to every document that was read: it was kept, dropped for a reason, or could not be read at all."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """For each reason the first MAX_EXAMPLES documents: `where` they are and how they begin (`beginning`)."""

    def drop(self, reason: str, where: str, text: str) -> None:
        """Count a document that is dropped; `text` as far as it was read or cleaned, where it is found at `where`."""
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < MAX_EXAMPLES:
            beginning = text[:EXAMPLE_CHARACTERS].encode("utf-8", "replace").decode()
            examples.append({"where": where, "beginning": beginning})

    def check(self) -> None:
        total = self.kept + self.dropped.total() + self.quarantined.total()
        assert self.read == total, f"{self} does not add up"

    def merge(self, other: "Counts") -> None:
        """Add what another part counted; parts are merged in their order, so that the examples are those of the first."""
        self.read += other.read
        self.kept += other.kept
        self.dropped.update(other.dropped)
        self.quarantined.update(other.quarantined)
        for reason, examples in other.examples.items():
            self.examples[reason] = (self.examples.get(reason, []) + examples)[:MAX_EXAMPLES]

    def to_json(self) -> dict[str, Any]:
        """With sorted keys: the same counts give the same text."""
        return {
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "examples": dict(sorted(self.examples.items())),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Counts":
        dropped, quarantined = Counter(values["dropped"]), Counter(values["quarantined"])
        return cls(values["read"], values["kept"], dropped, quarantined, dict(values["examples"]))
