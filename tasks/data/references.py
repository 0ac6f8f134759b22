"""Documents of an earlier data set, decoded from its shards: what is known already is not taken again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.data.documents.cleaning import text_digest
from tasks.data.documents.document import Document
from tasks.data.tokens.shard_writer import index_name
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.record.manifest import Manifest

DECODED_DOCUMENTS = 256


def read_reference(dataset: Path, shard: str) -> Iterator[Document]:
    """The documents of one shard as text: exactly what was tokenised where the tokenizer is byte-level."""
    manifest = Manifest.read(dataset / "manifest.json")
    tokenizer = load_tokenizer(dataset / "tokenizer").tokenizer
    tokens = np.memmap(dataset / shard, dtype=np.dtype(manifest.details["dtype"]).newbyteorder("<"), mode="r")
    starts = np.load(dataset / index_name(shard), mmap_mode="r").astype(np.int64)
    ends = np.append(starts[1:], len(tokens))
    for first in range(0, len(starts), DECODED_DOCUMENTS):
        chosen = range(first, min(first + DECODED_DOCUMENTS, len(starts)))
        ids = [tokens[starts[n] + 1 : ends[n]].tolist() for n in chosen]  # the first token says that a document starts
        for number, text in zip(chosen, tokenizer.decode_batch(ids, skip_special_tokens=False), strict=True):
            yield Document(text, f"{dataset.name}/{shard} document {number}", "", text_digest(text))
