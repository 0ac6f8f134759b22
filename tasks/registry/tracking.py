"""MLflow as a mirror of the stages: one run per stage, fed from the journal, which stays the truth.

Nothing here is on the path of training: a server that is away costs a `TrackingError`, and the next `sync` ships the rest.
Requests are never retried by the HTTP client, because a repeated POST would create a second run or version.
"""

import contextlib
import functools
import json
import logging
import math
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.record.children import die_with_parent
from tasks.record.errors import TrackingError
from tasks.record.files import write_json
from tasks.record.journal import read_journal
from tasks.record.layout import StageLayout
from tasks.record.layout import home as pretune_home
from tasks.record.manifest import Manifest, Request, flatten, read_request
from tasks.registry.datasets import card_note, log_card, log_data
from tasks.registry.experiments import find_experiment
from tasks.registry.flow_links import FLOW_TAGS, flow_run_of, flow_tags
from tasks.registry.moved import settle_home
from tasks.registry.records import records_of_manifest
from tasks.registry.store import (
    Registration,
    artifact_folder,
    database_file,
    database_uri,
    locked,
    make_private,
    read_registration,
    run_and_experiment,
    stage_locked,
    stage_name,
    store_identity,
    tracking_uri,
)
from tasks.services.records import credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

log = logging.getLogger(__name__)

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
STAGE_KEY = "pretune.stage_key"
EXECUTION = "execution."
STEP_METRICS = (
    *("loss", "learning_rate", "grad_norm", "tokens_seen", "tokens_per_second", "mfu", "peak_memory_bytes"),
    *("data_loading_share", "checkpoint_stall_seconds", "goodput"),
)
BOOKKEEPING = {"step", "time", "attempt", "max_steps", "seconds_left"}
CHUNK_BYTES = 1 << 20
METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100
MAX_KEY, MAX_PARAM, MAX_TAG = 250, 6000, 5000
SYNC_EVERY_SECONDS = 5.0


@contextlib.contextmanager
def answering(home: Path, doing: str) -> Iterator[None]:
    """Turn whatever MLflow raises inside the block into a TrackingError that says where and while doing what."""
    import requests
    import sqlalchemy
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise TrackingError(
            f"MLflow at {tracking_uri(home)} failed while {doing} ({reason}); nothing is lost, try again when it answers"
        ) from error


def connect(home: Path) -> "MlflowClient":
    """The process's one client for this home's store; the database is made if it does not exist yet.

    Importing MLflow takes about two seconds, every further call next to nothing.
    """
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
    }.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri(home)
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given is None and uri.startswith("http"):
        os.environ["MLFLOW_TRACKING_USERNAME"] = credentials(home).user
        os.environ["MLFLOW_TRACKING_PASSWORD"] = credentials(home).mlflow_password
    import mlflow

    with answering(home, "connecting"):
        # The registry's SQL store looks logged models up in the process-wide store, whatever the client was given, and
        # would make a mlflow.db in the working directory. Setting it also sets the variable, which must stay the user's.
        mlflow.set_tracking_uri(uri)
        if given is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        if uri == database_uri(home) and not database_file(home).exists():
            make_database(home)
        if given is None:
            settled(home, os.getpid())
        return open_client(uri, os.getpid())


@functools.lru_cache(maxsize=8)
def open_client(uri: str, process_id: int) -> "MlflowClient":
    """A client per address and process: a connection pool must not be used on both sides of a fork."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@functools.lru_cache(maxsize=8)
def settled(home: Path, process_id: int) -> None:
    """Once in a process: a home does not move under it."""
    settle_home(home)


def make_database(home: Path) -> None:
    """Make this home's database, once however many processes ask for it, readable by its owner only.

    MLflow's 68 migrations are not one transaction, so a maker that was killed would leave a database that nobody can open.
    It is made under another name; a server that made its own meanwhile keeps it.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = database_file(home)
    with locked(path.with_name("initialise.lock")):
        if path.exists():
            return
        unfinished = path.with_name("unfinished.db")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT, 0o600))
        store = SqlAlchemyStore(f"sqlite:///{unfinished}", make_private(artifact_folder(home)).as_uri())
        store.engine.dispose()
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
        unfinished.unlink()


def initialise(home: Path) -> str:
    """Make the database if it is not there; safe in any number of processes. Returns the address of the store."""
    connect(home)
    return tracking_uri(home)


