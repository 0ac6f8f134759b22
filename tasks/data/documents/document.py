"""Document files: cleaned text between the steps of a preparation, as Arrow IPC files that are read without copying.

Columns: `text`, `where` (place in the input, for people), `language` (code, or empty), `digest` (SHA-256 of the text).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("where", pa.string()),
        ("language", pa.string()),
        ("digest", pa.binary(32)),
    ]
)
BATCH_BYTES = 4 << 20
"""Text in one record batch: what a reader holds at a time."""
BATCH_DOCUMENTS = 4096


@dataclass(frozen=True)
class Document:
    text: str
    where: str
    language: str
    digest: bytes


class DocumentWriter:
    """Writes documents one after the other into one file; `close` waits until it is on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_documents = self.num_bytes = 0
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(self._file, SCHEMA)
        self._waiting: list[Document] = []
        self._waiting_bytes = 0

    def add(self, document: Document) -> None:
        self._waiting.append(document)
        size = len(document.text.encode())
        self.num_documents += 1
        self.num_bytes += size
        self._waiting_bytes += size
        if self._waiting_bytes >= BATCH_BYTES or len(self._waiting) >= BATCH_DOCUMENTS:
            self._flush()

    def _flush(self) -> None:
        columns = [[getattr(d, name) for d in self._waiting] for name in SCHEMA.names]
        arrays = [pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        self._waiting, self._waiting_bytes = [], 0

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


@contextmanager
def open_documents(path: Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """A document file, memory-mapped: its batches are views of the file, valid while this is open."""
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        yield reader


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batch after batch of a document file."""
    with open_documents(path) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
