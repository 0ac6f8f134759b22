"""Ids in bulk against those of `tokenizers`, one text at a time."""

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tasks.data.documents.ngrams import text_buffers
from tasks.data.tokens import encoding
from tasks.data.tokens import engines as encoding_engines
from tasks.data.tokens.encoding import PROBES, Encoder, count_bytes, cut_long
from tasks.data.tokens.engines import GigatokenEngine, TokenizersEngine
from tasks.data.tokens.tokenizer import END_OF_TEXT, TextTokenizer, finish, token_bytes, train_tokenizer
from tests.kit.preparations import sentences
from tests.kit.real_data import folder
from tests.unit.data.tokens.test_bpe_training import STRANGE_CHARACTERS, random_text

SPECIAL = ["<|endoftext|> <|user|> as text", "a<|pad|>b", "<|endoftext|>", "x <|assistant|>  y"]
TEXTS = [*PROBES, *sentences(50), *SPECIAL, *random_text()]


def strings(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def expected_ids(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    return [[tokenizer.end_of_text_id, *tokenizer.tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]


def ids_of(tokens: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [tokens[offsets[n] : offsets[n + 1]].tolist() for n in range(len(offsets) - 1)]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer([*sentences(300), STRANGE_CHARACTERS, "日本語 テキスト " * 5], 500, 10_000_000)


def byte_level(**settings) -> Tokenizer:
    """A small BPE; `settings` are attributes of the tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = settings.pop("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.decoder = decoders.ByteLevel()
    for name, value in settings.items():
        setattr(tokenizer, name, value)
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[END_OF_TEXT], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(sentences(100), trainer)
    return tokenizer


def test_ids_are_those_of_tokenizers(trained, caplog):
    encoder = Encoder(trained)
    tokens, offsets = encoder.encode(strings(TEXTS))
    assert encoder.name.startswith("gigatoken ") and not caplog.records
    assert (tokens.dtype, offsets.dtype) == (np.dtype("<u2"), np.int64)
    assert ids_of(tokens, offsets) == expected_ids(trained, TEXTS)
    table = token_bytes(trained)
    assert count_bytes(tokens, table) == sum(len(text.encode()) for text in TEXTS)


def test_slices_and_no_documents(trained):
    encoder = Encoder(trained)
    tokens, offsets = encoder.encode(strings(TEXTS).slice(7, 20))
    assert ids_of(tokens, offsets) == expected_ids(trained, TEXTS[7:27])
    for empty in (strings([]), strings(TEXTS).slice(3, 0)):
        tokens, offsets = encoder.encode(empty)
        assert len(tokens) == 0 and offsets.tolist() == [0]
    assert ids_of(*encoder.encode(strings(["", ""]))) == [[0], [0]]


def test_a_given_tokenizer_of_many_tokens(caplog):
    given = Tokenizer.from_file(str(folder("tokenizers", "gpt2_tokenizer.json")))
    gpt2 = finish(given, END_OF_TEXT, END_OF_TEXT)
    novel = next(folder("prose", "litbank").glob("*.txt")).read_text(encoding="utf-8")[:100_000]
    encoder = Encoder(gpt2)
    assert ids_of(*encoder.encode(strings([novel, *TEXTS]))) == expected_ids(gpt2, [novel, *TEXTS])
    assert encoder.name.startswith("gigatoken") and not caplog.records


def test_added_tokens_that_are_not_special_stay_whole(caplog):
    grown = byte_level()
    grown.add_tokens(["zebra", "Ünter"])
    taken = finish(grown, END_OF_TEXT, END_OF_TEXT)
    texts = ["a zebra, zebras", "zebra", "Ünter Ünte", *SPECIAL]
    encoder = Encoder(taken)
    assert ids_of(*encoder.encode(strings(texts))) == expected_ids(taken, texts)
    assert grown.token_to_id("zebra") in encoder.encode(strings(texts))[0]
    assert encoder.name.startswith("gigatoken") and not caplog.records


def test_ids_beyond_16_bits(caplog):
    vocabulary = {character: number for number, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary | {"th": 70_000, END_OF_TEXT: 300}, merges=[("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    taken = finish(tokenizer, END_OF_TEXT, END_OF_TEXT)
    encoder = Encoder(taken)
    tokens, offsets = encoder.encode(strings(TEXTS))
    assert tokens.dtype == np.dtype("<u4") and tokens.max() == 70_000
    assert ids_of(tokens, offsets) == expected_ids(taken, TEXTS)


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[UNK]", END_OF_TEXT]
    tokenizer.train_from_iterator(sentences(50), trainers.WordPieceTrainer(special_tokens=special, show_progress=False))
    return tokenizer


OTHERS = {
    "WordPiece": (word_piece, 'gigatoken cannot load this tokenizer .*"WordPiece".*, tokenizers .* encodes'),
    "normalizer": (lambda: byte_level(normalizer=normalizers.Lowercase()), "gigatoken cannot load this tokenizer .*Lowercase"),
    "no pattern": (
        lambda: byte_level(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
        r"gigatoken .* gives other ids than tokenizers .* for the text .* \(from token \d+ on: \[.*\], not \[.*\]\), so",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_gigatoken_does_not_do_tokenizers_does(kind, caplog):
    make, message = OTHERS[kind]
    taken = finish(make(), END_OF_TEXT, END_OF_TEXT)
    encoder = Encoder(taken)
    assert re.search(message, caplog.text)
    assert encoder.name.startswith("tokenizers ")
    assert ids_of(*encoder.encode(strings(TEXTS))) == expected_ids(taken, TEXTS)


def test_without_the_library_tokenizers_encodes(trained, monkeypatch, caplog):
    monkeypatch.setattr(encoding_engines, "gigatoken", None)
    encoder = Encoder(trained)
    assert "gigatoken is not installed" in caplog.text and encoder.name.startswith("tokenizers")
    assert ids_of(*encoder.encode(strings(TEXTS))) == expected_ids(trained, TEXTS)


def test_a_difference_in_the_first_documents_is_found(trained, monkeypatch, caplog):
    def rows(engine: GigatokenEngine, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids, places = true_rows(engine, data, offsets)
        return np.where(ids == wrong, 4, ids).astype(np.uint32), places

    true_rows, wrong = GigatokenEngine.rows, trained.tokenizer.token_to_id("Q")
    monkeypatch.setattr(GigatokenEngine, "rows", rows)
    texts = ["nothing"] * 5 + ["has a Q"]
    unchecked = Encoder(trained, check_documents=5)
    assert ids_of(*unchecked.encode(strings(texts))) != expected_ids(trained, texts)
    assert not caplog.records
    encoder = Encoder(trained, check_documents=6)
    assert ids_of(*encoder.encode(strings(texts))) == expected_ids(trained, texts)
    assert f"'has a Q' (from token {len(expected_ids(trained, ['has a Q'])[0]) - 2} on: [4], not [{wrong}])" in caplog.text
    assert encoder.name.startswith("tokenizers")


def test_a_long_document_is_cut_between_words(trained, monkeypatch, caplog):
    monkeypatch.setattr(encoding, "PIECE_BYTES", 500)
    monkeypatch.setattr(encoding_engines, "GROUP_BYTES", 700)
    prose = " ".join(sentences(60))
    lines = "\n".join("日本語テキスト。" * 3 for _ in range(40))
    texts = ["", prose, "", "short", lines, prose + "\n\n" + prose, ""]
    data, offsets = text_buffers(strings(texts))
    pieces, firsts = cut_long(data, offsets)
    assert np.array_equal(pieces[firsts], offsets)
    assert len(pieces) > len(offsets) + 10 and np.diff(pieces).max() < 700
    for encoder in (Encoder(trained), tokenizers_only(trained, monkeypatch)):
        assert ids_of(*encoder.encode(strings(texts))) == expected_ids(trained, texts)
    unbroken = "日本" * 1_000
    pieces, _ = cut_long(*text_buffers(strings([unbroken])))
    assert "".join(unbroken.encode()[a:b].decode() for a, b in pairwise(pieces)) == unbroken
    assert len(pieces) == 13


def tokenizers_only(trained: TextTokenizer, monkeypatch) -> Encoder:
    encoder = Encoder(trained)
    encoder._engine = TokenizersEngine(trained.tokenizer)
    return encoder
