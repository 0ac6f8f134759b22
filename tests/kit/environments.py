"""Environments beside the one that runs the tests: they see its packages and not its checkout."""

import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.rules.repository import ROOT


def without_checkout(folder: Path) -> Path:
    """A new environment in `folder` with the packages of this one, but without pretune; returns its Python.

    What pip installs there comes before the packages that it only sees.
    """
    venv.create(folder, symlinks=True)
    seen = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "seen.pth").write_text("\n".join(seen))
    return folder / "bin" / "python"


def variables(**changes: str) -> dict[str, str]:
    """This process's environment without what points to its own modules."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | changes


def pip(python: Path, *arguments: str) -> None:
    """Run this environment's pip for another one; what it says is in the error."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=variables(), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(folder: Path, files: list[Path]) -> Path:
    """pretune's wheel from a copy of these files of the repository, so that nothing else gets in and nothing is left there."""
    for path in files:
        copy = folder / "source" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "."]
    done = subprocess.run([*command, "./source"], cwd=folder, capture_output=True, text=True, env=variables(), timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