def sync(home: Path, stage: StageLayout, status: Status | None = None) -> str:
    """Bring the stage's MLflow run up to date with its folder and return the run's id.

    The status is FINISHED once the manifest is there, else `status`, else what the folder says. A stage that was shipped to
    its end answers without importing MLflow. Raises TrackingError if MLflow does not answer; the next call ships the rest.
    """
    with stage_locked(home, stage):
        manifest = Manifest.read(stage.manifest) if stage.manifest.exists() else None
        known = read_registration(home, stage)
        if known and manifest and known.finished == manifest.digest:
            return known.run_id
        client = connect(home)
        with answering(home, f"shipping {stage_name(home, stage)}"):
            run, known = ensure_run(client, home, stage)
            describe_execution(client, home, run, stage)
            known = ship_journal(client, stage, known)
            if manifest:
                ship_manifest(client, run, manifest)
                link_judged(client, home, run, manifest)
                if card := log_card(client, run.info.run_id, stage.path):
                    set_tags(client, run, {"mlflow.note.content": card_note(card)})
            set_status(client, run, "FINISHED" if manifest else status or folder_status(stage))
        if manifest:
            known = known.model_copy(update={"finished": manifest.digest})
        write_json(stage.registration, known)
        return known.run_id


def folder_status(stage: StageLayout) -> Status:
    """How a stage without a manifest stands, by what its last attempt left."""
    if stage.error.exists():
        return "FAILED"
    return "KILLED" if stage.stop.exists() else "RUNNING"


