"""Cleaning, exact de-duplication and the split by hash: which documents are kept, and where they go.

Memory: 16 bytes of digest (about 100 with Python's own) for each kept document, and the document in hand.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

LINE_ENDINGS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
"""Control characters but for tab and newline, byte-order marks, and surrogates, which UTF-8 cannot hold."""
BLANK_LINES = re.compile("\n{4,}")


def clean(text: str) -> str:
    """Unicode NFC, `\\n` line ends, no control characters or trailing spaces, at most two blank lines in a row, stripped."""
    text = UNWANTED.sub("", LINE_ENDINGS.sub("\n", text))
    text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return BLANK_LINES.sub("\n\n\n", text).strip()


def text_digest(text: str) -> bytes:
    """SHA-256 of a cleaned text: its identity for de-duplication and for every split."""
    return hashlib.sha256(text.encode()).digest()


def is_held_out(digest: bytes, fraction: float) -> bool:
    """Whether the text of that digest belongs to the share that is kept out of training.

    Depends on nothing else: pre-training and fine-tuning keep the same pages out for the same fraction, and a larger fraction
    keeps out a superset.
    """
    return int.from_bytes(digest[:8], "big") < fraction * 2.0**64


@dataclass(frozen=True)
class Document:
    text: str
    held_out: bool

    @property
    def split(self) -> str:
        return "heldout" if self.held_out else "train"


@dataclass
class Counts:
    """What happened to every document that was read."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        assert self.read == self.kept + self.dropped.total(), f"{self} does not add up"


def clean_documents(texts: Iterable[str], min_characters: int, heldout_fraction: float, counts: Counts) -> Iterator[Document]:
    """The cleaned documents that are kept, each once, in the order of `texts`; `counts` is filled along the way."""
    seen: set[bytes] = set()
    for raw in texts:
        counts.read += 1
        text = clean(raw)
        if not text:
            counts.dropped["empty"] += 1
            continue
        if len(text) < min_characters:
            counts.dropped["too_short"] += 1
            continue
        digest = text_digest(text)
        if digest[:16] in seen:
            counts.dropped["duplicate"] += 1
            continue
        seen.add(digest[:16])
        counts.kept += 1
        yield Document(text, is_held_out(digest, heldout_fraction))
