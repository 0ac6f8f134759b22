"""What every test may ask for: a home of its own, and the servers of this session."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kit.servers import Services

pytest_plugins = ["tests.kit.tiers"]


def pytest_sessionstart(session: pytest.Session) -> None:
    """The machine's rates are measured before the first test, once for all sessions: a test of a plan starts no process."""
    from tasks.planning.rates import machine_rates

    machine_rates()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$PRETUNE_HOME of this test, which is not there yet."""
    folder = (tmp_path / "home").resolve()
    monkeypatch.setenv("PRETUNE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def home_with_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from tests.kit.servers import pretune

    folder = tmp_path_factory.mktemp("home").resolve()
    try:
        yield folder
    finally:
        pretune(folder, "down")


@pytest.fixture
def services(home_with_servers: Path, monkeypatch: pytest.MonkeyPatch) -> "Services":
    """Prefect, MLflow and a worker: one stack for all tests of a session; who ends it does not end it for the next."""
    from tests.kit.servers import running

    monkeypatch.setenv("PRETUNE_HOME", str(home_with_servers))
    return running(home_with_servers)
