"""A user's mistake keeps its class on the way from a child process to its parent."""

import pytest

from tasks.record import errors
from tasks.record.errors import PretuneError, StageError, error_named


@pytest.mark.parametrize("cls", PretuneError.__subclasses__())
def test_every_user_error_is_found_by_its_name(cls: type[PretuneError]) -> None:
    assert error_named(cls.__name__) is cls
    assert getattr(errors, cls.__name__) is cls
    assert cls.__doc__


@pytest.mark.parametrize("name", ["RuntimeError", "", "PretuneError", "Exception"])
def test_a_foreign_name_is_a_stage_error(name: str) -> None:
    assert error_named(name) is StageError
