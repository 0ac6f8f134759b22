"""The documents of a document file that are kept after de-duplication, batch by batch, and which of them are held out."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.deduplicate import cut_file, drop_file
from tasks.data.documents.document import read_batches
from tasks.data.overlap.duplicates import KEEP
from tasks.data.overlap.paragraphs import cut_paragraphs, read_paragraphs
from tasks.data.steps import Preparation
from tasks.record.parts import Part


def kept_batches(preparation: Preparation, number: int) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Of the document file of that number, in order: documents, and for each whether it is held out, bool (documents,).

    Repeated paragraphs are cut from the texts; the digests are those of the texts as they were before.
    """
    folder = preparation.work.folder(Part("deduplicate", 0))
    file = preparation.work.document_files[number]
    dropped = np.load(drop_file(folder, number), mmap_mode="r")
    cuts, data = cut_file(folder, number), preparation.data
    marks = np.load(cuts, mmap_mode="r") if cuts.exists() else None
    starts = read_paragraphs(file.paragraphs).starts if marks is not None else np.empty(0, np.int64)
    first = 0
    for batch in read_batches(file.path):
        end = first + len(batch)
        if marks is not None:
            repeated = np.asarray(marks[starts[first] : starts[end]])
            if repeated.any():
                texts = cut_paragraphs(batch.column("text"), data.duplicates.paragraph_min_characters, repeated)
                batch = batch.set_column(0, batch.schema.field(0), texts)
        kept = batch.filter(pa.array(dropped[first:end] == KEEP))
        first = end
        if len(kept):
            yield kept, held_out_mask(digests_of(kept), data.heldout_fraction)


def document_numbers(preparation: Preparation) -> list[int]:
    """Numbers of the document files that are not of earlier data sets, in order."""
    return [number for number, file in enumerate(preparation.work.document_files) if not file.reference]


def digests_of(batch: pa.RecordBatch) -> np.ndarray:
    """SHA-256 of each text, uint8 (documents, 32)."""
    column = batch.column("digest")
    content = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return content[column.offset * 32 : (column.offset + len(column)) * 32].reshape(-1, 32)


def held_out_mask(digests: np.ndarray, fraction: float) -> np.ndarray:
    """`cleaning.is_held_out` of many digests: uint8 (documents, 32) to bool (documents,)."""
    firsts = np.ascontiguousarray(digests[:, :8]).view(">u8").reshape(-1)
    return firsts.astype(np.float64) < fraction * 2.0**64


def is_blank(batch: pa.RecordBatch) -> np.ndarray:
    """Which documents have no text left after their paragraphs were cut, bool (documents,)."""
    return pc.equal(pc.binary_length(batch.column("text")), 0).to_numpy(zero_copy_only=False)
