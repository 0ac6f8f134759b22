"""The commands in compose.yaml are commands of the installed versions, with options that they have."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docker.test_compose import OURS, SERVICES

WORDS = {"prefect": 3, "mlflow": 2}
"""How many words name the command whose --help lists the options."""


def test_every_program_is_an_entry_point_of_the_environment():
    programs = {SERVICES[name]["command"][0] for name in OURS} | {"pretune"}
    assert programs == {"prefect", "mlflow", "python", "pretune"}
    for program in programs:
        assert shutil.which(program, path=str(Path(sys.executable).parent)), f"{program} is not installed beside python"


@pytest.mark.parametrize("name", [name for name in sorted(OURS) if SERVICES[name]["command"][0] in WORDS])
def test_every_option_is_one_that_the_program_has(name):
    command = SERVICES[name]["command"]
    words = command[: WORDS[command[0]]]
    module = [sys.executable, "-m", *words, "--help"]
    run = subprocess.run(module, capture_output=True, text=True, timeout=120, env={"COLUMNS": "200", "PATH": ""})
    assert run.returncode == 0, run.stderr
    options = {part.partition("=")[0] for part in command if part.startswith("--")}
    assert options
    assert {option for option in options if not re.search(rf"{option}(?![\w-])", run.stdout)} == set()


@pytest.mark.parametrize("name", [name for name in sorted(OURS) if SERVICES[name]["command"][:2] == ["python", "-c"]])
def test_inline_programs_compile(name):
    assert compile(SERVICES[name]["command"][-1], name, "exec")
