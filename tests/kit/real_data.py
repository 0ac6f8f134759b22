"""Real text that is too big, or not free enough, to lie in the repository: beside the checkout, or in $PRETUNE_TEST_DATA."""

import os
from pathlib import Path

import pytest

from tasks.record.layout import REPOSITORY


def folder(*parts: str) -> Path:
    """A file or folder of the real data; the test that asks for it is skipped where it is not there, and fails in CI."""
    root = Path(os.environ.get("PRETUNE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        missing = f"real data {'/'.join(parts)} is not in {root}; set PRETUNE_TEST_DATA to a folder that has it"
        pytest.fail(missing) if os.environ.get("PRETUNE_REQUIRE_TEST_DATA") else pytest.skip(missing)
    return path
