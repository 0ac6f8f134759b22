"""Every test of the registry has a database of MLflow in its home."""

from pathlib import Path

import pytest

from tests.kit.registered_stages import new_home


@pytest.fixture
def home(home: Path) -> Path:
    return new_home(home.parent)
