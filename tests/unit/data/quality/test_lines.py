"""Lines as the rules count them, and what C4 does with each."""

import numpy as np
import pytest

from tasks.data.quality.judge import COUNTS
from tasks.data.quality.lines import (
    FEW_WORDS,
    HAS_CURLY,
    HAS_JAVASCRIPT,
    HAS_LOREM,
    HAS_POLICY,
    KEEP,
    LONG_WORD,
    NO_TERMINAL,
    C4Limits,
    Lines,
    c4_verdicts,
    count_lines,
    line_tables,
    num_newlines,
    num_sentences,
)  # fmt: skip

LIMITS = C4Limits(5, 1000)


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
    assert c4_verdicts(as_data(line), line_tables(), LIMITS).tolist() == [verdict]


def test_a_page_has_a_verdict_for_each_line():
    page = "\nThis line has five words.\n\nNo end\n"
    assert c4_verdicts(as_data(page), line_tables(), LIMITS).tolist() == [
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
    assert num_sentences(as_data(line), line_tables()) == number


def test_counts_of_lines():
    prose = "A line of prose that is long enough, surely.\n"
    text = f"- a bullet\n\n• another one…\n{prose}{prose}\n\nends so...\n"
    data = as_data(text)
    size = num_newlines(data) + 1
    found, counts = Lines(np.zeros(size, np.uint64), np.zeros(size, np.int32), np.zeros(size, np.uint8)), np.zeros(1, COUNTS)[0]
    count_lines(data, line_tables(), LIMITS, 30, found, counts)
    lines = text.splitlines()
    assert (counts["newlines"], counts["all_lines"], counts["lines"]) == (text.count("\n"), len(lines), 5)
    assert (counts["bullet_lines"], counts["ellipsis_lines"], counts["terminated_lines"], counts["short_lines"]) == (2, 2, 3, 3)
    assert (counts["c4_sentences"], counts["lorem_ipsum_lines"], counts["curly_bracket_lines"]) == (2, 0, 0)
    assert found.characters[:5].tolist() == [len(line) for line in lines if line]
    assert found.starts_paragraph[:5].tolist() == [1, 1, 0, 0, 1]
    assert found.hashes[2] == found.hashes[3]
    assert len(set(found.hashes[:5].tolist())) == 4
