"""Headers of GGUF files: of every kind of value, and damaged ones."""

import struct
from pathlib import Path

import pytest

from tasks.data.inputs.gguf import gguf_header
from tasks.record.errors import DataError


def words(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def written(path: Path, entries: list[tuple[str, int, bytes]], version: int = 3, count: int | None = None) -> Path:
    body = b"".join(words(name) + struct.pack("<I", kind) + content for name, kind, content in entries)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, 7, len(entries) if count is None else count) + body)
    return path


def test_values_are_read_and_lists_are_passed_over(tmp_path: Path) -> None:
    nested = struct.pack("<IQ", 9, 2) + (struct.pack("<IQ", 4, 3) + bytes(12)) * 2
    entries = [
        ("a", 4, struct.pack("<I", 5)), ("b", 8, words("x")), ("c", 9, struct.pack("<IQ", 8, 2) + words("one") + words("")),
        ("d", 9, nested), ("e", 6, struct.pack("<f", 0.5)), ("f", 7, b"\1"), ("g", 11, struct.pack("<q", -3)),
    ]  # fmt: skip
    expected = {"a": 5, "b": "x", "c": 2, "d": 2, "e": 0.5, "f": True, "g": -3}
    assert gguf_header(written(tmp_path / "a.gguf", entries), "base") == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\3\4", "it does not begin with GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it is of version 1, and 2 and 3 are read"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**40), f"a text of {2**40} bytes does not end"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + words("a") + struct.pack("<I", 77), "it has a value of the unknown type 77"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + words("a") + struct.pack("<IIQ", 9, 8, 2**40), "a list of 109951"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + words("a"), "unpack requires a buffer of 4 bytes"),
    ],
)  # fmt: skip
def test_a_damaged_header_is_said(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(content)
    with pytest.raises(DataError) as error:
        gguf_header(file, "finetune[a].base")
    assert str(error.value).startswith(f"finetune[a].base={str(file)!r} cannot be read as a GGUF file ({reason}")
    assert str(error.value).endswith("; fetch it again, or give another")
