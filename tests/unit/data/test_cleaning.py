"""Cleaning, de-duplication and the split by hash."""

import unicodedata

import pytest

from tasks.data.cleaning import Counts, clean, clean_documents, is_held_out, text_digest


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("e\u0301te\u0301", "été"),
        ("a\r\nb\rc\u2028d\x85e", "a\nb\nc\nd\ne"),
        ("a\x00b\x07c\x1b[0m\ufeff", "abc[0m"),
        ("tab\tstays", "tab\tstays"),
        ("trailing  \t\nspaces\u00a0\nhere ", "trailing\nspaces\nhere"),
        ("one\n\ntwo\n\n\nthree\n\n\n\n\n\nfour", "one\n\ntwo\n\n\nthree\n\n\nfour"),
        ("one\n \n \n \n \ntwo", "one\n\n\ntwo"),
        ("\n\n  text \n\n", "text"),
        ("half of a pair \ud83d.", "half of a pair ."),
        ("\x00\r\n \t", ""),
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned


def test_clean_is_idempotent_on_every_character():
    text = " x\n".join(chr(code) for code in range(0x3000))
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    once.encode()


def test_a_long_run_of_spaces_costs_linear_time():
    assert clean(" " * 3_000_000 + "x") == "x"
    assert clean("y" + " " * 3_000_000 + "x").startswith("y ")


def test_what_is_read_is_kept_or_dropped_for_a_reason():
    counts = Counts()
    texts = ["a long one", "a long\x00 one", " \n", "ab", "another one"]
    kept = list(clean_documents(texts, min_characters=3, heldout_fraction=0.25, counts=counts))
    assert [document.text for document in kept] == ["a long one", "another one"]
    assert (counts.read, counts.kept) == (5, 2)
    assert dict(counts.dropped) == {"duplicate": 1, "empty": 1, "too_short": 1}
    counts.check()
    counts.read += 1
    with pytest.raises(AssertionError):
        counts.check()


def test_the_split_follows_from_the_text_alone_and_grows_with_the_fraction():
    texts = [f"document {n}" for n in range(2000)]
    held_out = {f: {t for t in texts if is_held_out(text_digest(t), f)} for f in (0.05, 0.1)}
    assert held_out[0.05] < held_out[0.1]
    assert len(held_out[0.1]) == pytest.approx(200, abs=60)
    by_order = [
        {d.text for d in clean_documents(order, 1, 0.1, Counts()) if d.split == "heldout"} for order in (texts, texts[::-1])
    ]
    assert by_order == [held_out[0.1]] * 2
