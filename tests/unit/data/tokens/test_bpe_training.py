"""The fast trainer against `tokenizers` on text of every kind, and what happens where it is not there or differs."""

import bz2
import json
import random
import re
from types import SimpleNamespace

import gigabpe
import pytest

from tasks.data.tokens import bpe_training
from tasks.data.tokens.bpe_training import check, first_characters, oracle, parts, read_sample, train_bpe, write_sample
from tests.kit.preparations import sentences
from tests.kit.real_data import folder

SPECIAL = ("<|endoftext|>", "<|pad|>", "<|user|>")
STRANGE_CHARACTERS = "abc \n\n\t\r\x0b\x0c\x00'sté日本 \u2028\u00a0\u0085😀123.,!\u200d\x1c"


def random_text() -> list[str]:
    generator = random.Random(0)
    return ["".join(generator.choices(STRANGE_CHARACTERS, k=generator.randrange(400))) for _ in range(200)]


def page_text() -> list[str]:
    """Markup-free beginnings of real pages in many languages and scripts."""
    dumps = sorted(folder("wikipedia", "minidumps").glob("*.bz2"))[::8]
    return [re.sub(r"<[^>]*>", " ", bz2.open(dump, "rt", encoding="utf-8", errors="replace").read(20_000)) for dump in dumps]


CORPORA = {
    "sentences": lambda: sentences(300),
    "random": random_text,
    "pages": page_text,
    "novel": lambda: [next(folder("prose", "litbank").glob("*.txt")).read_text(encoding="utf-8")[:200_000]],
    "line ends": lambda: ["a\r\nbb\r\n\r\ncc  ", "\n\nbb\n\n \n\nbb", "  x\n", "", "\n", "\r\n"] * 3,
    "special tokens": lambda: ["hello <|endoftext|> and <|pad|><|pad|> of <|endoftext|>"] * 5,
    "long words": lambda: ["ab" * 3_000 + " x", "z" * 9_000, "x " + " " * 5_000 + "x", "日本" * 3_000],
    "nothing": list,
}


@pytest.mark.parametrize("name", CORPORA)
def test_the_tokenizer_is_that_of_tokenizers(name, tmp_path, caplog):
    write_sample(CORPORA[name](), tmp_path / "sample")
    for vocab_size in (280, 2_000):
        expected = oracle(read_sample(tmp_path / "sample"), vocab_size, SPECIAL).to_str()
        for threads in (1, 3):
            assert train_bpe(tmp_path / "sample", vocab_size, SPECIAL, threads).to_str() == expected
    assert not caplog.records, "the fast trainer was used"
    vocabulary = json.loads(expected)["model"]["vocab"]
    assert [vocabulary[token] for token in (*SPECIAL, "!", "Ń")] == [0, 1, 2, 3, 258]
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_white_space_across_lines_becomes_a_token(tmp_path):
    write_sample(["one\n\n\ntwo\n\n\nthree"] * 3, tmp_path / "sample")
    assert "ĊĊ" in train_bpe(tmp_path / "sample", 300, SPECIAL).get_vocab()


def test_a_sample_holds_its_texts_but_for_trailing_space(tmp_path):
    assert write_sample(["a\nb\n\n", " c\x0bd", "", "é\r\n日\ud800"], tmp_path / "sample") == 14
    assert list(read_sample(tmp_path / "sample")) == ["a\nb", " c\nd", "", "é\r\n日?"]


def test_a_word_that_does_not_end_is_cut():
    assert list(parts("short text")) == ["short text"]
    prose = "the cat " * 10_000
    assert list(parts(prose)) == [prose]
    cut = list(parts(prose + "x" * 100_000 + prose))
    assert "".join(cut) == prose + "x" * 100_000 + prose
    assert max(len(word) for part in cut for word in part.split()) <= 2 * bpe_training.WINDOW
    assert [len(part) for part in parts(" " * 10_000)] == [1 << 12, 1 << 12, 10_000 - (2 << 12)]


def test_the_sample_is_bounded():
    assert list(first_characters(["abc", "def", "ghi"], 4)) == ["abc", "d"]
    assert list(first_characters(["abc", "def"], 3)) == ["abc"]


def wrong_merges(*args, **named):
    vocabulary, merges = gigabpe.train_bpe(*args, **named)
    return vocabulary, [merges[1], merges[0], *merges[2:]]


def raises(*args, **named):
    raise TypeError("threads is no parameter any more")


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (None, "gigabpe is not installed, the tokenizer is trained by tokenizers"),
        (SimpleNamespace(train_bpe=wrong_merges), "its merges differ from those of tokenizers on the first 262,144"),
        (SimpleNamespace(train_bpe=raises), "it failed on the first .* with TypeError.'threads is no parameter"),
    ],
    ids=["absent", "other merges", "other interface"],
)
def test_tokenizers_does_it_where_the_fast_trainer_cannot(library, message, tmp_path, monkeypatch, caplog):
    write_sample(sentences(100), tmp_path / "sample")
    expected = train_bpe(tmp_path / "sample", 350, SPECIAL).to_str()
    assert not caplog.records
    monkeypatch.setattr(bpe_training, "gigabpe", library)
    assert train_bpe(tmp_path / "sample", 350, SPECIAL).to_str() == expected
    assert re.search(message, caplog.text)
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_the_check_says_nothing_where_both_agree(tmp_path):
    write_sample(sentences(100), tmp_path / "sample")
    assert check(gigabpe, tmp_path / "sample", 10_000, SPECIAL) is None
