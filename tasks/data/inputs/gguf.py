"""What the header of a GGUF file says of the model in it (github.com/ggml-org/ggml, docs/gguf.md, versions 2 and 3)."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

from tasks.data.inputs.files import first_line
from tasks.record.errors import DataError

MAGIC = b"GGUF"
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""By the file's number for a type."""
TEXT, LIST = 8, 9
LARGEST_TEXT = 2**26
"""Bytes; a chat template has a few thousand. A damaged length must not take all memory."""
LARGEST_LIST = 2**28


def gguf_header(path: Path, field: str) -> dict[str, Any]:
    """Names and values but for the lists, of which there is only the length; raises DataError for a file that has none."""
    try:
        with path.open("rb") as file:
            return header_of(file)
    except (OSError, ValueError, struct.error) as error:
        raise DataError(
            f"{field}={str(path)!r} cannot be read as a GGUF file ({first_line(error)}); fetch it again, or give another"
        ) from None


def header_of(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = number(file, "<I")
    if version not in (2, 3):
        raise ValueError(f"it is of version {version}, and 2 and 3 are read")
    number(file, "<Q")  # tensors
    return {text(file): value(file, number(file, "<I")) for _ in range(number(file, "<Q"))}


def number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def text(file: BinaryIO) -> str:
    size = number(file, "<Q")
    content = file.read(size) if size <= LARGEST_TEXT else b""
    if len(content) != size:
        raise ValueError(f"a text of {size} bytes does not end")
    return content.decode(errors="replace")


def value(file: BinaryIO, kind: int) -> Any:
    if kind == TEXT:
        return text(file)
    if kind == LIST:
        inner, count = number(file, "<I"), number(file, "<Q")
        pass_over(file, inner, count)
        return count
    if kind not in NUMBERS:
        raise ValueError(f"it has a value of the unknown type {kind}")
    return number(file, NUMBERS[kind])


def pass_over(file: BinaryIO, kind: int, count: int) -> None:
    """Skip a list's items."""
    if count > LARGEST_LIST:
        raise ValueError(f"a list of {count} items does not end")
    if kind in NUMBERS:
        file.seek(count * struct.calcsize(NUMBERS[kind]), 1)
        return
    for _ in range(count):
        value(file, kind)
