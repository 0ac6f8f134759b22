"""Text to token ids in bulk: by `gigatoken` where it gives the ids of `tokenizers`, else by `tokenizers` itself."""

import logging
import re
from itertools import islice

import numpy as np
import pyarrow as pa

from tasks.data.documents.ngrams import text_buffers
from tasks.data.kernels.kernel import kernel
from tasks.data.tokens import engines as encoding_engines
from tasks.data.tokens.engines import Engine, GigatokenEngine, Rows, TokenizersEngine
from tasks.data.tokens.shard_writer import token_dtype
from tasks.data.tokens.tokenizer import TextTokenizer

logger = logging.getLogger(__name__)

PIECE_BYTES = 4 << 20
"""A longer document is encoded in pieces, so that memory for it is bounded."""
BORDER = re.compile(rb"[A-Za-z0-9](?= [A-Za-z0-9])|\S\n(?=\S)")
"""Where a text is cut: between two words or lines, which the patterns of byte-level tokenizers never put into one token."""
BORDER_BYTES = 1 << 16
"""How far such a place is looked for."""
CHECK_CHARACTERS, CHECK_DOCUMENT_CHARACTERS = 100_000, 5_000
"""Text that is compared with `tokenizers`: in all, and of one document. All of it takes 0.05 s."""
CHECK_ADDED_TOKENS = 64
PROBES = (
    "", " ", "a", "  two  spaces\n\n\n and\tlines \r\n\r\n", "don't we'll I'M 'S o'", "3.14159 1234567 ½ ² x1",
    "naïve café e\u0301", "日本語テキスト。\n\nمرحبا بالعالم नमस्ते", "emoji 👩‍👩‍👧 🏳️‍🌈",
    "\u00a0\u2028\u3000x\u0085\x0b\x0c\x1c\x00",
    "\u2581 ▁x <0x0A> ##y [UNK]", "a" * 1_000 + " " * 1_000 + "\n" * 100, "!?...,,,\n--- x\n!", "\ufeff\u200d\u00ad",
    "camelCase HTTPServer snake_case",
)  # fmt: skip
"""Texts on which tokenizers differ, compared whenever an encoder is made."""


