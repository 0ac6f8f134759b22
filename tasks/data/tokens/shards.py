"""Token shards (as `shard_writer` writes them) in memory-mapped files, read as one virtual stream.

Nothing here reads beyond the end of a file or hands on what no document can hold: whether the bytes are the right ones is
for `manifest.verify` to say.

Shapes: batch = samples asked for, sequence = sequence_length.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.tokens.shard_writer import index_name
from tasks.record.errors import IntegrityError
from tasks.record.files import check_size
from tasks.record.manifest import Manifest

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


class MappedArray:
    """One-dimensional values in a file that is mapped into memory."""

    def __init__(self, folder: Path, name: str, manifest: Manifest, dtype: str) -> None:
        """Raises IntegrityError if the file is gone, not as long as it should be, or has other values than `dtype`."""
        self.path = folder / name
        if (entry := next((entry for entry in manifest.files if entry.path == name), None)) is not None:
            check_size(self.path, entry)
        try:
            if name.endswith(".npy"):
                array = np.load(self.path, mmap_mode="r", allow_pickle=False)
            else:
                array = np.memmap(self.path, dtype=dtype, mode="r")
        except Exception as error:  # noqa: BLE001 (numpy parses a header as Python: one flipped bit raises six kinds of errors)
            reason = getattr(error, "strerror", None) or error
            raise damaged(self.path, f"cannot be read as an array ({reason})") from None
        if array.ndim != 1 or array.dtype != np.dtype(dtype):
            raise damaged(self.path, f"is an array of {array.dtype} {array.shape} and must be a row of {dtype}")
        self._values = np.asarray(array)
        self._mapping: mmap.mmap = array.base

    def __len__(self) -> int:
        return len(self._values)

    @property
    def values(self) -> np.ndarray:
        """Raises IntegrityError if the file has become shorter: touching what is gone would end the process (SIGBUS)."""
        if (size := self._mapping.size()) < len(self._mapping):
            raise damaged(self.path, f"has {size} bytes and had {len(self._mapping)} when it was opened")
        return self._values


def damaged(path: Path, fault: str) -> IntegrityError:
    return IntegrityError(f"{path} {fault}; it is damaged, restore it or make it again")


class TokenDataset:
    """The sequences of one split: sequence i is tokens [i x sequence_length, (i + 1) x sequence_length) of its stream.

    All documents are one stream, or those of each source are one; sequences are numbered stream after stream.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str, sequence_length: int, by_source: bool = False) -> None:
        """With `by_source` no sequence reaches from one of the manifest's sources into the next.

        Raises IntegrityError for a file that is gone, has another length than its manifest or index says, or is no array.
        """
        self.sequence_length = sequence_length
        dtype = np.dtype(manifest.details["dtype"]).newbyteorder("<").str
        streams = [manifest.details["shards"][split]]
        if by_source and (sources := manifest.details.get("sources")):
            streams = [source["shards"].get(split, []) for source in sources]
        names = [name for stream in streams for name in stream]
        self._shards = [MappedArray(folder, name, manifest, dtype) for name in names]
        self._starts = [MappedArray(folder, index_name(name), manifest, "<u8") for name in names]
        for shard, starts in zip(self._shards, self._starts, strict=True):
            if len(starts) and not 0 <= (last := int(starts.values[-1])) < len(shard):
                raise damaged(starts.path, f"begins a document at place {last} of {len(shard)} in {shard.path.name}")
        self._ends = np.cumsum([0, *map(len, self._shards)], dtype=np.int64)
        """Place at which shard i ends, and shard i + 1 begins, at [i + 1]."""
        self._token_bytes = np.array(MappedArray(folder, TOKEN_BYTES_FILE, manifest, "<u2").values)
        self._stream_starts = self._ends[np.cumsum([0, *map(len, streams)])]
        self.num_tokens = int(self._ends[-1])
        self.sizes = [max(0, (int(n) - 1) // sequence_length) for n in np.diff(self._stream_starts)]
        """Sequences of each stream."""
        self.num_sequences = sum(self.sizes)

    def read(self, sample_ids: np.ndarray) -> Batch:
        """The sequences of those ids, in their order.

        Raises IndexError for an id that is not in [0, num_sequences), IntegrityError for a file that has become shorter and
        for a token that is not in the vocabulary.
        """
        ids = np.asarray(sample_ids, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_sequences):
            raise IndexError(f"sample ids must be in [0, {self.num_sequences}), and are {ids.tolist()}")
        shape = (len(ids), self.sequence_length)
        batch = Batch(*(np.empty(shape, dtype=np.int64) for _ in range(3)))
        firsts = self._first_places(ids)
        low, high = self._ends.searchsorted(np.stack([firsts, firsts + self.sequence_length]), side="right") - 1
        for number in sorted({n for a, b in zip(low.tolist(), high.tolist(), strict=True) for n in range(a, b + 1)}):
            shard, starts, base = self._shards[number].values, self._starts[number].values, int(self._ends[number])
            copy_rows(firsts, base, shard, starts.view(np.int64), batch.input_ids, batch.labels, batch.position_ids)
        # Every input but the first is a label too.
        for tokens, first in ((batch.input_ids[:, :1], 0), (batch.labels, 1)):
            if tokens.size and tokens.max() >= len(self._token_bytes):
                row, column = np.argwhere(tokens >= len(self._token_bytes))[0]
                raise self._unknown_token(int(tokens[row, column]), int(firsts[row] + column + first))
        return batch

    def byte_count(self, num_sequences: int) -> int:
        """UTF-8 bytes of the text of the target tokens of the first `num_sequences` sequences.

        Exact where the manifest's `token_bytes` is `exact`, as it is for every byte-level tokenizer.
        """
        total, left = 0, num_sequences
        for start, size in zip(self._stream_starts.tolist(), self.sizes, strict=False):
            taken = min(left, size)
            total += self._bytes_between(start + 1, start + 1 + taken * self.sequence_length)
            left -= taken
        return total

    def _first_places(self, ids: np.ndarray) -> np.ndarray:
        """Place of the first token of each sequence among all tokens."""
        if len(self.sizes) == 1:
            return ids * self.sequence_length
        ends = np.cumsum(self.sizes)
        streams = ends.searchsorted(ids, side="right")
        return self._stream_starts[streams] + (ids - (ends - self.sizes)[streams]) * self.sequence_length

    def _unknown_token(self, token: int, place: int) -> IntegrityError:
        """`place` is counted among all tokens."""
        number = int(self._ends.searchsorted(place, side="right")) - 1
        where = f"has the token {token} at place {place - int(self._ends[number])}"
        return damaged(self._shards[number].path, f"{where}, and the vocabulary ends at {len(self._token_bytes) - 1}")

    def _bytes_between(self, low: int, high: int) -> int:
        total = 0
        for shard, base in zip(self._shards, self._ends.tolist(), strict=False):
            start, end = max(low - base, 0), min(high - base, len(shard))
            for at in range(start, end, COUNT_TOKENS):
                tokens = shard.values[at : min(at + COUNT_TOKENS, end)]
                if tokens.max() >= len(self._token_bytes):
                    raise self._unknown_token(int(tokens.max()), base + at + int(tokens.argmax()))
                total += int(self._token_bytes[tokens].sum(dtype=np.int64))
        return total


@kernel
def copy(source: np.ndarray, target: np.ndarray) -> None:
    # Over whole slices: a loop with offsets is not vectorised, and takes eight times as long.
    for i in range(len(target)):
        target[i] = source[i]


@kernel
def count_up(target: np.ndarray) -> None:
    for i in range(len(target)):
        target[i] = i


@kernel
def first_from(values: np.ndarray, low: int) -> int:
    """Index of the first of the sorted `values` that is at least `low`."""
    start, end = 0, len(values)
    while start < end:
        middle = (start + end) // 2
        if values[middle] < low:
            start = middle + 1
        else:
            end = middle
    return start


@kernel
def copy_rows(
    firsts: np.ndarray, base: int, shard: np.ndarray, starts: np.ndarray, input_ids: np.ndarray, labels: np.ndarray,
    position_ids: np.ndarray,
) -> None:  # fmt: skip
    """Fill in what one shard, which begins with a document, has of each row.

    Row r holds the tokens from place `firsts[r]` on; the shard's first token is at place `base`, and its documents start
    at `starts` (int64, counted within the shard). The last three are (batch, sequence), as in `Batch`.
    """
    length = input_ids.shape[1]
    for row in range(len(firsts)):
        # What is at `at` in the shard is in column `at + shift` of the row.
        shift = base - firsts[row]
        low, high = max(-shift, 0), min(length + 1 - shift, len(shard))
        if low >= high:
            continue
        # Of the length + 1 tokens of a row the last is no input, and the first no label.
        stop, target = min(high, length - shift), max(low, 1 - shift)
        copy(shard[low:stop], input_ids[row, low + shift : stop + shift])
        copy(shard[target:high], labels[row, target + shift - 1 : high + shift - 1])
        document = first_from(starts, low + 1)
        while low < stop:
            # Starts that are not sorted, as only damage makes them, must not leave a position without a value.
            end = max(low, min(starts[document], stop)) if document < len(starts) else stop
            count_up(position_ids[row, low + shift : end + shift])
            low, document = end, document + 1
