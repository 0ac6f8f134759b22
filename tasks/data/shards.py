"""Token shards: documents one after the other in memory-mapped files, read as one virtual stream.

A document is written as [end-of-text, t1 .. tn]: so every token of its text is a target within its own context, and its
end is the target of its last token. `SPLIT-00000.bin` holds the tokens (little-endian), `SPLIT-00000.documents.npy` the
place of each document's first token (uint64). Shapes: batch = samples asked for, sequence = sequence_length.
"""

import os
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tasks.manifest import Manifest

TOKEN_BYTES_FILE = "token_bytes.npy"
COUNT_TOKENS = 1 << 22
"""Tokens counted at once by `byte_count`."""


def token_dtype(vocab_size: int) -> str:
    """`uint16` where every token id fits, else `uint32`."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def index_name(shard: str) -> str:
    return shard.removesuffix(".bin") + ".documents.npy"


class ShardWriter:
    """Writes one split; a shard ends at a document boundary before it would exceed `shard_tokens`."""

    def __init__(self, folder: Path, split: str, dtype: str, shard_tokens: int) -> None:
        self.folder, self.split, self.shard_tokens = folder, split, shard_tokens
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.shards: list[str] = []
        self.num_tokens = self.num_documents = 0
        self._file: BinaryIO | None = None
        self._starts, self._in_shard = array("Q"), 0

    def add(self, tokens: np.ndarray) -> None:
        """Append one document, its end-of-text token included."""
        if self._file is None or (self._in_shard and self._in_shard + len(tokens) > self.shard_tokens):
            self.close()
            self.shards.append(f"{self.split}-{len(self.shards):05d}.bin")
            self._file = (self.folder / self.shards[-1]).open("wb")
        self._starts.append(self._in_shard)
        self._file.write(tokens.astype(self.dtype).tobytes())
        self._in_shard += len(tokens)
        self.num_tokens += len(tokens)
        self.num_documents += 1

    def close(self) -> None:
        """Finish the shard that is open, if one is."""
        if self._file is None:
            return
        sync_and_close(self._file)
        with (self.folder / index_name(self.shards[-1])).open("wb") as index:
            np.save(index, np.frombuffer(self._starts, dtype=np.uint64).astype("<u8"))
            index.flush()
            os.fsync(index.fileno())
        self._file, self._starts, self._in_shard = None, array("Q"), 0


def sync_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


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
