"""Real servers of a home of their own, on free ports, and what a person's browser would send to them."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tasks.services.records import alive
from tests.kit.finished_runs import config_on_files

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RUN_SECONDS = 420.0


@dataclass(frozen=True)
class Services:
    home: Path
    prefect_url: str
    mlflow_url: str
    credentials: dict[str, str]

    def prefect(self) -> httpx.Client:
        auth = (self.credentials["user"], self.credentials["prefect_password"])
        return httpx.Client(base_url=f"{self.prefect_url}/api", auth=auth, timeout=120)

    def mlflow(self) -> httpx.Client:
        auth = (self.credentials["user"], self.credentials["mlflow_password"])
        return httpx.Client(base_url=f"{self.mlflow_url}/api/2.0/mlflow", auth=auth, timeout=120)

    def trigger(self, deployment: str, **parameters: Any) -> httpx.Response:
        """What the run form posts."""
        with self.prefect() as client:
            found = client.get(f"/deployments/name/{deployment}").json()
            return client.post(f"/deployments/{found['id']}/create_flow_run", json={"parameters": parameters})

    def state(self, run_id: str) -> dict[str, Any]:
        with self.prefect() as client:
            return client.get(f"/flow_runs/{run_id}").json()["state"]

    def wait(self, run_id: str) -> dict[str, Any]:
        """The final state of a flow run."""
        deadline = time.monotonic() + RUN_SECONDS
        while (state := self.state(run_id))["type"] not in FINAL:
            assert time.monotonic() < deadline, f"still {state['name']} after {RUN_SECONDS} s: {tail(self.home)}"
            time.sleep(0.5)
        return state

    def alias(self, model: str, alias: str) -> dict[str, Any] | None:
        with self.mlflow() as client:
            answer = client.get("/registered-models/alias", params={"name": model, "alias": alias})
            return answer.json()["model_version"] if answer.status_code == 200 else None


def tail(home: Path) -> str:
    return "\n".join((home / "services" / "worker.log").read_text(errors="replace").splitlines()[-30:])


def pretune(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PRETUNE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


def running(home: Path) -> Services:
    """The servers of a home, which are started where they do not run."""
    if alive(home, "worker") is None:
        return start_services(home)
    urls = (record.url for name in ("prefect", "mlflow") if (record := alive(home, name)))
    return Services(home, *urls, json.loads((home / "services" / "credentials.json").read_text()))


def start_services(home: Path) -> Services:
    ports = free_ports(2)
    done = pretune(home, "up", "--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]))
    assert done.returncode == 0, done.stderr
    known = json.loads((home / "services" / "credentials.json").read_text())
    assert not any(known[f"{name}_password"] in done.stdout + done.stderr for name in ("prefect", "mlflow"))
    return Services(home, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", known)


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def processes_of(home: Path) -> list[psutil.Process]:
    """Everything that runs for the home: what was given its folder, by environment or as an argument."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ().get("PRETUNE_HOME") == str(home) or any(str(home) in part for part in process.cmdline())
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if told and process.pid != os.getpid():
            found.append(process)
    return found


def tiny_parameters(folder: Path) -> dict[str, Any]:
    return config_on_files(folder).model_dump(mode="json")
