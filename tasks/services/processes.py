"""Starting a service as a detached process, waiting until it answers, and ending exactly that process and its children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from tasks.record.children import start_child
from tasks.record.errors import ConfigError, StageError
from tasks.services.records import ServiceName, ServiceRecord, services_folder, write_record

READY_SECONDS = 240.0
TERMINATE_SECONDS = 5.0
PRIVATE_UMASK = 0o077


def free_port(asked: int | None, default: int, flag: str) -> int:
    """The port asked for (ConfigError if it is taken), else the default, else any other that is free."""
    if asked is not None:
        if not is_free(asked):
            raise ConfigError(f"{flag}={asked} is used by another program; choose another port, or leave the flag out")
        return asked
    if default and is_free(default):
        return default
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def log_file(home: Path, name: str) -> Path:
    return services_folder(home) / f"{name}.log"


def spawn(home: Path, name: ServiceName, command: list[str], environment: dict[str, str], port: int | None) -> ServiceRecord:
    """Start a service in a session of its own and record it. What it writes is readable by its owner only."""
    with log_file(home, name).open("ab") as log:
        process = subprocess.Popen(
            command, env=clean_environment() | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            cwd=services_folder(home), start_new_session=True, umask=PRIVATE_UMASK,
        )  # fmt: skip
    record = ServiceRecord(name=name, pid=process.pid, create_time=psutil.Process(process.pid).create_time(), port=port)
    write_record(home, record)
    return record


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Prefect: those of a service are all given to it."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}


def spawn_temporary(home: Path, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a server that lives as long as this process: the kernel ends it if this one is killed."""
    with log_file(home, "prefect-temporary").open("wb") as log:
        return start_child(
            command, log, dies_by=signal.SIGTERM, env=clean_environment() | environment,
            cwd=services_folder(home), start_new_session=True, umask=PRIVATE_UMASK,
        )  # fmt: skip


def wait_until_it_answers(url: str, is_alive: Callable[[], bool], log: Path) -> None:
    """Wait for HTTP 200 at `url`; raises StageError with the log's last line if the process ends or time runs out."""
    deadline = time.monotonic() + READY_SECONDS
    while is_alive() and time.monotonic() < deadline:
        if answers(url):
            return
        time.sleep(0.1)
    what = "did not answer in time" if is_alive() else "ended while it started"
    raise StageError(f"{log.stem} {what}: {last_line(log)}; see {log}")


def answers(url: str) -> bool:
    """Whether the address gives HTTP 200 now."""
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def end(record: ServiceRecord, spare: set[int]) -> None:
    """End a service and everything it started, but for `spare` and their children; politely first, then for certain.

    An idle worker passes over its first SIGTERM, so a second one follows.
    """
    process = record.process()
    if process is None:
        return
    family = descendants(process, spare)
    for _ in range(2):
        signal_all([process], psutil.Process.terminate)
        if not psutil.wait_procs([process], timeout=TERMINATE_SECONDS)[1]:
            break
    signal_all(family, psutil.Process.terminate)
    _, left = psutil.wait_procs([process, *family], timeout=TERMINATE_SECONDS)
    signal_all(left, psutil.Process.kill)
    psutil.wait_procs(left, timeout=TERMINATE_SECONDS)


def descendants(process: psutil.Process, spare: set[int]) -> list[psutil.Process]:
    """All children and theirs, without those in `spare` and what is below them."""
    found: list[psutil.Process] = []
    try:
        children = process.children()
    except psutil.NoSuchProcess:
        return found
    for child in children:
        if child.pid not in spare:
            found += [child, *descendants(child, spare)]
    return found


def signal_all(processes: list[psutil.Process], send: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue  # it has ended by itself, which is what is wanted
