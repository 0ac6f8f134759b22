"""Writing token shards: documents one after the other, in files that `shards.TokenDataset` maps.

A document is written as [end-of-text, t1 .. tn]: so every token of its text is a target within its own context, and its
end is the target of its last token. `SPLIT-00000.bin` holds the tokens (little-endian), `SPLIT-00000.documents.npy` the
place of each document's first token (uint64) and, where digests are given, `SPLIT-00000.digests.npy` the first 16 bytes of
the SHA-256 of each document's text (uint8, (documents, 16)).
"""

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

DIGEST_BYTES = 16


def token_dtype(vocab_size: int) -> str:
    """`uint16` where every token id fits, else `uint32`."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def index_name(shard: str) -> str:
    return shard.removesuffix(".bin") + ".documents.npy"


def digests_name(shard: str) -> str:
    return shard.removesuffix(".bin") + ".digests.npy"


class ShardWriter:
    """Writes one split; a shard ends at a document boundary before it would exceed `shard_tokens`."""

    def __init__(self, folder: Path, split: str, dtype: str, shard_tokens: int) -> None:
        self.folder, self.split, self.shard_tokens = folder, split, shard_tokens
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.shards: list[str] = []
        self.num_tokens = self.num_documents = 0
        self._file: BinaryIO | None = None
        self._in_shard = 0
        self._starts: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    def add(self, tokens: np.ndarray) -> None:
        """Append one document, its end-of-text token included."""
        self.add_batch(tokens, np.array([0, len(tokens)], dtype=np.int64))

    def add_batch(self, tokens: np.ndarray, offsets: np.ndarray, digests: np.ndarray | None = None) -> None:
        """Append documents, their end-of-text tokens included: document i is `tokens[offsets[i]:offsets[i + 1]]`.

        `offsets` is int64 of shape (documents + 1,). `digests` is uint8 of shape (documents, 16): for all documents or none.
        """
        done, documents = 0, len(offsets) - 1
        while done < documents:
            room = offsets[done] + self.shard_tokens - self._in_shard
            end = int(np.searchsorted(offsets, room, side="right")) - 1
            if end <= done:
                if self._in_shard:
                    self.close()
                    continue
                end = done + 1  # a document that is longer than a shard has one of its own
            self._append(tokens, offsets[done : end + 1], None if digests is None else digests[done:end])
            done = end

    def _append(self, tokens: np.ndarray, offsets: np.ndarray, digests: np.ndarray | None) -> None:
        if self._file is None:
            self.shards.append(f"{self.split}-{len(self.shards):05d}.bin")
            self._file = (self.folder / self.shards[-1]).open("wb")
        first, last = int(offsets[0]), int(offsets[-1])
        self._starts.append(offsets[:-1] + (self._in_shard - first))
        if digests is not None:
            self._digests.append(np.array(digests, dtype=np.uint8))
        self._file.write(np.ascontiguousarray(tokens[first:last], dtype=self.dtype).data)
        self._in_shard += last - first
        self.num_tokens += last - first
        self.num_documents += len(offsets) - 1

    def close(self) -> None:
        """Finish the shard that is open, if one is."""
        if self._file is None:
            return
        sync_and_close(self._file)
        write_index(self.folder / index_name(self.shards[-1]), np.concatenate(self._starts).astype("<u8"))
        if self._digests:
            write_index(self.folder / digests_name(self.shards[-1]), np.concatenate(self._digests))
        self._file, self._in_shard, self._starts, self._digests = None, 0, [], []


def write_index(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy and wait until it is on disk."""
    with path.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def sync_and_close(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