class Encoder:
    """Encodes documents as they stand in shards: each begins with the end-of-text token.

    The probes, and the beginnings of the first `check_documents` documents that come, are encoded by `tokenizers` too. Where
    its ids differ, or gigatoken does not know the tokenizer, a warning says so and `tokenizers` does the rest. `parallel` is
    for a process that has the machine to itself.
    """

    def __init__(self, tokenizer: TextTokenizer, check_documents: int = 200, parallel: bool = False) -> None:
        self.tokenizer = tokenizer
        self.dtype = np.dtype(token_dtype(tokenizer.vocab_size)).newbyteorder("<")
        self._oracle = TokenizersEngine(tokenizer.tokenizer)
        self._documents_left, self._characters_left = check_documents, CHECK_CHARACTERS
        self._engine = self._choose(parallel)

    @property
    def name(self) -> str:
        """The library that runs, and its version."""
        return self._engine.name

    def _choose(self, parallel: bool) -> Engine:
        if encoding_engines.gigatoken is None:
            logger.warning("gigatoken is not installed, %s encodes, which takes fifty times as long", self._oracle.name)
            return self._oracle
        try:
            engine = GigatokenEngine(self.tokenizer.tokenizer, parallel)
        except Exception as error:  # noqa: BLE001 - any error of the library means that it does not know this tokenizer
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            logger.warning("gigatoken cannot load this tokenizer (%s), %s encodes", reason, self._oracle.name)
            return self._oracle
        added = islice(self.tokenizer.tokenizer.get_added_tokens_decoder().values(), CHECK_ADDED_TOKENS)
        return self._trusted(engine, [*PROBES, *(f"a{token.content}b {token.content} c" for token in added)])

    def encode(self, texts: pa.LargeStringArray) -> Rows:
        """Ids of all documents, uint16 or uint32 as in the shards, and int64 (documents + 1,): where each begins."""
        assert texts.null_count == 0, "a document file has no nulls"
        data, offsets = text_buffers(texts)
        if self._engine is not self._oracle and self._documents_left > 0 and self._characters_left > 0:
            self._engine = self._trusted(self._engine, self._beginnings(texts))
        pieces, firsts = cut_long(data, offsets)
        ids, places = self._engine.rows(data, pieces)
        starts = places[firsts]
        tokens = np.empty(len(ids) + len(texts), dtype=self.dtype)
        place_documents(ids, starts, self.tokenizer.end_of_text_id, tokens)
        return tokens, starts + np.arange(len(texts) + 1)

    def _beginnings(self, texts: pa.LargeStringArray) -> list[str]:
        """What of the documents is still to be compared."""
        chosen = []
        for text in texts[: self._documents_left]:
            beginning = text.as_py()[:CHECK_DOCUMENT_CHARACTERS]
            chosen.append(beginning)
            self._documents_left -= 1
            self._characters_left -= len(beginning)
            if self._characters_left <= 0:
                break
        return chosen

    def _trusted(self, engine: Engine, texts: list[str]) -> Engine:
        """`engine`, if it encodes `texts` as `tokenizers` does."""
        buffers = text_buffers(pa.array(texts, pa.large_string()))
        (found, starts), (expected, expected_starts) = engine.rows(*buffers), self._oracle.rows(*buffers)
        for number, text in enumerate(texts):
            got = found[starts[number] : starts[number + 1]]
            right = expected[expected_starts[number] : expected_starts[number + 1]]
            if not np.array_equal(got, right):
                at = first_difference(got, right)
                logger.warning(
                    "%s gives other ids than %s for the text %.60r (from token %d on: %s, not %s), so the latter encodes",
                    engine.name, self._oracle.name, text, at, got[at : at + 5].tolist(), right[at : at + 5].tolist(),
                )  # fmt: skip
                return self._oracle
        return engine


def first_difference(one: np.ndarray, other: np.ndarray) -> int:
    shorter = min(len(one), len(other))
    return int(np.append(one[:shorter] != other[:shorter], True).argmax())


def cut_long(data: np.ndarray, offsets: np.ndarray) -> Rows:
    """Offsets with a cut at least every PIECE_BYTES or so, and the place among them of each document's first and last."""
    lengths = np.diff(offsets)
    if not len(lengths) or lengths.max() <= PIECE_BYTES:
        return offsets, np.arange(len(offsets))
    cuts: list[int] = []
    for number in np.flatnonzero(lengths > PIECE_BYTES).tolist():
        at, end = int(offsets[number]), int(offsets[number + 1])
        while end - at > PIECE_BYTES:
            at = border(data, at + PIECE_BYTES, end)
            cuts.append(at)
    inside = np.array(cuts, dtype=np.int64)
    return np.sort(np.concatenate([offsets, inside])), np.arange(len(offsets)) + np.searchsorted(inside, offsets)


def border(data: np.ndarray, begin: int, end: int) -> int:
    """The first place from `begin` on to cut at; where none is near, the next character."""
    found = BORDER.search(data[begin : min(end, begin + BORDER_BYTES)].data)
    if found is not None:
        return begin + found.end()
    while begin < end and data[begin] & 0xC0 == 0x80:
        begin += 1
    return begin


@kernel
def place_documents(ids: np.ndarray, starts: np.ndarray, end_of_text: int, tokens: np.ndarray) -> None:
    """Fill `tokens` with `end_of_text` and `ids[starts[i]:starts[i + 1]]` for every document i."""
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1]
        tokens[begin + document] = end_of_text
        for place in range(begin, end):
            tokens[place + document + 1] = ids[place]


@kernel
def count_bytes(tokens: np.ndarray, table: np.ndarray) -> int:
    """Bytes of text that `tokens` stand for, by the table of `token_bytes`."""
    total = 0
    for token in tokens:
        total += table[token]
    return total
