"""Arrays written whole or not at all."""

import numpy as np
import pytest

from tasks.data.overlap.array_files import read_row, write_array


def test_a_row_is_read_as_written(tmp_path):
    array = np.arange(12, dtype=np.uint64).reshape(3, 4)
    write_array(tmp_path / "some.npy", array)
    assert (np.load(tmp_path / "some.npy") == array).all() and np.load(tmp_path / "some.npy").dtype == np.uint64
    row = read_row(tmp_path / "some.npy", 1)
    assert row.tolist() == [4, 5, 6, 7] and type(row) is np.ndarray and row.base is None, "nothing stays mapped"
    assert [path.name for path in tmp_path.iterdir()] == ["some.npy"]


def test_what_is_no_array_of_numbers_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(tmp_path / "some.npy", np.array([object()]))
    assert list(tmp_path.iterdir()) == []
