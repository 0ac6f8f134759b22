"""pyproject.toml, constraints.txt, the presets and the documents agree with each other."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tasks.config.config import Config
from tasks.config.presets import load_config, preset_names
from tasks.training.model.model import build_model
from tasks.training.model.partition import tie
from tests.rules.repository import ROOT
from tests.rules.settings_reference import README, with_reference

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for line in PROJECT["dependencies"]]
REQUIREMENTS += [Requirement(line) for extra in PROJECT["optional-dependencies"].values() for line in extra]
PINS = {
    canonicalize_name(line.split("==")[0]): Version(line.split("==")[1])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_pinned_version_is_in_the_permitted_range(requirement):
    pin = PINS.get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is not pinned in constraints.txt"
    assert requirement.specifier.contains(pin, prereleases=True), f"{pin} is not in {requirement}"


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
