"""The two engines give the same rows, and neither's memory grows with the text."""

import numpy as np
import pytest
from tokenizers import Tokenizer, processors

from tasks.data.tokens import engines as encoding_engines
from tasks.data.tokens.engines import GigatokenEngine, TokenizersEngine, groups
from tasks.data.tokens.tokenizer import train_tokenizer
from tests.kit.preparations import sentences

TEXTS = [*sentences(30), "", "<|endoftext|> and <|user|>", "日本語", ""]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(sentences(300), 400, 10_000_000).tokenizer


def buffers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), np.cumsum([0, *map(len, encoded)])


def rows_of(found: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    ids, places = found
    assert (ids.dtype, places.dtype) == (np.uint32, np.int64)
    return [ids[places[n] : places[n + 1]].tolist() for n in range(len(places) - 1)]


def expected(tokenizer: Tokenizer) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]


@pytest.mark.parametrize("engine", [GigatokenEngine, TokenizersEngine])
def test_rows(engine, tokenizer):
    made = engine(tokenizer)
    assert made.name.split(" ")[0] in ("gigatoken", "tokenizers")
    assert rows_of(made.rows(*buffers(TEXTS))) == expected(tokenizer)
    data, offsets = buffers(TEXTS)
    assert rows_of(made.rows(data, offsets[5:9])) == expected(tokenizer)[5:8]
    assert rows_of(made.rows(*buffers([]))) == []


def test_a_process_with_the_machine_to_itself(tokenizer):
    assert rows_of(GigatokenEngine(tokenizer, parallel=True).rows(*buffers(TEXTS))) == expected(tokenizer)


def test_tokenizers_gets_a_bounded_group(tokenizer, monkeypatch):
    monkeypatch.setattr(encoding_engines, "GROUP_BYTES", 100)
    _, offsets = buffers(TEXTS)
    cut = list(groups(offsets))
    assert [number for first, end in cut for number in range(first, end)] == list(range(len(TEXTS)))
    assert len(cut) > 10 and all(offsets[end] - offsets[first] <= 100 for first, end in cut)
    assert list(groups(np.array([0, 5, 500, 505]))) == [(0, 1), (1, 2), (2, 3)]
    assert rows_of(TokenizersEngine(tokenizer).rows(*buffers(TEXTS))) == expected(tokenizer)


def test_nothing_is_added_or_cut_off(tokenizer):
    wrapped = Tokenizer.from_str(tokenizer.to_str())
    wrapped.post_processor = processors.TemplateProcessing(single=["<|user|>", "$A"], special_tokens=[("<|user|>", 2)])
    wrapped.enable_truncation(5)
    assert rows_of(GigatokenEngine(wrapped).rows(*buffers(TEXTS))) == expected(tokenizer)


def test_a_cache_that_has_grown_is_thrown_away(tokenizer, monkeypatch):
    engine = GigatokenEngine(tokenizer)
    first = engine._tokenizer
    engine.rows(*buffers(TEXTS))
    assert engine._tokenizer is first
    sizes = iter([engine._own_bytes + encoding_engines.CACHE_BYTES + 1, engine._own_bytes])
    monkeypatch.setattr(encoding_engines, "own_bytes", sizes.__next__)
    assert rows_of(engine.rows(*buffers(TEXTS))) == expected(tokenizer)
    assert engine._tokenizer is not first
