"""A home with a base that was really trained, in which refreshes are run in this process."""

from pathlib import Path

import pytest
import torch

from tests.kit.refreshes import home_with_base, in_this_process
from tests.kit.stages import pretrained_base


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("trained")
    pretrained_base(home, train_tokens=512 * 8)
    return home


@pytest.fixture
def with_base(home: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    in_this_process(monkeypatch)
    return home_with_base(home.parent, trained)
