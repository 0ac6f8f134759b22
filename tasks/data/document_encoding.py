"""Encoding a document file: the documents that are kept go straight from Arrow buffers into the shards of their split."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.documents import read_batches
from tasks.data.encoding import Encoder, count_bytes
from tasks.data.shard_writer import DIGEST_BYTES, ShardWriter

LEFT_OUT = -1
"""The destination of a document that goes nowhere."""


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


def encode_file(
    path: Path,
    destinations: np.ndarray,
    encoder: Encoder,
    writers: Sequence[ShardWriter],
    table: np.ndarray,
    progress: Callable[[int], None] = lambda documents: None,
) -> EncodedCounts:
    """Write every document of the file that has a destination to `writers[destination]`, in the order of the file.

    `destinations` is an integer array of shape (documents,): a place in `writers`, or LEFT_OUT. `table` is that of
    `token_bytes`. `progress` is told how many documents are done after every batch. The writers are left open. One batch of the
    file is in memory at a time.
    """
    counts, done = EncodedCounts({writer.split: Counter() for writer in writers}), 0
    for batch in read_batches(path):
        here = destinations[done : done + len(batch)]
        for number, writer in enumerate(writers):
            chosen = batch if (here == number).all() else batch.filter(pa.array(here == number))
            if len(chosen):
                write_batch(chosen, encoder, writer, table, counts)
        done += len(batch)
        progress(done)
    assert done == len(destinations), f"{path} has {done} documents, and {len(destinations)} destinations were given"
    return counts


def write_batch(batch: pa.RecordBatch, encoder: Encoder, writer: ShardWriter, table: np.ndarray, counts: EncodedCounts) -> None:
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
