"""A user's mistake keeps its class on the way from a child process to its parent."""

import ast
from pathlib import Path

import pytest

from tasks.record import errors
from tasks.record.errors import PretuneError, StageError, error_named

CLASSES = [node.name for node in ast.parse(Path(errors.__file__).read_text()).body if isinstance(node, ast.ClassDef)]
"""As they are written in the file, so that none is left out whatever it inherits from."""


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"PretuneError"}))
def test_every_user_error_is_found_by_its_name(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, PretuneError)
    assert error_named(name) is cls
    assert cls.__doc__


@pytest.mark.parametrize("name", ["RuntimeError", "", "PretuneError", "Exception"])
def test_a_foreign_name_is_a_stage_error(name: str) -> None:
    assert error_named(name) is StageError
