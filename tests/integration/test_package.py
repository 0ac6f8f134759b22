"""The wheel: it holds what the repository holds, and works where there is no repository."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.kit.environments import build_wheel, pip, variables, without_checkout
from tests.kit.runs import tiny_config, write_text
from tests.rules.repository import ROOT, tracked

TRAIN = """
import json, sys
from tasks.config.presets import parse_config
from tasks.launch.stage import follow, start_or_attach
from tasks.record.layout import RunLayout, home
from tasks.stages.work import Result, prepare_work, pretrain_work

def finish(work):
    start_or_attach(work.stage, work.request)
    return Result(work.stage, follow(work.stage, lambda progress: None, poll_seconds=0.1))

config = parse_config(json.load(sys.stdin))
trained = finish(pretrain_work(RunLayout(home(), "run"), config, finish(prepare_work(home(), config))))
print(json.dumps({"manifest": trained.manifest.model_dump(mode="json"), "folder": str(trained.stage.path)}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"), tracked())


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Programs of an environment that has pretune from the wheel, inside of somebody's repository."""
    project = tmp_path_factory.mktemp("project")
    git = ["git", "-C", str(project), "-c", "user.name=Somebody", "-c", "user.email="]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "Begin"], check=True)
    python = without_checkout(project / ".venv")
    pip(python, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel))
    return python.parent


def run(command: list[str | Path], user: Path, **options: str) -> str:
    """What the command prints for a user whose home folder is `user`."""
    environment = variables(HOME=str(user), XDG_DATA_HOME="", PRETUNE_HOME="", HF_HUB_OFFLINE="1", COLUMNS="1000")
    done = subprocess.run(command, cwd=user, env=environment, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_module_and_all_that_they_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {path.as_posix() for path in tracked() if path.parts[0] in ("flows", "tasks") and path.suffix in (".py", ".toml")}
    settings = {path.as_posix() for path in tracked() if path.parts[0] == "configs"}
    assert len(code) > 100 and len(settings) > 5
    assert held == code | settings


def test_an_installed_wheel_plans_as_the_checkout_does(bin_folder: Path, tmp_path: Path) -> None:
    where = run([bin_folder / "python", "-c", "import tasks, flows; print(*tasks.__path__, *flows.__path__)"], tmp_path).split()
    assert len(where) == 2 and all(Path(path).is_relative_to(bin_folder.parent) for path in where)
    installed = json.loads(run([bin_folder / "pretune", "plan", "demo", "--json"], tmp_path))
    assert installed["check"]["simulated_bytes"] is not None, installed["check"]["note"]
    checkout = subprocess.run(
        [sys.executable, "-m", "flows", "plan", "demo", "--json", "--no-simulation"],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / ".cache")}, capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    assert installed["chosen"] == json.loads(checkout.stdout)["chosen"]


def test_from_a_wheel_everything_lies_with_the_users_data_and_is_said(bin_folder: Path, tmp_path: Path) -> None:
    home = tmp_path / ".local" / "share" / "pretune"
    assert json.loads(run([bin_folder / "pretune", "status", "--json"], tmp_path))["home"] == str(home)
    assert f"Everything lies in {home}" in " ".join(run([bin_folder / "pretune", "--help"], tmp_path).split())
    names = run([bin_folder / "pretune", "presets"], tmp_path)
    assert [line.split()[0] for line in names.splitlines()] == ["cpu-base", "demo", "gpu-124m", "gpu-1b"]


def test_a_wheel_trains_and_claims_no_commit_of_a_repository_around_it(bin_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(write_text(tmp_path / "words.txt"))
    printed = run([bin_folder / "python", "-c", TRAIN], tmp_path, input=config.model_dump_json())
    trained = json.loads(printed.splitlines()[-1])
    assert Path(trained["folder"]) == tmp_path / ".local" / "share" / "pretune" / "runs" / "run" / "02-pretrain"
    assert trained["manifest"]["step"] == 40
    assert trained["manifest"]["environment"]["commit"] is None