def ensure_run(client: "MlflowClient", home: Path, stage: StageLayout) -> tuple["Run", Registration]:
    """Find the stage's run by its recorded id or its key, or create it. The caller holds the stage's lock."""
    from mlflow.exceptions import MlflowException

    request = read_request(stage)
    key = f"{request.digest}@{stage_name(home, stage)}"
    if known := read_registration(home, stage):
        try:
            run = client.get_run(known.run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if run.info.lifecycle_stage == "active" and run.data.tags.get(STAGE_KEY) == key:
                return run, known
    everywhere = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(everywhere, filter_string=f"tags.`{STAGE_KEY}` = '{key}'", max_results=1)
    run = runs[0] if runs else create_run(client, home, stage, key)
    describe_run(client, home, run, request)
    known = Registration(store=store_identity(home), run_id=run.info.run_id, versions=known.versions if known else {})
    write_json(stage.registration, known)
    return run, known


def create_run(client: "MlflowClient", home: Path, stage: StageLayout, key: str) -> "Run":
    run_name, experiment = run_and_experiment(home, stage)
    tags = {
        STAGE_KEY: key,
        "pretune.stage": stage_name(home, stage),
        "mlflow.source.name": "pretune",
        "mlflow.source.type": "LOCAL",
    }
    return client.create_run(find_experiment(client, home, experiment), tags=tags, run_name=run_name)


def describe_run(client: "MlflowClient", home: Path, run: "Run", request: Request) -> None:
    """Parameters (the identity, which never changes) and data sets of the run."""
    from mlflow.entities import Param

    identity = flatten({"kind": request.kind} | request.identity)
    identity |= {f"input.{role}": entry.digest for role, entry in request.inputs.items()}
    params = {clean_key(key): plain(value)[:MAX_PARAM] for key, value in identity.items()}
    missing = [Param(key, value) for key, value in params.items() if key not in run.data.params]
    for batch in in_batches(missing, PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=batch)
    log_data(client, run.info.run_id, request)


def describe_execution(client: "MlflowClient", home: Path, run: "Run", stage: StageLayout) -> None:
    """Tags: how the stage is executed and for which flow run, which may change; what is not known, or no more, has no tag."""
    values = {f"{EXECUTION}{key}": value for key, value in flatten(read_request(stage).execution).items()}
    tags = {clean_key(key): plain(value) for key, value in values.items() if value is not None}
    tags |= flow_tags(home, flow_run_of(stage))
    for key in run.data.tags:
        if key not in tags and (key.startswith(EXECUTION) or key in FLOW_TAGS):
            client.delete_tag(run.info.run_id, key)
    set_tags(client, run, tags)


def set_tags(client: "MlflowClient", run: "Run", tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    wanted = {clean_key(key): str(value)[:MAX_TAG] for key, value in tags.items()}
    changed = [RunTag(key, value) for key, value in wanted.items() if run.data.tags.get(key) != value]
    for batch in in_batches(changed, PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, tags=batch)


def ship_journal(client: "MlflowClient", stage: StageLayout, known: Registration) -> Registration:
    """Send what the journal has grown by. MLflow drops a point that it already has, so shipping twice does no harm."""
    from mlflow.entities import RunTag

    while True:
        lines, end = read_journal(stage.journal, known.shipped_bytes, CHUNK_BYTES)
        if end == known.shipped_bytes:
            return known
        metrics = [metric for line in lines for metric in journal_metrics(line)]
        for batch in in_batches(metrics, METRICS_PER_BATCH):
            client.log_batch(known.run_id, metrics=batch)
        if verdicts := [line for line in lines if line["kind"] == "verdict"]:
            tags = {"verdict": verdicts[-1]["verdict"], "verdict_reason": verdicts[-1]["reason"]}
            client.log_batch(known.run_id, tags=[RunTag(key, value[:MAX_TAG]) for key, value in tags.items()])
        known = known.model_copy(update={"shipped_bytes": end})
        write_json(stage.registration, known)


def journal_metrics(line: dict[str, Any]) -> "list[Metric]":
    """The metrics of one journal line, with its own step and time; a value that was not finite is shown as NaN."""
    from mlflow.entities import Metric

    if line["kind"] not in ("step", "evaluation"):
        return []
    values = line | dict.fromkeys(line.get("nonfinite", ()), math.nan)
    wanted = STEP_METRICS if line["kind"] == "step" else [key for key in values if key not in BOOKKEEPING]
    return [
        Metric(clean_key(key), float(values[key]), round(line["time"] * 1000), line["step"])
        for key in wanted
        if isinstance(values.get(key), int | float) and not isinstance(values[key], bool)
    ]


def ship_manifest(client: "MlflowClient", run: "Run", manifest: Manifest) -> None:
    """The numbers of the manifest as final metrics, its words as tags."""
    client.log_batch(run.info.run_id, metrics=manifest_metrics(manifest))
    words: dict[str, Any] = {key: value for key, value in manifest.details.items() if isinstance(value, str | bool)}
    words |= {"manifest_digest": manifest.digest, "git_commit": manifest.environment.get("commit")}
    if "markdown" in words:
        words["mlflow.note.content"] = words.pop("markdown")
    set_tags(client, run, {key: plain(value) for key, value in words.items() if value is not None})


def link_judged(client: "MlflowClient", home: Path, run: "Run", manifest: Manifest) -> None:
    """What an evaluation measured, at the registered model that it judged too: its page shows it, and leads to the run."""
    from mlflow.entities import LoggedModelInput

    judged = manifest.inputs.get("candidate") if manifest.kind == "evaluate" else None
    everywhere = [found.experiment_id for found in client.search_experiments()] if judged else []
    for record in records_of_manifest(home, judged.digest) if judged else ():
        if client.search_logged_models(everywhere, filter_string=f"model_id = '{record.model_id}'"):
            client.log_batch(run.info.run_id, metrics=manifest_metrics(manifest, record.model_id))
            client.log_inputs(run.info.run_id, models=[LoggedModelInput(record.model_id)])


def manifest_metrics(manifest: Manifest, model_id: str | None = None) -> "list[Metric]":
    """Final values. Of two at one step MLflow shows the later, and `created_at` is cut to the second, so its end is taken."""
    from mlflow.entities import Metric

    when = round(datetime.fromisoformat(manifest.created_at).timestamp() * 1000) + 999 if manifest.created_at else 0
    return [
        Metric(clean_key(key), float(value), when, manifest.step or 0, model_id=model_id)
        for key, value in manifest.metrics.items()
        if value is not None
    ]


def set_status(client: "MlflowClient", run: "Run", status: Status) -> None:
    if run.info.status == status:
        return
    if status == "RUNNING":
        client.update_run(run.info.run_id, status=status)
    else:
        client.set_terminated(run.info.run_id, status=status)


def in_batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """Lists of at most `size` items, in order."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def clean_key(key: str) -> str:
    """A name that MLflow takes: letters, digits, `_-. :/`, at most 250 characters."""
    return re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)[:MAX_KEY]


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def follow(home: Path, stage: StageLayout, parent: int) -> int:
    """Sync every few seconds until the stage is done, SIGTERM comes or process `parent` is gone; returns an exit code.

    A server that is away is logged and tried again, but for the last time, which nobody should wait for: the next `sync` of
    whoever comes then ships the rest. A stage that its parent left unfinished is marked KILLED.
    """
    ending = False
    while True:
        orphaned = os.getppid() != parent
        ending = ending or orphaned or stage.manifest.exists()
        status: Status | None = "KILLED" if orphaned and not stage.error.exists() else None
        try:
            sync(home, stage, status)
        except TrackingError as error:
            log.warning("%s", error)
            if ending:
                return 1
        if ending:
            return 0
        ending = signal.sigtimedwait({signal.SIGTERM}, SYNC_EVERY_SECONDS) is not None


def main() -> int:
    """`python -m tasks.registry.tracking STAGE_FOLDER [PARENT_PID]`: follow the stage of the parent process, at low priority.

    A parent that names itself is noticed also when it dies while this process is still starting.
    """
    parent = int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    die_with_parent(signal.SIGTERM)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    os.nice(10)
    return follow(pretune_home(), StageLayout(Path(sys.argv[1]).resolve()), parent)


if __name__ == "__main__":
    sys.exit(main())
