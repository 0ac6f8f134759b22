"""The parts of a data card that depend on the source."""

import pytest

from tasks.data.card import REASONS, dropped_lines, source_lines, table


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_what_was_dropped_adds_up_and_is_explained():
    lines = "\n".join(dropped_lines("documents", 1010, 1000, {"duplicate": 7, "empty": 3}))
    assert "1,010 documents read = 1,000 kept + 10 dropped." in lines
    for reason in ("duplicate", "empty"):
        assert REASONS[reason] in lines
    assert "|" not in "\n".join(dropped_lines("documents", 5, 5, {}))


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
    ],
)
def test_the_source_is_named_with_what_is_known_of_its_licence(source, identity, words):
    lines = "\n".join(source_lines(source, identity, "cleaned"))
    assert all(word in lines for word in words)
