"""Batches of a document file go straight from Arrow buffers into the shards of a split, and are counted."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tokens.encoding import Encoder, count_bytes
from tasks.data.tokens.shard_writer import DIGEST_BYTES, ShardWriter


@dataclass
class EncodedCounts:
    """What was written. Numbers by split: documents, characters, bytes (UTF-8), tokens (end-of-text tokens included)."""

    splits: dict[str, Counter[str]] = field(default_factory=dict)
    table_bytes: int = 0
    """Bytes of all text as the table of token bytes has it: equal to their sum where the table is exact."""
    languages: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Documents by the number of binary digits of their length in characters."""

    def to_json(self) -> dict[str, Any]:
        return {
            "splits": {split: dict(numbers) for split, numbers in self.splits.items()},
            "table_bytes": self.table_bytes,
            "languages": dict(sorted(self.languages.items())),
            "lengths": {str(digits): number for digits, number in sorted(self.lengths.items())},
        }


def write_batch(batch: pa.RecordBatch, encoder: Encoder, writer: ShardWriter, table: np.ndarray, counts: EncodedCounts) -> None:
    """Append the documents of a batch (`documents.SCHEMA`) to `writer`; `table` is that of `token_bytes`."""
    texts = batch["text"]
    tokens, offsets = encoder.encode(texts)
    writer.add_batch(tokens, offsets, stored_digests(batch["digest"]))
    characters = pc.utf8_length(texts).to_numpy()
    counts.splits[writer.split].update(
        documents=len(texts),
        characters=int(characters.sum()),
        bytes=int(pc.sum(pc.binary_length(texts)).as_py()),
        tokens=len(tokens),
    )
    counts.table_bytes += count_bytes(tokens, table)
    for row in pc.value_counts(batch["language"]).to_pylist():
        counts.languages[row["values"]] += row["counts"]
    digits = np.bincount(np.frexp(characters.astype(np.float64))[1])
    counts.lengths.update({int(number): int(digits[number]) for number in np.flatnonzero(digits)})


def stored_digests(digests: pa.FixedSizeBinaryArray) -> np.ndarray:
    """The first bytes of each digest, uint8 of shape (documents, DIGEST_BYTES)."""
    width = digests.type.byte_width
    content = np.frombuffer(digests.buffers()[1], dtype=np.uint8)
    return content[digests.offset * width : (digests.offset + len(digests)) * width].reshape(-1, width)[:, :DIGEST_BYTES]
