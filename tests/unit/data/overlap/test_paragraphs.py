"""Repeated paragraphs against a plain Python account, in a table that is large enough and in one that is not."""

import re

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.ngrams import text_buffers
from tasks.data.overlap.paragraphs import ParagraphTable, cut_paragraphs, paragraph_hashes, read_paragraphs, write_paragraphs
from tests.kit.edited_texts import write_documents
from tests.kit.real_data import folder

A, B, C = ("".join(letter * 30) for letter in "abc")


def array(texts):
    return pa.array(texts, pa.large_string())


def deduplicated(texts, min_characters=20, memory_bytes=1 << 16, kept=None):
    kept = np.ones(len(texts), dtype=np.bool_) if kept is None else np.array(kept)
    table = ParagraphTable(memory_bytes)
    repeated = table.repeated(paragraph_hashes(*text_buffers(array(texts)), min_characters), kept)
    return cut_paragraphs(array(texts), min_characters, repeated).to_pylist(), table


def plain(texts, min_characters):
    """Paragraphs of each text, those that an earlier text has taken out."""
    seen, found = set(), []
    for text in texts:
        stripped = text.strip()
        blocks = re.split(r"\n[ \t]*(?:\n[ \t]*)+", stripped)
        blocks = [block.strip() for block in (stripped.split("\n") if len(blocks) == 1 else blocks)]
        blocks = [block for block in blocks if block]
        found.append([block for block in blocks if len(block) < min_characters or block not in seen])
        seen |= {block for block in blocks if len(block) >= min_characters}
    return found


def test_a_paragraph_of_an_earlier_document_is_cut_with_the_gap_after_it():
    texts = [f"{A}\n\n{B}", f"start\n\n{A}\n\n \nend", f"{B}\n\n{C}", f"{C}\n\n{A}\n", f"\n  {C}  \n\nend"]
    assert deduplicated(texts)[0] == [texts[0], "start\n\nend", C, "", "end"]


def test_without_blank_lines_a_line_is_a_paragraph():
    assert deduplicated([f"{A}\n{B}", f"{B}\n{C}\n{A}", f"{A}\n{B}\n\n{C}"])[0] == [f"{A}\n{B}", C, f"{A}\n{B}"]


def test_short_paragraphs_and_copies_within_a_document_stay():
    texts = [
        f"short\n\n{A}\n\n{A}",
        "short\n\nlong enough, and new",
        "ä" * 19 + "\n\n" + "ö" * 20,
        "ä" * 19 + "\n\n" + "ö" * 20,
    ]
    assert deduplicated(texts)[0] == [texts[0], texts[1], texts[2], "ä" * 19]


def test_dropped_documents_neither_give_nor_lose_paragraphs():
    texts = [A, A, A]
    assert deduplicated(texts, kept=[False, True, True])[0] == [A, A, ""]
    assert deduplicated(texts, kept=[True, False, True])[0] == [A, A, ""]


def test_white_space_of_a_text_that_loses_nothing_stays():
    texts = ["\n  one\n\n\n two \n", " \n", "", "\n"]
    assert deduplicated(texts, min_characters=1)[0] == texts


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_real_prose_against_plain_python(batch):
    verses = folder("prose", "tinyshakespeare.txt").read_text(encoding="utf-8").split("\n\n")
    rng = np.random.default_rng(0)
    texts = ["\n\n".join(verses[i] for i in rng.integers(0, 400, rng.integers(1, 9))) for _ in range(300)]
    table, found = ParagraphTable(1 << 16), []
    for first in range(0, len(texts), batch):
        some = array(texts[first : first + batch])
        repeated = table.repeated(paragraph_hashes(*text_buffers(some), 40), np.ones(len(some), dtype=np.bool_))
        found += cut_paragraphs(some, 40, repeated).to_pylist()
    assert [re.sub("\n+", "\n", text) for text in found] == ["\n".join(blocks) for blocks in plain(texts, 40)]
    assert table.unchecked == 0 and sum(map(len, found)) < 0.5 * sum(map(len, texts))


def test_a_full_table_finds_what_it_has_and_counts_the_rest():
    texts = [f"paragraph number {number} of these" for number in range(100)]
    found, table = deduplicated(texts + texts, memory_bytes=64 * 8)
    assert table.capacity == table.stored == 48 and table.unchecked == 2 * 52
    assert found[:100] == texts and found[100:148] == [""] * 48 and found[148:] == texts[48:]


def test_a_file_of_paragraphs_is_read_as_written(tmp_path):
    texts = [f"{A} {number}\n\nshort\n\n{B}" for number in range(5000)] + ["", "short"]
    write_documents(tmp_path / "some.arrow", texts)
    write_paragraphs(tmp_path / "some.arrow", tmp_path / "some.paragraphs.npy", 20)
    found, expected = read_paragraphs(tmp_path / "some.paragraphs.npy"), paragraph_hashes(*text_buffers(array(texts)), 20)
    assert (found.hashes == expected.hashes).all() and (found.starts == expected.starts).all()
    assert len(found.hashes) == 10_000 and len(found.starts) == 5003
