"""Cleaning, the split by hash, and counts that add up."""

import json
import random
import unicodedata

import pytest

from tasks.data.documents.cleaning import (
    BLANK_LINES,
    LINE_ENDINGS,
    UNWANTED,
    Counts,
    clean,
    fix_unicode,
    is_held_out,
    text_digest,
)


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


def test_no_step_is_left_out_that_would_change_something():
    def every_step(text):
        text = unicodedata.normalize("NFC", UNWANTED.sub("", LINE_ENDINGS.sub("\n", text)))
        return BLANK_LINES.sub("\n\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()

    generator = random.Random(0)
    plain = ["a", "b", " ", "\n", "\n", "\t", "\r", "\x0b", "\x0c", "\x00", "\x7f", "\x1f"]
    every = [*plain, "\x80", "\x85", "\u2028", "\u2029", "\ufeff", "\ud800", "\u0301", "\u00a0", "\u3000", "é", "中", "\u212b"]
    for number in range(20_000):
        text = "".join(generator.choices(every if number % 2 else plain, k=generator.randrange(12)))
        assert clean(text) == every_step(text), repr(text)


@pytest.mark.parametrize("codec", ["latin-1", "sloppy-windows-1252", "sloppy-windows-1250", "mac-roman"])
def test_text_that_was_decoded_wrongly_is_repaired(codec):
    text = "Le café de la Märchenstraße.\nASCII\n“Señor Muñoz” est allé à l’été."
    wrong = "\n".join(line.encode().decode(codec) for line in text.split("\n"))
    assert wrong != text
    assert fix_unicode(wrong) == text


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "Le café, déjà — «l’été» № 5 à la Märchenstraße",
        "Ещё моё «всё»",
        "Çüng Ăź",
        "× 3 ß – ō ",
        "a\ud800 é",
        "Ã",
    ],
)
def test_text_that_is_right_stays_as_it_is(text):
    assert fix_unicode(text) == text


def test_a_long_run_of_spaces_costs_linear_time():
    assert clean(" " * 3_000_000 + "x") == "x"
    assert clean("y" + " " * 3_000_000 + "x").startswith("y ")


def test_the_split_follows_from_the_text_alone_and_grows_with_the_fraction():
    texts = [f"document {n}" for n in range(2000)]
    held_out = {f: {t for t in texts if is_held_out(text_digest(t), f)} for f in (0.05, 0.1)}
    assert held_out[0.05] < held_out[0.1]
    assert len(held_out[0.1]) == pytest.approx(200, abs=60)


def counted(read, kept, *drops):
    counts = Counts(read=read, kept=kept)
    for reason, where, text in drops:
        counts.drop(reason, where, text)
    return counts


def test_what_was_dropped_is_remembered_by_three_examples_for_each_reason():
    counts = counted(6, 1, *(("empty", f"file:{n}", "x" * 500) for n in range(4)), ("language", "a.xml:7", "lone \ud800 half"))
    counts.check()
    assert counts.dropped == {"empty": 4, "language": 1}
    assert counts.examples["empty"] == [{"where": f"file:{n}", "beginning": "x" * 160} for n in range(3)]
    assert counts.examples["language"] == [{"where": "a.xml:7", "beginning": "lone ? half"}]


def test_what_was_quarantined_is_counted_too():
    counts = counted(3, 1, ("empty", "f", ""))
    with pytest.raises(AssertionError, match="does not add up"):
        counts.check()
    counts.quarantined["utf8"] += 1
    counts.check()


def test_counts_of_parts_add_up_in_their_order_and_survive_json():
    parts = [counted(4, 1, *(("empty", f"{part}:{n}", "") for n in range(2)), ("short", str(part), "x")) for part in range(3)]
    parts[1].quarantined["utf8"] = 2
    parts[1].read += 2
    whole = Counts()
    for part in parts:
        whole.merge(Counts.from_json(json.loads(json.dumps(part.to_json()))))
    whole.check()
    assert (whole.read, whole.kept, whole.dropped, whole.quarantined) == (14, 3, {"empty": 6, "short": 3}, {"utf8": 2})
    assert [example["where"] for example in whole.examples["empty"]] == ["0:0", "0:1", "1:0"]
    assert len(parts[0].examples["empty"]) == 2
    assert Counts.from_json(whole.to_json()) == whole
    assert list(whole.to_json()["dropped"]) == ["empty", "short"]
