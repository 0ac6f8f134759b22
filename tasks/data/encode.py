"""Step 5: the kept documents of one document file as tokens, in shards of its own."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.data.documents.ngrams import text_buffers
from tasks.data.finish import SPLITS, TOKENIZER_FOLDER, TOKENIZER_PART
from tasks.data.kept import document_numbers, is_blank, kept_batches
from tasks.data.overlap.decontamination import NgramTable, overlap
from tasks.data.steps import Preparation, Report
from tasks.data.tokenizer import HELDOUT_NGRAMS_FILE
from tasks.data.tokens.document_encoding import EncodedCounts, write_batch
from tasks.data.tokens.encoding import Encoder
from tasks.data.tokens.shard_writer import ShardWriter
from tasks.data.tokens.shards import TOKEN_BYTES_FILE
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.record.parts import Part

NO_LIMIT = 1 << 62
"""Tokens in a shard: a document file is small enough."""
HELDOUT_SEEN_FILE = "heldout_seen.npy"


def encode_part(preparation: Preparation, part: Part, folder: Path, report: Report) -> dict[str, Any]:
    """Write the shards of both splits; returns their names and what is in them."""
    made = preparation.work.folder(TOKENIZER_PART)
    encoder, table = Encoder(load_tokenizer(made / TOKENIZER_FOLDER)), np.load(made / TOKEN_BYTES_FILE)
    searched = NgramTable.of(np.load(made / HELDOUT_NGRAMS_FILE))
    seen = np.zeros(len(searched.ngrams), dtype=np.bool_)
    writers = {split: ShardWriter(folder, split, encoder.dtype.name, NO_LIMIT) for split in SPLITS}
    counts = EncodedCounts({split: Counter() for split in SPLITS})
    number = document_numbers(preparation)[part.index]
    file, done, blank = preparation.work.document_files[number], 0, 0
    for batch, held_out in kept_batches(preparation, number):
        empty = is_blank(batch)
        blank += int(empty.sum())
        for split, chosen in (("train", ~held_out & ~empty), ("heldout", held_out & ~empty)):
            if chosen.any():
                documents = batch.filter(pa.array(chosen))
                write_batch(documents, encoder, writers[split], table, counts)
                if split == "train":
                    seen |= overlap(searched, *text_buffers(documents.column("text")))
        done += len(batch)
        report(done / file.documents, f"tokenising: {done:,} documents")
    for writer in writers.values():
        writer.close()
    np.save(folder / HELDOUT_SEEN_FILE, seen)
    return counts.to_json() | {
        "shards": {split: writer.shards for split, writer in writers.items()},
        "engine": encoder.name,
        "blank": blank,
    }
