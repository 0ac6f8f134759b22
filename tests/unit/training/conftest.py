"""Tensor tests run on one thread, since they share the machine with each other; stages are shared by the tests of a file."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for the stages that the tests of a file share."""
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("home")
