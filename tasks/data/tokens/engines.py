"""The two libraries that turn text into token ids, behind one function: `rows(data, offsets)`.

Text i is the UTF-8 bytes `data[offsets[i]:offsets[i + 1]]` (uint8, int64). The result is the ids of all texts, uint32, and the
place where each text's ids begin, int64 of shape (texts + 1,). Neither adds special tokens, and both take special tokens
within a text for ordinary characters.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import psutil
from tokenizers import Tokenizer

try:
    import awkward
    import gigatoken
except ImportError:  # no wheel for this platform: `tokenizers` does it
    gigatoken = None  # type: ignore[assignment]  # mypy gives a module no other type

Rows = tuple[np.ndarray, np.ndarray]
CACHE_BYTES = 256 << 20
"""gigatoken remembers every word that it has seen; when the process has grown by so much, it is told to forget them.

57 MB of novels left 10 MB, 100 MB of random letters about 750. It takes a fifth of a second to begin anew, and as much to see
the frequent words again.
"""
GROUP_BYTES = 4 << 20
"""Text that `tokenizers` gets at once: what it returns takes more than a hundred bytes for a token."""


class Engine(Protocol):
    name: str

    def rows(self, data: np.ndarray, offsets: np.ndarray) -> Rows: ...


class TokenizersEngine:
    """The library that defines what the ids are."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.name = f"tokenizers {version('tokenizers')}"
        self._tokenizer = tokenizer

    def rows(self, data: np.ndarray, offsets: np.ndarray) -> Rows:
        found, lengths = [np.zeros(0, dtype=np.uint32)], []
        for first, end in groups(offsets):
            texts = [str(data[offsets[n] : offsets[n + 1]].data, "utf-8") for n in range(first, end)]
            for encoded in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                found.append(np.array(encoded.ids, dtype=np.uint32))
                lengths.append(len(found[-1]))
        return np.concatenate(found), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def groups(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of texts with at most GROUP_BYTES each, or one that alone is longer."""
    first = 0
    while first < len(offsets) - 1:
        end = max(first + 1, int(np.searchsorted(offsets, offsets[first] + GROUP_BYTES, side="right")) - 1)
        yield first, end
        first = end


class GigatokenEngine:
    """Fifty to two hundred times as fast; raises an exception of its own for a tokenizer that it does not know."""

    def __init__(self, tokenizer: Tokenizer, parallel: bool = False) -> None:
        self.name = f"gigatoken {version('gigatoken')}"
        self._json = without_special_tokens(tokenizer)
        self._parallel = parallel
        self._begin()

    def _begin(self) -> None:
        self._tokenizer: Any = None  # the old one's memory is free before a new one is made
        self._tokenizer = gigatoken.Tokenizer.from_json(self._json)
        self._own_bytes = own_bytes()

    def rows(self, data: np.ndarray, offsets: np.ndarray) -> Rows:
        if own_bytes() - self._own_bytes > CACHE_BYTES:
            self._begin()
        characters = awkward.contents.NumpyArray(data, parameters={"__array__": "char"})
        strings = awkward.contents.ListOffsetArray(
            awkward.index.Index64(offsets), characters, parameters={"__array__": "string"}
        )
        found = self._tokenizer.encode_batch(awkward.Array(strings), parallel=self._parallel).layout
        return np.asarray(found.content.data), np.asarray(found.offsets.data)


def own_bytes() -> int:
    """Resident memory of this process without the files that it maps, where the system tells them apart."""
    memory = psutil.Process().memory_info()
    return memory.rss - getattr(memory, "shared", 0)


def without_special_tokens(tokenizer: Tokenizer) -> str:
    """The tokenizer.json in which a special token's text is nothing special, and nothing is added to a text."""
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    return json.dumps(content | {"post_processor": None, "truncation": None, "padding": None})
