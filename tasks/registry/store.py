"""Our side of MLflow, without importing it: where the store is, who writes to it now, and what of a stage is in it."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from pydantic import Field

from tasks.record.errors import TrackingError
from tasks.record.files import Record, read_json
from tasks.record.layout import StageLayout, finetunes_folder, mlflow_folder, runs_folder
from tasks.record.lock import exclusive
from tasks.services.records import alive

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0


class Registration(Record):
    """What `registration.json` of a stage says: its MLflow run, how much of the journal is there, its model versions."""

    store: str
    """`local`, or the address in MLFLOW_TRACKING_URI: an id is good in one store only."""
    run_id: str
    shipped_bytes: int = 0
    finished: str | None = None
    """Digest of the manifest whose metrics and final status have been shipped."""
    versions: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Registered versions: model to label to version."""


def database_file(home: Path) -> Path:
    return mlflow_folder(home) / "mlflow.db"


def database_uri(home: Path) -> str:
    return f"sqlite:///{database_file(home)}"


def artifact_folder(home: Path) -> Path:
    """Where this home's experiments keep their artifacts; on the file system of the runs, so that files can be linked."""
    return mlflow_folder(home) / "artifacts"


def places_file(home: Path) -> Path:
    """Where this home was before it was moved, or copied, to where it is."""
    return mlflow_folder(home) / "places.json"


def earlier_places(home: Path) -> list[Path]:
    return [Path(place) for place in read_json(places_file(home))] if places_file(home).exists() else []


def here(home: Path, written: str | Path) -> Path:
    """Where a path lies now that was written down in this home: relative to it, or in an earlier place of it."""
    path = home / written
    if not path.is_relative_to(home):
        for place in earlier_places(home):
            if path.is_relative_to(place):
                return home / path.relative_to(place)
    return path


def inside(home: Path, path: str | Path) -> str:
    """The path as it is written down: relative to the home where it lies in it."""
    return Path(path).relative_to(home).as_posix() if Path(path).is_relative_to(home) else str(path)


def tracking_uri(home: Path) -> str:
    """MLFLOW_TRACKING_URI, else the server that `pretune up` started if it lives, else the database file itself."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given
    service = alive(home, "mlflow")
    return service.url if service and service.url else database_uri(home)


def store_identity(home: Path) -> str:
    """Names the store: the server of this home and its database file are one and the same."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "local"


def check_store(home: Path) -> None:
    """Raises TrackingError where the store is a server that does not answer: then nobody knows what is registered there."""
    store = store_identity(home)
    if not store.startswith(("http://", "https://")):
        return
    try:
        urlopen(f"{store.rstrip('/')}/health", timeout=ANSWER_SECONDS).close()
    except HTTPError:
        return  # it is there, and has something against the question
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"MLflow at {store} does not answer ({getattr(reason, 'strerror', None) or reason}); start it, or correct "
            "MLFLOW_TRACKING_URI"
        ) from None


def make_private(folder: Path) -> Path:
    """The folder, made with its parents and open to its owner only if it was not there."""
    if not folder.exists():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """`exclusive`, readable by its owner only, and its folder too."""
    make_private(path.parent)
    with exclusive(path, mode=0o600):
        yield


def stage_name(home: Path, stage: StageLayout) -> str:
    """The stage's path inside of the home, such as `runs/demo/02-pretrain`."""
    path, root = stage.path.resolve(), home.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def run_and_experiment(home: Path, stage: StageLayout) -> tuple[str, str]:
    """What MLflow calls the stage's run, `RUN/STAGE` or `FINETUNE/ATTEMPT/STAGE`, and where it lies: beside its model."""
    name = stage_name(home, stage)
    kind, _, rest = name.partition("/")
    if kind == finetunes_folder(home).name:
        return rest, rest.partition("/")[0]
    config = stage.path.parent / "config.json"
    own = rest.partition("/")[0]
    experiment = (read_json(config)["registry"]["model_name"] or own) if config.exists() else "pretune"
    return (rest if kind == runs_folder(home).name else name), experiment


@contextmanager
def stage_locked(home: Path, stage: StageLayout) -> Iterator[None]:
    """One writer of the stage's MLflow run and its `registration.json` at a time."""
    with locked(mlflow_folder(home) / "locks" / (stage_name(home, stage).strip("/").replace("/", "--") + ".lock")):
        yield


def read_registration(home: Path, stage: StageLayout) -> Registration | None:
    """What is known of the stage in this store; None if it never was there, or the file is lost or unreadable.

    An id that is kept beside a local store which is gone is not believed either.
    """
    if not stage.registration.exists():
        return None
    try:
        registration = Registration.model_validate_json(stage.registration.read_bytes())
    except ValueError as error:
        log.warning("%s is unreadable (%s); looking the run up by its key", stage.registration, str(error).splitlines()[0])
        return None
    gone = registration.store == "local" and not database_file(home).exists()
    return None if gone or registration.store != store_identity(home) else registration
