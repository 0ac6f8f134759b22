"""Which services of this home run: one JSON record each, true only while exactly that process lives."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict

from tasks.record import layout
from tasks.record.files import read_json, write_json
from tasks.record.lock import exclusive

ServiceName = Literal["prefect", "mlflow", "worker"]
SERVICES: tuple[ServiceName, ...] = ("prefect", "mlflow", "worker")
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
CREATE_TIME_TOLERANCE_SECONDS = 1.0


class ServiceRecord(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: ServiceName
    pid: int
    create_time: float
    """Start time of the process: a process id alone may be another program's by now."""
    port: int | None = None
    home: str = ""
    """Whose service it is: a copy of a home has a copy of the record, and must not take the other one's server for its own."""

    @property
    def url(self) -> str | None:
        return f"http://127.0.0.1:{self.port}" if self.port else None

    def process(self) -> psutil.Process | None:
        """The recorded process if it still lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < CREATE_TIME_TOLERANCE_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class Credentials(BaseModel):
    """Made once for a home. The passwords of the two servers, which listen on this machine only."""

    model_config = ConfigDict(frozen=True)

    user: str = "admin"
    prefect_password: str
    mlflow_password: str
    mlflow_secret_key: str

    @property
    def prefect_auth(self) -> str:
        return f"{self.user}:{self.prefect_password}"


def services_folder(home: Path) -> Path:
    """The folder of records, credentials and logs, readable by its owner only."""
    folder = layout.services_folder(home)
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder.chmod(PRIVATE_FOLDER)
    return folder


def credentials_file(home: Path) -> Path:
    return services_folder(home) / "credentials.json"


def credentials(home: Path) -> Credentials:
    """Those of this home, made on first use."""
    path = credentials_file(home)
    if not path.exists():
        words = [secrets.token_urlsafe(18) for _ in range(3)]
        made = Credentials(prefect_password=words[0], mlflow_password=words[1], mlflow_secret_key=words[2])
        write_json(path, made, mode=PRIVATE_FILE)
    return Credentials.model_validate(read_json(path))


def record_file(home: Path, name: ServiceName) -> Path:
    return layout.services_folder(home) / f"{name}.json"


def write_record(home: Path, record: ServiceRecord) -> None:
    write_json(record_file(home, record.name), record.model_copy(update={"home": str(home)}), mode=PRIVATE_FILE)


def recorded(home: Path, name: ServiceName) -> ServiceRecord | None:
    path = record_file(home, name)
    record = ServiceRecord.model_validate(read_json(path)) if path.exists() else None
    return record if record is None or record.home in ("", str(home)) else None


def alive(home: Path, name: ServiceName) -> ServiceRecord | None:
    """The record of a service whose process lives."""
    record = recorded(home, name)
    return record if record is not None and record.process() is not None else None


@contextmanager
def services_lock(home: Path) -> Iterator[None]:
    """One `up` or `down` at a time; raises LockedError while another one works."""
    refusal = f"another `pretune up` or `pretune down` works on {home}; wait until it is done"
    with exclusive(services_folder(home) / "lock", lambda _owner: refusal):
        yield
