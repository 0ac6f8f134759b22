"""pyproject.toml, constraints.txt, the presets and the documents agree with each other."""

import importlib.metadata
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tasks.config.config import Config
from tasks.config.presets import load_config, preset_names
from tasks.training.model.model import build_model
from tasks.training.model.partition import tie
from tests.rules.repository import ROOT, imports, python_files
from tests.rules.settings_reference import README, with_reference

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
REQUIREMENTS += [Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra]
PINS = {
    canonicalize_name(line.split("==")[0]): Version(line.split("==")[1])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
}
NEWER_PYTHON = {"compression"}
"""Modules that the standard library has in a newer Python than the oldest that is supported."""
ELSEWHERE = {"psycopg-binary": "psycopg", "jiter": "openai"}
"""What only an extra brings (`server`, `serve`) that the environment may lack, and whose requirement it is."""


def requirements_of(name: str, extras: set[str]) -> list[Requirement]:
    """What an installed distribution requires on this machine; nothing if it is not installed."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    return [r for r in found if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in {"", *extras})]


def reachable(requirements: list[Requirement]) -> set[str]:
    """Everything that pip installs for these requirements, as far as what is installed here says."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            waiting += requirements_of(requirement.name, requirement.extras)
    return {name for name, _ in seen}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_pinned_version_is_in_the_permitted_range(requirement):
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is not pinned in constraints.txt"
    assert requirement.specifier.contains(pin, prereleases=True), f"{pin} is not in {requirement}"


def test_every_pin_is_of_something_that_gets_installed():
    found = reachable(REQUIREMENTS)
    found |= {name for name, owner in ELSEWHERE.items() if owner in found}
    assert set(PINS) - found == set(), "nothing needs these any more; take them out of constraints.txt"


def test_everything_that_gets_installed_is_pinned():
    needed = reachable([requirement for requirement in REQUIREMENTS if requirement.name != "torch"]) - {"torch"}
    torchs_own = reachable([requirement for requirement in REQUIREMENTS if requirement.name == "torch"])
    assert needed - torchs_own - set(PINS) == set(), "constraints.txt leaves these to chance"


def test_what_the_code_imports_is_declared_and_what_is_declared_is_imported():
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    installed = reachable(REQUIREMENTS)
    distributions = importlib.metadata.packages_distributions()
    used, own = set(), {"flows", "tasks", *sys.stdlib_module_names, *NEWER_PYTHON}
    for path in python_files("flows", "tasks"):
        for module in {name.split(".")[0] for name in imports(path)} - own:
            names = {canonicalize_name(name) for name in distributions.get(module, [])}
            assert names & installed, f"{path} imports {module}, which pyproject.toml does not bring"
            used |= names
    assert declared - used == set(), "declared, and nothing imports it"


def test_a_gpu_machine_may_keep_its_own_torch():
    torch = next(requirement for requirement in REQUIREMENTS if requirement.name == "torch")
    assert torch.specifier.contains("2.11.0+cu128")
    assert not torch.specifier.contains("99"), "without an upper bound a CPU machine gets gigabytes of CUDA packages"


def test_fastapi_stays_below_the_release_that_breaks_the_prefect_server():
    fastapi = next(requirement for requirement in REQUIREMENTS if requirement.name == "fastapi")
    assert not fastapi.specifier.contains("0.156.8")


def test_sqlalchemy_stays_below_the_release_with_which_no_schedule_fires():
    sqlalchemy = next(requirement for requirement in REQUIREMENTS if requirement.name == "SQLAlchemy")
    assert not any(sqlalchemy.specifier.contains(version, prereleases=True) for version in ("2.1.0", "2.1.9", "2.2"))


def test_no_file_that_installs_names_a_host():
    for name in ("Makefile", "constraints.txt", "pyproject.toml", ".ci/run", "docker/Dockerfile"):
        assert re.findall(r"https?://\S+", (ROOT / name).read_text()) == [], name


def test_ci_runs_the_test_command_of_the_readme():
    assert "make test" in (ROOT / "README.md").read_text()
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert "make test </dev/null" in lines


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_say_what_they_are_for(name):
    assert load_config([name]).description.endswith(".")


def number_of_parameters(config: Config) -> int:
    model = build_model(config.model, config.tokenizer.trained_vocab_size, 0, 0)
    tie(model)
    return model.num_parameters()


@pytest.mark.parametrize("name", preset_names())
def test_the_table_of_presets_has_the_real_numbers(name):
    config = load_config([name])
    rows = [line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"configs/README.md has no row for {name}"
    for number in (number_of_parameters(config), config.pretrain.train_tokens):
        assert f"{number:,}" in rows[0]


def test_the_reference_of_settings_is_that_of_the_fields():
    text = README.read_text()
    assert text == with_reference(text), "run: python -m tests.rules.settings_reference"
