"""Writing token shards: documents one after the other, in files that `shards.TokenDataset` maps.

A document is written as [end-of-text, t1 .. tn]: so every token of its text is a target within its own context, and its
end is the target of its last token. `SPLIT-00000.bin` holds the tokens (little-endian), `SPLIT-00000.documents.npy` the
place of each document's first token (uint64).
"""

import os
from array import array
from pathlib import Path
from typing import BinaryIO

import numpy as np


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
