"""Tensor tests run on one thread: they share the machine with each other."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
