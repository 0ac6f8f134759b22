"""From raw text to token shards: read, clean, de-duplicate, split, train or take a tokenizer, tokenise, count.

The source is read twice: up to `training_characters` for the tokenizer, then whole. Nothing but digests of documents and
their places in the shards grows with the corpus.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config import DataConfig, TokenizerConfig
from tasks.data.card import dataset_card
from tasks.data.cleaning import Counts, Document, clean_documents
from tasks.data.hub import read_huggingface
from tasks.data.shard_writer import ShardWriter, index_name, token_dtype
from tasks.data.shards import TOKEN_BYTES_FILE
from tasks.data.sources import Meter, read_rows, read_text, string_at
from tasks.data.tokenizer import TextTokenizer, save_tokenizer, take_tokenizer, token_bytes, train_tokenizer
from tasks.errors import DataError
from tasks.manifest import Manifest, Request, file_entries

SPLITS = ("train", "heldout")
TOKENIZER_FOLDER = "tokenizer"
CARD_FILE = "data_card.md"
BATCH_CHARACTERS = 1_000_000
"""Characters tokenised at once; a longer document is tokenised in pieces."""
TRAINING_SHARE = 0.3
"""Of the progress bar, for training the tokenizer."""

Report = Callable[[float, str], None]


@dataclass
class Totals:
    """What went into the shards."""

    characters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    table_bytes: int = 0
    """Bytes of the text as the table of token bytes has it."""


def prepare_dataset(request: Request, folder: Path, report: Report) -> Manifest:
    """Write the data set that `request` (kind `prepare`) asks for into the empty `folder`; returns its manifest.

    Raises DataError for anything that is wrong with the input.
    """
    data, settings = prepare_settings(request)
    source = request.identity["source"]
    tokenizer = make_tokenizer(data, settings, source, report)
    save_tokenizer(tokenizer, folder / TOKENIZER_FOLDER)
    table = token_bytes(tokenizer)
    np.save(folder / TOKEN_BYTES_FILE, table)

    meter, counts, totals = Meter(), Counts(), Totals()
    dtype = token_dtype(tokenizer.vocab_size)
    writers = {split: ShardWriter(folder, split, dtype, data.shard_tokens) for split in SPLITS}
    documents = read_documents(data, source, meter, counts)
    for batch in batches(documents):
        write_batch(batch, tokenizer, table, writers, totals)
        begun = TRAINING_SHARE if settings.path is None else 0.0
        report(begun + (1 - begun) * 0.98 * meter.fraction, f"tokenising: {counts.kept:,} documents")
    for writer in writers.values():
        writer.close()
    counts.check()
    check_split(data, counts, writers)
    return describe(request, folder, tokenizer, writers, counts, totals)


def prepare_settings(request: Request) -> tuple[DataConfig, TokenizerConfig]:
    """The configuration as it was: its identity and the paths, which are not part of that."""
    return (
        DataConfig(path=request.execution["data_path"], **request.identity["data"]),
        TokenizerConfig(path=request.execution["tokenizer_path"], **request.identity["tokenizer"]),
    )


def read_documents(data: DataConfig, source: dict[str, Any], meter: Meter, counts: Counts) -> Iterator[Document]:
    texts = islice(read_texts(data, source, meter), data.max_documents)
    return clean_documents(texts, data.min_characters, data.heldout_fraction, counts)


def read_texts(data: DataConfig, source: dict[str, Any], meter: Meter) -> Iterator[str]:
    """The raw text of every document of the source, one after the other."""
    if data.source == "text":
        return read_text(data.path or "", "data.path", meter)
    column = "text" if data.source == "sample" else data.text_column
    if data.source == "huggingface":
        rows = read_huggingface(data, source, meter)
    else:
        rows = read_rows(data.source, data.path, (column,), "data.path", meter)
    return (string_at(row, column) for row in rows)


def make_tokenizer(data: DataConfig, settings: TokenizerConfig, source: dict[str, Any], report: Report) -> TextTokenizer:
    """The given tokenizer, or one trained on the training split alone."""
    if settings.path is not None:
        return take_tokenizer(settings.path)
    meter, counts = Meter(), Counts()

    def training_texts() -> Iterator[str]:
        characters = 0
        for document in read_documents(data, source, meter, counts):
            if not document.held_out:
                characters += len(document.text)
                yield document.text
                fraction = max(meter.fraction, characters / settings.training_characters)
                report(0.5 * TRAINING_SHARE * min(1.0, fraction), f"reading text for the tokenizer: {counts.kept:,} documents")
        report(0.5 * TRAINING_SHARE, f"training the tokenizer: {characters:,} characters read")

    return train_tokenizer(training_texts(), settings.trained_vocab_size, settings.training_characters)


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in groups of at most BATCH_CHARACTERS, or one that alone is longer."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        if batch and characters + len(document.text) > BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += len(document.text)
    if batch:
        yield batch


def write_batch(
    batch: list[Document], tokenizer: TextTokenizer, table: np.ndarray, writers: dict[str, ShardWriter], totals: Totals
) -> None:
    for document, tokens in zip(batch, encode(batch, tokenizer), strict=True):
        writers[document.split].add(tokens)
        totals.characters[document.split] += len(document.text)
        totals.bytes[document.split] += len(document.text.encode())
        totals.table_bytes += int(table[tokens].sum(dtype=np.int64))


def encode(batch: list[Document], tokenizer: TextTokenizer) -> Iterator[np.ndarray]:
    """[end-of-text, t1 .. tn] of each document, int64."""
    first = np.array([tokenizer.end_of_text_id], dtype=np.int64)
    if len(batch) == 1:
        parts = [tokenizer.tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces(batch[0].text)]
        yield np.concatenate([first, *(np.array(part, dtype=np.int64) for part in parts)])
        return
    for encoded in tokenizer.tokenizer.encode_batch_fast([d.text for d in batch], add_special_tokens=False):
        yield np.concatenate([first, np.array(encoded.ids, dtype=np.int64)])


def pieces(text: str) -> Iterator[str]:
    """`text` in parts of at most BATCH_CHARACTERS, cut before a line end or a space where there is one."""
    while len(text) > BATCH_CHARACTERS:
        cut = max(text.rfind("\n", 1, BATCH_CHARACTERS), text.rfind(" ", 1, BATCH_CHARACTERS))
        cut = cut if cut > 0 else BATCH_CHARACTERS
        yield text[:cut]
        text = text[cut:]
    yield text


def check_split(data: DataConfig, counts: Counts, writers: dict[str, ShardWriter]) -> None:
    """Raises DataError if nothing is left, or one side of the split is empty."""
    where = "the sample" if data.path is None else f"data.path={data.path!r}"
    if counts.kept == 0:
        dropped = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.dropped.items())) or "none dropped"
        raise DataError(
            f"{where} has nothing left after cleaning: {counts.read} documents read ({dropped}), 0 kept; "
            f"give other text, or lower data.min_characters={data.min_characters}"
        )
    held_out, train = writers["heldout"].num_documents, writers["train"].num_documents
    if not (held_out and train):
        raise DataError(
            f"{where} has too few documents to split: {counts.kept} kept documents with data.heldout_fraction="
            f"{data.heldout_fraction} give {train} to train on and {held_out} to hold out, and each needs at least 1; "
            "give more documents or change data.heldout_fraction"
        )


def describe(
    request: Request, folder: Path, tokenizer: TextTokenizer, writers: dict[str, ShardWriter], counts: Counts, totals: Totals
) -> Manifest:
    """The data card, and the manifest that lists everything in `folder`."""
    num_bytes, num_tokens = sum(totals.bytes.values()), sum(writer.num_tokens for writer in writers.values())
    metrics: dict[str, float | int | None] = {
        "vocab_size": tokenizer.vocab_size,
        "read_documents": counts.read,
        "kept_documents": counts.kept,
        "bytes_per_token": num_bytes / num_tokens,
        "token_bytes_error": totals.table_bytes / num_bytes - 1.0,
    }
    for split, writer in writers.items():
        metrics |= {
            f"{split}_tokens": writer.num_tokens,
            f"{split}_documents": writer.num_documents,
            f"{split}_bytes": totals.bytes[split],
            f"{split}_characters": totals.characters[split],
        }
    details = {
        "dtype": token_dtype(tokenizer.vocab_size),
        "shards": {split: writer.shards for split, writer in writers.items()},
        "end_of_text_id": tokenizer.end_of_text_id,
        "end_of_text": tokenizer.end_of_text,
        "pad": tokenizer.pad,
        "token_bytes": "exact" if totals.table_bytes == num_bytes else "approximate",
        "dropped": dict(sorted(counts.dropped.items())),
        "source": request.identity["source"],
    }
    (folder / CARD_FILE).write_text(dataset_card(request, metrics, details), encoding="utf-8")
    files = [folder / CARD_FILE, folder / TOKEN_BYTES_FILE, *sorted((folder / TOKENIZER_FOLDER).iterdir())]
    for writer in writers.values():
        files += [folder / name for shard in writer.shards for name in (shard, index_name(shard))]
    return Manifest(
        kind=request.kind,
        request_digest=request.digest,
        inputs=request.inputs,
        files=file_entries(folder, files),
        metrics=metrics,
        details=details,
    )
