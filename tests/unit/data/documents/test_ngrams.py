"""Word n-gram hashes against a plain Python account of the words, in several scripts."""

import re

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.ngrams import ngram_hashes, text_buffers
from tests.kit.real_data import folder

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "the QUICK brown-fox   jumps, over “the” lazy dog",
    "",
    "... — !?",
    "one",
    "Привет, мир! ЕЩЁ раз: привет, мир, ΑΘΗΝΑ, ÉCOLE école",
    "北京是中国的首都。",
    "Tōkyō 東京 is big",
    "สวัสดี",
    "naïve café 😀 x² 3.14",
    "a\u00a0b\u2014c",
]
HAN = re.compile("[\u4e00-\u9fff\u0e00-\u0eff]")


def words(text):
    """The documented rule for the characters of these tests."""
    spaced = HAN.sub(lambda found: f" {found.group()} ", text)
    return re.findall(r"[^\W_]+|[\u0e00-\u0eff]", spaced.lower())


def grams(text, n):
    found = words(text)
    return [tuple(found[i : i + n]) for i in range(max(1, len(found) - n + 1))] if found else []


def hashed(texts, n, seed=0):
    hashes, starts = ngram_hashes(*text_buffers(pa.array(texts, pa.large_string())), n, seed)
    return [hashes[starts[i] : starts[i + 1]].tolist() for i in range(len(texts))]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_ngrams_have_equal_hashes_and_different_ones_different(n):
    names = {}
    for text, found in zip(TEXTS, hashed(TEXTS, n), strict=True):
        expected = grams(text, n)
        assert len(found) == len(expected), text
        for value, gram in zip(found, expected, strict=True):
            assert names.setdefault(value, gram) == gram
    assert len(set(names.values())) == len(names)


def test_case_and_punctuation_do_not_count_and_hyphens_separate():
    first, second = hashed(TEXTS[:2], 5)
    assert first == second and len(first) == 5


def test_words_of_a_short_document_make_one_ngram():
    short, same, longer = hashed(["alpha beta", "Alpha, beta!", "alpha beta gamma"], 13)
    assert short == same and len(short) == 1
    assert short != longer
    assert hashed(["alpha beta"], 2) == [short], "the number of words is part of the hash, not n"


def test_the_hashes_stay_what_they_were():
    """Keys that another machine or an earlier version made must match: these numbers may never change."""
    assert hashed(["The quick brown fox jumps over", "北京 café"], 5) == [
        [399239225158330727, 8258810759579002364],
        [11775162415457614225],
    ]
    assert hashed(["one"], 5, seed=1) != hashed(["one"], 5)


def test_a_slice_of_an_array_is_hashed_like_the_array():
    texts = pa.array(TEXTS, pa.large_string())
    hashes, starts = ngram_hashes(*text_buffers(texts.slice(4, 3)), 3)
    expected = hashed(TEXTS[4:7], 3)
    assert [hashes[starts[i] : starts[i + 1]].tolist() for i in range(3)] == expected
    assert ngram_hashes(*text_buffers(texts.slice(0, 0)), 3)[1].tolist() == [0]


def test_bytes_that_are_not_utf8_stay_within_bounds():
    data = np.frombuffer(b"ab \xf0\x9f" + b"\xe4\xb8" + b"\xff", np.uint8)
    hashes, starts = ngram_hashes(data, np.array([0, 5, 7, 8]), 1)
    assert np.diff(starts).tolist() == [2, 1, 1] and len(set(hashes.tolist())) == 4


def test_no_two_words_of_ninety_novels_collide():
    books = sorted(folder("prose", "litbank").glob("*.txt"))[:12]
    vocabulary = sorted({word for book in books for word in words(book.read_text(encoding="utf-8"))})
    assert len(vocabulary) > 25_000
    found = [values[0] for values in hashed(vocabulary, 1)]
    assert len(set(found)) == len(vocabulary)
    assert len({value >> 32 for value in found}) > len(vocabulary) - 5, "the upper half alone is mixed as well"
