"""What pyproject.toml declares as lowest is installed beside the tested set, and trains; torch stays what it is here."""

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.kit.environments import pip, variables, without_checkout
from tests.rules.repository import ROOT
from tests.rules.test_installation import REQUIREMENTS

LIBRARIES = ("accelerate", "datasets", "numba", "safetensors", "tokenizers", "transformers")
MESHES = "tests/integration/test_layouts.py::test_every_mesh_has_the_curve_of_one_process_and_its_share_of_the_bytes"
TESTS = (
    "tests/unit/training/model", "tests/unit/training/test_setup.py", "tests/unit/training/test_simulate.py",
    "tests/unit/data/kernels", "tests/gpu",
    *(f"{MESHES}[{case}]" for case in ("tensor 2-llama, tied", "tensor 2-qwen3, untied", "shard 2 x tensor 2-llama, tied")),
)  # fmt: skip
"""Models, simulated ranks, numba's kernels, a stage that the launcher starts, and ranks that divide a model."""


def lowest(requirement: Requirement) -> str:
    """The requirement's lower bound as a version to install."""
    (bound,) = [part.version for part in requirement.specifier if part.operator in (">=", "==")]
    return f"{requirement.name}=={bound}"


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_lowest_declared_versions_train(tmp_path: Path) -> None:
    wanted = sorted(lowest(requirement) for requirement in REQUIREMENTS if requirement.name in LIBRARIES)
    assert len(wanted) == len(LIBRARIES)
    python = without_checkout(tmp_path / "environment")
    pip(python, "install", "--no-compile", *wanted)
    home = str(tmp_path / "home")
    environment = variables(PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1", PRETUNE_HOME=home, PYTEST_ADDOPTS="")
    versions = "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    found = subprocess.run([python, "-c", versions, *LIBRARIES], env=environment, capture_output=True, text=True, check=True)
    assert list(map(Version, found.stdout.split())) == [Version(one.partition("==")[2]) for one in wanted]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", *TESTS]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:]
