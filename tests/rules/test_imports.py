"""Who may import whom: flows start without machine learning, ranks without servers, layer 0 with next to nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rules.repository import ROOT, imports, module_name, python_files

LAYER_0 = (
    *(
        "config",
        "config_rules",
        "convergence",
        "data_config",
        "errors",
        "gate",
        "input_files",
        "journal",
        "manifest",
        "parallel_config",
        "parallel_rules",
        "preparation_parts",
        "presets",
        "progress",
        "requests",
        "run_layout",
        "section",
    ),
    "source_identity",
    "text_identity",
)
RANKS = ("tasks/data/", "tasks/training/", "tasks/worker.py")
MLFLOW_MODULES = {
    "tasks/registry/aliases.py",
    "tasks/registry/datasets.py",
    "tasks/registry/versions.py",
    "tasks/registry/tracking.py",
}
"""Whoever else needs MLflow asks one of these: the mirror of the stages and of their data, the registry, and who holds which
alias there."""


def loaded_by(modules: list[str], unwanted: tuple[str, ...]) -> str:
    """Import the modules in a fresh interpreter; which unwanted top-level packages that loaded, and by which module first."""
    code = (
        "import importlib, sys\n"
        f"unwanted = {unwanted!r}\n"
        "seen = set()\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    for found in set(unwanted) & set(sys.modules) - seen:\n"
        "        print(f'{name} loads {found}')\n"
        "        seen.add(found)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout


def modules_below(*prefixes: str) -> list[str]:
    found = [module_name(path) for path in python_files("flows", "tasks") if str(path).startswith(prefixes)]
    return [name for name in found if not name.endswith("__main__")]


def test_flows_start_without_machine_learning_and_mlflow():
    modules = modules_below("flows/")
    assert "flows.pipeline" in modules
    assert loaded_by(modules, ("torch", "transformers", "datasets", "accelerate", "mlflow")) == ""


def test_ranks_never_load_prefect_or_mlflow():
    modules = modules_below(*RANKS)
    assert "tasks.worker" in modules
    assert loaded_by(modules, ("prefect", "mlflow")) == ""


def test_no_file_of_the_ranks_imports_prefect_or_mlflow_even_later():
    files = [p for p in python_files("tasks") if str(p).startswith(("tasks/data/", "tasks/training/", "tasks/worker.py"))]
    found = [
        f"{p} imports {name}" for p in files for name in imports(p) if name.split(".")[0] in ("prefect", "mlflow", "flows")
    ]
    assert found == []


def test_tasks_never_import_flows():
    found = [f"{p} imports {name}" for p in python_files("tasks") for name in imports(p) if name.split(".")[0] == "flows"]
    assert found == []


@pytest.mark.parametrize("stem", LAYER_0)
def test_layer_0_stands_on_the_standard_library_and_pydantic(stem):
    allowed = set(sys.stdlib_module_names) | {"pydantic"} | {f"tasks.{name}" for name in LAYER_0}
    for name in imports(Path(f"tasks/{stem}.py"), everywhere=False):
        known = any(name == other or name.startswith(f"{other}.") for other in allowed)
        assert known, f"tasks/{stem}.py imports {name}, which is no part of the standard library, pydantic or layer 0"


def test_mlflow_is_imported_by_its_own_modules_only_and_inside_functions():
    for path in python_files("flows", "tasks"):
        if "mlflow" in {name.split(".")[0] for name in imports(path)}:
            assert str(path) in MLFLOW_MODULES, f"{path} imports mlflow; ask one of {sorted(MLFLOW_MODULES)}"
        early = {name for name in imports(path, everywhere=False) if name.split(".")[0] == "mlflow"}
        assert not early, f"{path} imports {sorted(early)} when it is imported; move it into the function"


def test_no_file_of_flows_is_named_like_a_library():
    names = {path.stem for path in python_files("flows")}
    assert names & {"datasets", "evaluate", "torch", "transformers", "accelerate", "prefect", "mlflow", "tokenizers"} == set()
