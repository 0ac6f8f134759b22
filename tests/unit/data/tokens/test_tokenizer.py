"""Training, taking and saving tokenizers."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig

from tasks.data.tokens.tokenizer import (
    byte_values,
    is_byte_level,
    load_tokenizer,
    save_tokenizer,
    take_tokenizer,
    token_bytes,
    train_tokenizer,
)
from tasks.record.errors import DataError
from tests.kit.preparations import sentences

STRANGE = ["naïve café", "日本語 テキスト", "emoji 👩‍👩‍👧 🏳️‍🌈", "tabs\tand\n\n newlines  "]
STRANGE += ["<|endoftext|> <|user|> as text", "\u2581"]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(sentences(300), 400, 10_000_000)


def test_training_is_deterministic_and_bounded(trained, tmp_path):
    for threads in (1, 3):
        again = train_tokenizer(iter(sentences(300)), 400, 10_000_000, tmp_path, threads)
        assert again.tokenizer.to_str() == trained.tokenizer.to_str()
    assert not list(tmp_path.iterdir()), "the sample is gone"
    assert trained.vocab_size == 400
    short = train_tokenizer(sentences(300), 400, 50)
    assert short.vocab_size < 300, "50 characters have few pairs that occur twice"


def test_text_survives_and_special_tokens_in_it_are_ordinary(trained):
    for text in STRANGE:
        ids = trained.tokenizer.encode(text, add_special_tokens=False).ids
        assert trained.tokenizer.decode(ids, skip_special_tokens=False) == text
        assert min(ids) > 3, "the special tokens are 0 to 3"
    assert trained.tokenizer.encode("x").ids[0] == trained.end_of_text_id == 0


def test_token_bytes_are_exact(trained):
    table = token_bytes(trained)
    assert table.dtype == np.uint16
    assert table[:4].tolist() == [0, 0, 0, 0]
    for text in [*STRANGE, *sentences(20)]:
        ids = trained.tokenizer.encode(text, add_special_tokens=False).ids
        assert table[ids].sum() == len(text.encode())


def test_every_byte_has_a_token(trained):
    values = byte_values(trained)
    assert sorted(values.values()) == list(range(256))
    for text in ("\n", " ", "~", "A", "é", "日"):
        token = trained.tokenizer.encode(text, add_special_tokens=False).ids[0]
        assert values[token] == text.encode()[0]
    alphabet = {trained.tokenizer.id_to_token(token) for token in values}
    assert alphabet == set(pre_tokenizers.ByteLevel.alphabet())


def test_the_saved_folder_is_what_transformers_loads(trained, tmp_path):
    folder = tmp_path / "tokenizer"
    save_tokenizer(trained, folder)
    LlamaConfig(vocab_size=400).save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    assert len(loaded) == trained.vocab_size == 400
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<|endoftext|>", "<|endoftext|>", "<|pad|>")
    for text in [*STRANGE[:4], *sentences(5)]:
        expected = trained.tokenizer.encode(text, add_special_tokens=False).ids
        assert loaded(text)["input_ids"] == [0, *expected]
        assert loaded.encode(text, add_special_tokens=False) == expected
        assert loaded.decode(expected) == text
    ours = load_tokenizer(folder)
    assert ours.tokenizer.to_str() == trained.tokenizer.to_str()
    assert ours.tokenizer.encode("<|user|>", add_special_tokens=False).ids[0] > 3
    loaded.save_pretrained(tmp_path / "exported")
    exported = load_tokenizer(tmp_path / "exported")
    assert exported.end_of_text_id == 0
    assert exported.tokenizer.encode(STRANGE[0]).ids == trained.tokenizer.encode(STRANGE[0]).ids


def test_a_given_tokenizer_keeps_its_vocabulary_and_its_end_of_text(trained, tmp_path):
    trained.tokenizer.save(str(tmp_path / "tokenizer.json"))
    taken = take_tokenizer(str(tmp_path / "tokenizer.json"))
    assert (taken.vocab_size, taken.end_of_text, taken.pad, taken.pad_id) == (400, "<|endoftext|>", "<|endoftext|>", 0)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|user|>"}, "pad_token": "<|pad|>"}))
    taken = take_tokenizer(str(tmp_path))
    assert (taken.end_of_text, taken.end_of_text_id, taken.pad, taken.pad_id) == ("<|user|>", 2, "<|pad|>", 1)


def test_added_tokens_count(trained, tmp_path):
    grown = Tokenizer.from_str(trained.tokenizer.to_str())
    grown.add_tokens(["zebra"])
    grown.save(str(tmp_path / "tokenizer.json"))
    taken = take_tokenizer(str(tmp_path))
    assert taken.vocab_size == 401
    assert token_bytes(taken)[400] == 5


def word_level(end_of_text: str | None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[UNK]"] + ([end_of_text] if end_of_text else [])
    tokenizer.train_from_iterator(["the cat sat"], trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    return tokenizer


def test_a_tokenizer_without_end_of_text_is_refused(tmp_path):
    word_level(None).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"has no end-of-text token .*<\|endoftext\|>.*eos_token"):
        take_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
    with pytest.raises(DataError, match="eos_token '<end>' is not in its vocabulary"):
        take_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config\.json is not valid JSON"):
        take_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(DataError, match=r"no tokenizer\.json that can be read"):
        take_tokenizer(str(tmp_path))


def test_a_tokenizer_that_is_not_byte_level_is_known_as_such(trained, tmp_path):
    word_level("</s>").save(str(tmp_path / "tokenizer.json"))
    taken = take_tokenizer(str(tmp_path))
    assert not is_byte_level(taken.tokenizer)
    assert is_byte_level(trained.tokenizer)
    table = token_bytes(taken)
    assert table[taken.tokenizer.token_to_id("cat")] == 3
    assert table[taken.end_of_text_id] == 0
