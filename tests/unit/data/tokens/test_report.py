"""The figures of a tokenizer, against counts by hand."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tasks.data.card.text import report_blocks
from tasks.data.tokens import report as module
from tasks.data.tokens.encoding import Encoder
from tasks.data.tokens.report import batches, fallback_tokens, tokenizer_report
from tasks.data.tokens.tokenizer import END_OF_TEXT, finish, train_tokenizer
from tests.kit.preparations import sentences


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Four special tokens, 256 bytes, `the` and ` the`."""
    tokenizer = train_tokenizer(["the the the"] * 3, 300, 1_000)
    assert tokenizer.vocab_size == 4 + 256 + 3
    return Encoder(tokenizer)


def test_figures_by_language_and_source(encoder):
    documents = [("web", "en", "the the ox"), ("web", "ja", "日本 é"), ("books", "en", "the"), ("books", "", "12 !")]
    report = tokenizer_report(encoder, iter(documents))
    english = report["languages"]["en"]
    assert (english["documents"], english["bytes"], english["tokens"]) == (2, 13, 6)
    assert english["tokens_per_word"] == 6 / 4
    assert english["bytes_per_token"] == english["characters_per_token"] == 13 / 6
    assert english["byte_fallback_share"] == 0
    japanese = report["languages"]["ja"]
    assert (japanese["bytes"], japanese["tokens"], japanese["tokens_per_word"]) == (9, 9, 9 / 2)
    assert japanese["byte_fallback_share"] == 8 / 9
    assert japanese["characters_per_token"] == 4 / 9
    assert report["languages"]["unknown"]["tokens_per_word"] == 4
    assert {name: row["documents"] for name, row in report["sources"].items()} == {"web": 2, "books": 2}
    assert (report["documents"], report["bytes"], report["tokens"]) == (4, 26, 19)
    assert report["vocabulary_entries"] == 259
    used = {"the", "Ġthe", "Ġ", "o", "x", "1", "2", "!", *"æĹ¥æľ¬Ã©"}
    assert report["unused_entries"] == 259 - len(used)
    assert json.loads(json.dumps(report)) == report


def test_the_data_card_shows_it(encoder):
    report = tokenizer_report(encoder, [("web", "en", "the the ox"), ("web", "de", "")])
    numbers, languages, sources = report_blocks(report, "tokenizer")
    assert "| `unused_entries` | 254 |" in numbers
    assert "| languages | documents | bytes | tokens | tokens per word | bytes per token |" in languages
    assert "| `en` | 1 | 10 | 5 | 1.667 | 2 | 2 | 0 |" in languages
    assert "| `de` | 1 | 0 | 0 |  |  |  |  |" in languages
    assert "| `web` | 2 | 10 |" in sources


def test_the_sample_is_bounded(encoder, monkeypatch):
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 10)
    documents = [("web", "en", text) for text in ("the", "the the", "the the the the", "the")]
    assert [[len(text) for _, _, text in batch] for batch in batches(documents, 1_000)] == [[3, 7], [10], [3]]
    assert [[len(text) for _, _, text in batch] for batch in batches(documents, 14)] == [[3, 7], [4]]
    assert tokenizer_report(encoder, iter(documents), 14)["bytes"] == 14
    assert list(batches([], 5)) == []


def test_rare_languages_share_a_row(encoder, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    report = tokenizer_report(
        encoder, [("web", language, "the " * size) for language, size in (("en", 5), ("de", 1), ("fr", 2), ("it", 1))]
    )
    assert {name: row["bytes"] for name, row in report["languages"].items()} == {"en": 20, "fr": 8, "2 others": 8}


def test_nothing_to_report_on(encoder):
    report = tokenizer_report(encoder, [])
    assert (report["documents"], report["bytes_per_token"], report["languages"]) == (0, None, {})
    assert report["unused_entries"] == report["vocabulary_entries"]


def test_a_vocabulary_with_written_bytes():
    vocabulary = {"<0x0A>": 0, "<0xE6>": 1, "\u2581a": 2, END_OF_TEXT: 3, "é": 4}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.ByteFallback()
    assert fallback_tokens(finish(tokenizer, END_OF_TEXT, END_OF_TEXT)).tolist() == [False, True, False, False, False]


def test_a_byte_level_vocabulary_falls_back_on_half_of_its_bytes():
    trained = train_tokenizer(sentences(50), 400, 100_000)
    found = fallback_tokens(trained)
    assert found.sum() == 128
    encoded = trained.tokenizer.encode("日本", add_special_tokens=False).ids
    assert found[encoded].all() and not found[trained.tokenizer.encode("plain text\n", add_special_tokens=False).ids].any()
