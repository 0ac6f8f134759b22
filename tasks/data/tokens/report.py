"""How well a vocabulary fits the text: tokens per word and bytes per token by language and source, and what is never used."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.data.tokens.encoding import Encoder
from tasks.data.tokens.tokenizer import TextTokenizer, byte_values

BATCH_CHARACTERS = 1 << 20
WORD = r"[\pL\pM\pN]+"
"""Letters, marks and digits: in a script without spaces, a clause."""
MOST_ROWS = 40
"""Languages that get a row of their own; the others share one."""
COUNTS = ("documents", "characters", "bytes", "words", "tokens", "fallback_tokens")

Sampled = tuple[str, str, str]
"""Name of the source, code of the language or "", text."""


def tokenizer_report(encoder: Encoder, documents: Iterable[Sampled], characters: int = 5_000_000) -> dict[str, Any]:
    """Figures on the first `characters` of `documents`: of all, and for each language and source; numbers, names and None.

    `tokens_per_word` is what is called fertility. `byte_fallback_share` is the share of the text's bytes that are tokens of
    their own although they are only part of a character. `unused_entries` counts what the sample never needed, special tokens
    apart. End-of-text tokens are not counted.
    """
    fallback = fallback_tokens(encoder.tokenizer)
    used = np.zeros(encoder.tokenizer.vocab_size, dtype=bool)
    languages: dict[str, np.ndarray] = {}
    sources: dict[str, np.ndarray] = {}
    for batch in batches(documents, characters):
        texts = pa.array([text for _, _, text in batch], pa.large_string())
        tokens, offsets = encoder.encode(texts)
        used[tokens] = True
        rows = count(texts, fallback[tokens], offsets)
        for (source, language, _), row in zip(batch, rows, strict=True):
            add_to(languages, language or "unknown", row)
            add_to(sources, source, row)
    total = sum(sources.values(), np.zeros(len(COUNTS), dtype=np.int64))
    entries = np.ones(len(used), dtype=bool)
    entries[special_ids(encoder.tokenizer)] = False
    return {
        **figures(total),
        "vocabulary_entries": int(entries.sum()),
        "unused_entries": int((entries & ~used).sum()),
        "languages": table_rows(languages),
        "sources": table_rows(sources),
    }


def batches(documents: Iterable[Sampled], characters: int) -> Iterator[list[Sampled]]:
    """The first `characters` of the documents, in groups of about BATCH_CHARACTERS; a document is cut where they end."""
    batch: list[Sampled] = []
    size = 0
    for source, language, text in documents:
        cut = text[: min(characters, BATCH_CHARACTERS)]
        batch.append((source, language, cut))
        size, characters = size + len(cut), characters - len(cut)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        if characters <= 0:
            break
    if batch:
        yield batch


def count(texts: pa.LargeStringArray, falls_back: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """COUNTS of each text, int64 of shape (documents, counts)."""
    sums = np.concatenate([[0], np.cumsum(falls_back, dtype=np.int64)])
    columns = [
        np.ones(len(texts), dtype=np.int64),
        pc.utf8_length(texts).to_numpy(),
        pc.binary_length(texts).to_numpy(),
        pc.count_substring_regex(texts, pattern=WORD).to_numpy(),
        np.diff(offsets) - 1,
        np.diff(sums[offsets]),
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def add_to(rows: dict[str, np.ndarray], name: str, row: np.ndarray) -> None:
    rows[name] = rows[name] + row if name in rows else row


def table_rows(counted: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Figures by name, those with the most text first; what has no row of its own is summed up in the last one."""
    most = sorted(counted.items(), key=lambda item: (-int(item[1][COUNTS.index("bytes")]), item[0]))
    rows = {name: figures(row) for name, row in most[:MOST_ROWS]}
    rest = [row for _, row in most[MOST_ROWS:]]
    return rows | {f"{len(rest)} others": figures(sum(rest[1:], rest[0]))} if rest else rows


def figures(row: np.ndarray) -> dict[str, Any]:
    found = dict(zip(COUNTS, row.tolist(), strict=True))
    return {
        "documents": found["documents"],
        "bytes": found["bytes"],
        "tokens": found["tokens"],
        "tokens_per_word": ratio(found["tokens"], found["words"]),
        "bytes_per_token": ratio(found["bytes"], found["tokens"]),
        "characters_per_token": ratio(found["characters"], found["tokens"]),
        "byte_fallback_share": ratio(found["fallback_tokens"], found["bytes"]),
    }


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def special_ids(tokenizer: TextTokenizer) -> list[int]:
    return [number for number, token in tokenizer.tokenizer.get_added_tokens_decoder().items() if token.special]


def fallback_tokens(tokenizer: TextTokenizer) -> np.ndarray:
    """Which tokens stand for one byte that is no character by itself, bool of shape (vocab_size,)."""
    found = np.zeros(tokenizer.vocab_size, dtype=bool)
    for number, byte in byte_values(tokenizer).items():
        found[number] = byte >= 0x80
    found[special_ids(tokenizer)] = False
    return found
