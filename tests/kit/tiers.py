"""Which tests `make check`, `make test` and `make soak` run, in which order, and which of two workers runs them.

- `soak`: written at a test that shows for longer, or in more ways, what another shows without the mark. For `make soak`.
- `process`: a test that starts a process, or trains whole stages in its own, which `make check` leaves out. It is set here, by
  what a test and its fixtures call; a test that starts one in a way that is not seen here fails, and asks for the mark.

What says nothing is run by all three.
"""

import multiprocessing.process
import os
import subprocess
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the cores: threads of one would wait for those of the other. To be said before numpy and torch come.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

PROCESS_FOLDERS = ("benchmarks", "browser", "faults", "gpu", "integration")
STARTERS = {"Popen", "Process", "fork", "multiprocessing", "pretrained_base", "start_child", "start_or_attach", "subprocess"}
"""Names whose use sets the mark; functions of `tests` are followed to what they use."""
ONE_STACK = ("tests/browser/test_ui.py", "tests/integration/test_services.py", "tests/integration/test_approval.py")
"""Files that share the servers of a session, in the order in which they use them: one worker runs them all."""
SECONDS = {
    "tests/browser/test_ui.py": 440,
    "tests/integration/test_layouts.py": 410,
    "tests/integration/test_training.py": 400,
    "tests/integration/test_divided_training.py": 390,
    "tests/integration/test_schedules.py": 240,
    "tests/integration/test_preparation.py": 220,
    "tests/faults/test_lonely_ranks.py": 120,
    "tests/unit/training/test_finetune.py": 110,
    "tests/integration/test_resume.py": 110,
    "tests/integration/test_verify.py": 100,
    "tests/integration/test_damaged_data.py": 90,
    "tests/integration/test_package.py": 80,
    "tests/unit/registry/test_tracking_servers.py": 70,
    "tests/unit/test_worker.py": 70,
    "tests/gpu/test_training.py": 70,
    "tests/unit/training/export/test_pieces.py": 60,
    "tests/faults/test_preparation.py": 50,
    "tests/integration/test_real_corpora.py": 50,
    "tests/integration/test_plan.py": 50,
    "tests/unit/benchmarks/test_gpu_training.py": 40,
}
"""Files that take long, by the seconds that they took as one of three workers on two cores. The longest begin first, so that no
worker waits at the end; a file that is not named here comes after them."""

started: list[str] = []
"""What the test that runs now has started."""


def pytest_configure(config: pytest.Config) -> None:
    """Take note of every Python process that is started from now on; `git` and `uname` are asked by libraries in passing."""
    start, fork, open_ = multiprocessing.process.BaseProcess.start, os.fork, subprocess.Popen.__init__

    def start_and_tell(process: multiprocessing.process.BaseProcess) -> None:
        started.append(process.name)
        start(process)

    def fork_and_tell() -> int:
        started.append("os.fork")
        return fork()

    def open_and_tell(process: subprocess.Popen, args: Any, *more: Any, **settings: Any) -> None:
        if isinstance(args, list | tuple) and str(args[0]) == sys.executable:
            started.append(" ".join(map(str, args)))
        open_(process, args, *more, **settings)

    multiprocessing.process.BaseProcess.start = start_and_tell  # type: ignore[method-assign]
    subprocess.Popen.__init__ = open_and_tell  # type: ignore[method-assign]
    os.fork = fork_and_tell


def pytest_runtest_logstart() -> None:
    started.clear()


@pytest.fixture(autouse=True)
def no_process_without_the_mark(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if started and request.node.get_closest_marker("process") is None and folder_of(request.node) != "rules":
        pytest.fail(f"this test starts a process ({started[0]}); mark it with @pytest.mark.process", pytrace=False)


def folder_of(item: pytest.Item) -> str:
    """The folder of `tests` that a test lies in."""
    return item.nodeid.split("/")[1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if folder_of(item) in PROCESS_FOLDERS or (folder_of(item) != "rules" and not STARTERS.isdisjoint(used_by(item))):
            item.add_marker("process")
    items.sort(key=place)


def place(item: pytest.Item) -> tuple[float, int]:
    """Where the unit of work of a test comes, and its file in that."""
    file = item.nodeid.split("::")[0]
    unit = unit_of(item.nodeid)
    return -SECONDS.get(unit, 0.0), ONE_STACK.index(file) if unit == ONE_STACK[0] else 0


def unit_of(nodeid: str) -> str:
    """What one worker runs as a whole: a file, or the files that share the servers, under the name of their first."""
    file = nodeid.split("::")[0]
    return ONE_STACK[0] if file in ONE_STACK else file


def used_by(item: pytest.Item) -> set[str]:
    """The names that a test, its fixtures and the functions of `tests` that these call make use of."""
    functions: list[Any] = [getattr(item, "function", None)]
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        functions += [definition.func for definition in definitions]
    found: set[str] = set()
    seen: set[CodeType] = set()
    while functions:
        function = functions.pop()
        function = getattr(function, "__wrapped__", function)
        if not isinstance(function, FunctionType) or not function.__module__.startswith("tests."):
            continue
        codes = [function.__code__]
        while codes:
            code = codes.pop()
            if code in seen:
                continue
            seen.add(code)
            found.update(code.co_names)
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            values = [function.__globals__.get(name) for name in code.co_names]
            modules = [value for value in values if isinstance(value, ModuleType) and value.__name__.startswith("tests.")]
            functions += values + [getattr(module, name, None) for module in modules for name in code.co_names]
    return found


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        """Every unit to one worker, in the order of the collection."""

        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    config.option.loadscopereorder = False
    return ByUnit(config, log)
