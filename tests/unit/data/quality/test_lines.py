"""Lines as the rules count them, and what C4 does with each."""

import numpy as np
import pytest

from tasks.data.quality.characters import character_classes
from tasks.data.quality.lines import (
    C4_PHRASES,
    FEW_WORDS,
    HAS_CURLY,
    HAS_JAVASCRIPT,
    HAS_LOREM,
    HAS_POLICY,
    KEEP,
    LONG_WORD,
    NO_TERMINAL,
    c4_verdicts,
    count_lines,
    num_newlines,
    num_sentences,
)  # fmt: skip
from tasks.data.quality.words import vocabulary_hashes


def as_data(text):
    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("This line has five words.", KEEP),
        ('"This line has five words!"', KEEP),
        ("  Does this one have them? ", KEEP),
        ("These five words are cited.[12][citation needed]", KEEP),
        ("Headings of sections[edit]", NO_TERMINAL),
        ("These five words are cited. [12]", NO_TERMINAL),
        ("This line has five words", NO_TERMINAL),
        ("This line ends too soon...", NO_TERMINAL),
        ("Four words are few.", FEW_WORDS),
        ("", FEW_WORDS),
        ("One word here is " + "x" * 1001 + ".", LONG_WORD),
        ("One word here is " + "x" * 999 + ".", KEEP),
        ("Please enable JavaScript to see this.", HAS_JAVASCRIPT),
        ("By going on you accept our Cookie Policy.", HAS_POLICY),
        ("The text is Lorem ipsum dolor sit amet.", HAS_LOREM),
        ("The function body starts with { here.", HAS_CURLY),
        ("这是 一 个 中文 句子。", KEEP),
        ("ये पाँच शब्द हैं यहाँ।", KEEP),
    ],
)
def test_what_c4_does_with_a_line(line, verdict):
    assert c4_verdicts(as_data(line), character_classes(), *C4_PHRASES, 5, 1000).tolist() == [verdict]


def test_a_page_has_a_verdict_for_each_line():
    page = "\nThis line has five words.\n\nNo end\n"
    assert c4_verdicts(as_data(page), character_classes(), *C4_PHRASES, 5, 1000).tolist() == [
        FEW_WORDS, KEEP, FEW_WORDS, NO_TERMINAL, FEW_WORDS,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("One. Two! Three? Four", 4),
        ("J. R. Smith came. He saw 3.5 of them.", 2),
        ('He said: "No!" Then he left.', 2),
        ("一。二！三", 3),
        ("... and so on.", 1),
        ("Mrs. Reed of St. Ives had 8. The U.S. had 1.", 2),
        ("", 0),
    ],
)
def test_sentences(line, number):
    data = as_data(line)
    assert num_sentences(data, 0, len(data), character_classes(), vocabulary_hashes()) == number


def test_counts_of_lines():
    prose = "A line of prose that is long enough, surely.\n"
    text = f"- a bullet\n\n• another one…\n{prose}{prose}\n\nends so...\n"
    data = as_data(text)
    size = num_newlines(data, 0, len(data)) + 1
    hashes, lengths, firsts = np.zeros(size, np.uint64), np.zeros(size, np.int32), np.zeros(size, np.uint8)
    counts = np.zeros(10, np.int64)
    count_lines(
        data, 0, len(data), character_classes(), vocabulary_hashes(), *C4_PHRASES, 30, 5, 1000, hashes, lengths, firsts, counts
    )
    newlines, lines = text.count("\n"), text.splitlines()
    assert counts.tolist() == [newlines, len(lines), 5, 2, 2, 3, 3, 2, 0, 0]
    assert lengths[:5].tolist() == [len(line) for line in lines if line]
    assert firsts[:5].tolist() == [1, 1, 0, 0, 1]
    assert hashes[2] == hashes[3]
    assert len(set(hashes[:5].tolist())) == 4
