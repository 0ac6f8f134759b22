"""Classes of characters, and reading them out of UTF-8."""

import numpy as np
import pytest

from tasks.data.quality.characters import (
    LETTER,
    SPACE,
    TABLE_SIZE,
    TERMINAL,
    UPPER,
    WORD,
    character_at,
    character_classes,
    class_of,
)  # fmt: skip


@pytest.mark.parametrize(
    ("character", "bits"),
    [
        ("a", LETTER | WORD), ("É", LETTER | WORD | UPPER), ("中", LETTER | WORD), ("7", WORD), ("½", WORD), ("\u0301", WORD),
        ("\u200d", WORD), (" ", SPACE), ("\u00a0", SPACE), ("\n", SPACE), (".", TERMINAL), ("。", TERMINAL), ("؟", TERMINAL),
        ("។", TERMINAL), ("៖", TERMINAL), (",", 0), ("_", 0), ("“", 0), ("€", 0), ("\ud800", 0), ("\x00", 0),
    ],
)  # fmt: skip
def test_classes(character, bits):
    assert character_classes()[ord(character)] == bits


def test_code_points_beyond_the_table_are_letters():
    assert class_of(TABLE_SIZE, character_classes()) == LETTER | WORD
    assert class_of(0x10FFFF, character_classes()) == LETTER | WORD


def test_every_length_of_utf8_is_read():
    text = "aé中𝄞\ud800z"
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    at, read = 0, []
    while at < len(data):
        code, width = character_at(data, at)
        read.append(chr(code))
        at += width
    assert "".join(read) == text


@pytest.mark.parametrize("character", ["é", "中", "𝄞"])
def test_a_character_that_is_cut_off_is_not_read_beyond_the_end(character):
    for length in range(1, len(character.encode())):
        data = np.frombuffer(character.encode()[:length], dtype=np.uint8)
        assert character_at(data, 0)[1] <= length
