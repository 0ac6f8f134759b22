"""Files that safetensors reads as they are, with the hash of what was written; and any box of a tensor out of any others."""

import itertools
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.record.errors import IntegrityError
from tasks.record.files import file_entries
from tasks.training.checkpoint.files import (
    DTYPES,
    BoxReader,
    HashedFile,
    Index,
    box_rows,
    bytes_of,
    file_header,
    key_of,
    write_tensors,
)
from tasks.training.model.pieces import Piece


def test_every_dtype_and_shape_is_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {f"{name}{n}": torch.arange(n).to(dtype) for dtype, name in DTYPES.items() for n in (0, 1, 5)}
    tensors |= {"scalar": torch.tensor(3.0), "turned": torch.arange(6.0).reshape(2, 3).T, "ümlaut": torch.ones(2, 0, 3)}
    path = tmp_path / "a.safetensors"
    entry = write_tensors(path, tensors, {"format": "pt"})
    assert (entry,) == file_entries(tmp_path, [path])
    again = load_file(path)
    assert again.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (again[name].dtype, again[name].shape) == (tensor.dtype, tensor.shape)
        assert bytes_of(again[name]) == bytes_of(tensor), name


def test_values_are_aligned() -> None:
    header = file_header({"a": ("F32", (3,)), "bc": ("U8", (1,))})
    assert len(header) % 8 == 0
    assert int.from_bytes(header[:8], "little") == len(header) - 8


def test_a_failure_while_writing_is_not_hidden_by_the_closing(tmp_path: Path) -> None:
    file = HashedFile(tmp_path / "a")
    with pytest.raises(KeyError, match="what went wrong"), file:
        file.write(memoryview(b"some"))
        raise KeyError("what went wrong")
    assert file._file.closed


def split(length: int, chance: random.Random) -> list[tuple[int, int]]:
    cuts = sorted({0, length, *(chance.randrange(length + 1) for _ in range(2))})
    return list(itertools.pairwise(cuts))


def stored_in_boxes(folder: Path, whole: torch.Tensor, chance: random.Random) -> Index:
    """The tensor cut at random along every dimension, its boxes spread over two files."""
    shares: list[list[Piece]] = [[], []]
    for ranges in itertools.product(*(split(length, chance) for length in whole.shape)):
        box = whole[tuple(slice(a, b) for a, b in ranges)].contiguous()
        chance.choice(shares).append(Piece("a", box, tuple(whole.shape), tuple(a for a, _ in ranges)))
    index = Index()
    for number, pieces in enumerate(shares):
        if pieces:
            name = f"{number}.safetensors"
            write_tensors(folder / name, {key_of(piece): piece.tensor for piece in pieces})
            index.add(box_rows(name, pieces))
    index.write(folder / "pieces.json")
    return Index.read(folder / "pieces.json")


@pytest.mark.parametrize("shape", [(), (7,), (5, 6), (3, 4, 5)], ids=str)
def test_any_box_is_read_from_any_others(shape: tuple[int, ...], tmp_path: Path) -> None:
    chance = random.Random(1)
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        whole = torch.randn(shape)
        index = stored_in_boxes(folder, whole, chance)
        with BoxReader(folder, index) as reader:
            for _ in range(20):
                ends = [sorted((chance.randrange(n + 1), chance.randrange(n + 1))) for n in shape]
                box = tuple(slice(a, b) for a, b in ends)
                target = torch.full_like(whole[box], torch.nan)
                reader.read_into(target, "a", tuple(a for a, _ in ends))
                assert torch.equal(target, whole[box])


def test_an_index_with_gaps_is_neither_written_nor_read(tmp_path: Path) -> None:
    index = Index()
    index.add(box_rows("0.safetensors", [Piece("a", torch.ones(2, 3), (4, 3), (0, 0))]))
    path = tmp_path / "pieces.json"
    with pytest.raises(IntegrityError, match=r"pieces.json has 6 of the 12 values of a; restore an older checkpoint"):
        index.write(path)
    assert not path.exists()
    path.write_text('{"format_version": 1, "tensors": {"a": {"dtype": "F32", "shape": [4], "boxes": [["f", "a", [0], [3]]]}}}')
    with pytest.raises(IntegrityError, match=r"pieces.json has 3 of the 4 values of a; restore an older checkpoint"):
        Index.read(path)


def test_the_index_knows_which_boxes_a_file_holds(tmp_path: Path) -> None:
    pieces = [Piece("a", torch.ones(2, 3), (4, 3), (0, 0)), Piece("b", torch.tensor(1.0), (), ())]
    index = Index()
    index.add(box_rows("0", pieces))
    index.add(box_rows("1", [Piece("a", torch.ones(2, 3), (4, 3), (2, 0))]))
    assert index.rows("0") == box_rows("0", pieces) == [
        ["a", "F32", [4, 3], "0", "a@0,0", [0, 0], [2, 3]],
        ["b", "F32", [], "0", "b", [], []],
    ]  # fmt: skip
