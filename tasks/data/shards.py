"""Token shards (as `shard_writer` writes them) in memory-mapped files, read as one virtual stream.

Shapes: batch = samples asked for, sequence = sequence_length.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.shard_writer import index_name
from tasks.manifest import Manifest

TOKEN_BYTES_FILE = "token_bytes.npy"
COUNT_TOKENS = 1 << 22
"""Tokens counted at once by `byte_count`."""


@dataclass(frozen=True)
class Batch:
    """int64 arrays of shape (batch, sequence)."""

    input_ids: np.ndarray
    labels: np.ndarray
    """The next token of the stream: already shifted."""
    position_ids: np.ndarray
    """Count from 0 at the start of the sequence and at every document start: documents can be kept apart by them."""


class TokenDataset:
    """The sequences of one split: sequence i is tokens [i x sequence_length, (i + 1) x sequence_length) of the stream."""

    def __init__(self, folder: Path, manifest: Manifest, split: str, sequence_length: int) -> None:
        self.sequence_length = sequence_length
        dtype = np.dtype(manifest.details["dtype"]).newbyteorder("<")
        names = manifest.details["shards"][split]
        self._shards = [np.memmap(folder / name, dtype=dtype, mode="r") for name in names]
        self._starts = [np.load(folder / index_name(name), mmap_mode="r") for name in names]
        self._ends = np.cumsum([len(shard) for shard in self._shards], dtype=np.int64)
        self._token_bytes = np.load(folder / TOKEN_BYTES_FILE)
        self.num_tokens = int(self._ends[-1]) if names else 0
        self.num_sequences = max(0, (self.num_tokens - 1) // sequence_length)

    def read(self, sample_ids: np.ndarray) -> Batch:
        """The sequences of those ids, in their order; raises IndexError for an id that is not in [0, num_sequences)."""
        ids = np.asarray(sample_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_sequences):
            raise IndexError(f"sample ids must be in [0, {self.num_sequences}), and are {ids.tolist()}")
        tokens = np.empty((len(ids), self.sequence_length + 1), dtype=np.int64)
        starts = np.zeros_like(tokens)
        for row, first in enumerate((ids * self.sequence_length).tolist()):
            self._read_row(first, tokens[row], starts[row])
        places = np.arange(self.sequence_length)
        return Batch(
            input_ids=tokens[:, :-1],
            labels=tokens[:, 1:],
            position_ids=places - np.maximum.accumulate(starts[:, :-1], axis=1),
        )

    def byte_count(self, num_sequences: int) -> int:
        """UTF-8 bytes of the text of the target tokens of the first `num_sequences` sequences.

        Exact where the manifest's `token_bytes` is `exact`, as it is for every byte-level tokenizer.
        """
        end = min(num_sequences, self.num_sequences) * self.sequence_length + 1
        total, base = 0, 0
        for shard in self._shards:
            low, high = max(1 - base, 0), min(end - base, len(shard))
            for at in range(low, high, COUNT_TOKENS):
                total += int(self._token_bytes[shard[at : min(at + COUNT_TOKENS, high)]].sum(dtype=np.int64))
            base += len(shard)
        return total

    def _read_row(self, first: int, tokens: np.ndarray, starts: np.ndarray) -> None:
        """Fill `tokens` from place `first` of the stream on, and set `starts` to its own place where a document starts."""
        done, number = 0, int(np.searchsorted(self._ends, first, side="right"))
        while done < len(tokens):
            shard, index = self._shards[number], self._starts[number]
            low = first + done - (int(self._ends[number]) - len(shard))
            high = min(low + len(tokens) - done, len(shard))
            tokens[done : done + high - low] = shard[low:high]
            inside = slice(*np.searchsorted(index, np.array([low, high], dtype=np.uint64)))
            at = index[inside].astype(np.int64) - low + done
            starts[at] = at
            done, number = done + high - low, number + 1
