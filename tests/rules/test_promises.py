"""Each promise of tests/promises.toml is shown by tests that are there and that `make test` runs."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.rules.repository import ROOT

pytestmark = pytest.mark.process  # It imports what most tests do, for 20 s: too long for `make check`.
PROMISES: dict[str, dict[str, object]] = tomllib.loads((ROOT / "tests" / "promises.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Names of the tests of `make test` in the files of the list."""
    files = sorted({f"tests/{test.split('::')[0]}" for promise in PROMISES.values() for test in promise["tests"]})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", "not soak", *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("tests/") for line in done.stdout.splitlines() if "::" in line]


@pytest.mark.parametrize("name", PROMISES)
def test_a_promise_is_shown_by_tests_of_make_test(name: str, collected: list[str]) -> None:
    promise = PROMISES[name]
    assert promise.keys() == {"says", "tests"} and str(promise["says"]).endswith(".")
    assert promise["tests"], f"nothing shows {name}"
    for test in promise["tests"]:
        shown = [found for found in collected if found == test or found.startswith((f"{test}[", f"{test}::"))]
        assert shown, f"{test} is not there, or only `make soak` runs it; {name} needs a test that `make test` runs"
