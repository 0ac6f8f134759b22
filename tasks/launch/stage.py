"""Start a stage or join the one that runs, follow it to its end, ask it to stop. Used by flows; knows no library."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tasks.config.training import LaunchConfig
from tasks.launch.local import check_devices
from tasks.record.errors import DiskFullError, StageError, StoppedError
from tasks.record.failures import left_error
from tasks.record.files import write_json
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.lock import owner
from tasks.record.manifest import Manifest, Request, finished, read_request
from tasks.record.progress import Progress, ProgressReader

START_SECONDS = 30.0
NOTHING_FREE_BYTES = 1 << 14


def start_or_attach(stage: StageLayout, request: Request, orchestrator: dict[str, Any] | None = None) -> None:
    """See to it that one supervisor works on the request: none if it is done, the live one if there is one, else a new one.

    `orchestrator` says which flow run waits (`flow_run_id`, `api_url`): its cancellation stops the stage.
    Raises RequestChangedError if the folder was begun with another request, ConfigError for more GPUs than there are.
    """
    if finished(stage, request):
        return
    if launch := request.execution.get("launch"):
        check_devices(LaunchConfig.model_validate(launch))
    stage.path.mkdir(parents=True, exist_ok=True)
    running = owner(stage) is not None
    if not stage.request.exists() or (not running and read_request(stage) != request):
        request.write(stage.request)
    if orchestrator is not None:
        write_json(stage.orchestrator, orchestrator)
    if running:
        return
    stage.error.unlink(missing_ok=True)
    stage.stop.unlink(missing_ok=True)
    spawn_supervisor(stage)


def spawn_supervisor(stage: StageLayout) -> None:
    """Start a supervisor in a session of its own and wait until it owns the stage, or has already ended."""
    stage.supervisor_log.parent.mkdir(parents=True, exist_ok=True)
    with stage.supervisor_log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.launch.supervisor", str(stage.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPOSITORY, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_SECONDS
    while owner(stage) is None and process.poll() is None:
        if time.monotonic() > deadline:
            raise StageError(f"{stage.path.name}: the supervisor did not start within {START_SECONDS:.0f} s; see {log.name}")
        time.sleep(0.02)


def follow(stage: StageLayout, on_progress: Callable[[Progress], None], poll_seconds: float = 0.5) -> Manifest:
    """Wait for the stage and return its manifest; `on_progress` is called on every poll.

    Raises the stage's own error (a user's mistake, StageError), or StoppedError if it was asked to stop.
    """
    reader = ProgressReader(stage)
    while True:
        # The order matters: a stage whose owner is gone has written everything that it ever will.
        ended = owner(stage) is None
        on_progress(reader.read())
        if stage.manifest.exists():
            return Manifest.read(stage.manifest)
        if ended:
            raise outcome(stage)
        time.sleep(poll_seconds)


def outcome(stage: StageLayout) -> Exception:
    """Why a stage without owner and without manifest ended."""
    if stage.error.exists():
        return left_error(stage.error)
    if stage.stop.exists():
        return StoppedError(f"{stage.path.name} was stopped at a step boundary; run the same command to continue it")
    if (free := shutil.disk_usage(stage.path).free) < NOTHING_FREE_BYTES:
        return DiskFullError(
            f"{stage.path} is on a disk that is full: {free:,} bytes are free; make space and run the same command again"
        )
    return StageError(
        f"{stage.path.name}: its supervisor was killed; run the same command to continue from the last checkpoint"
    )


def request_stop(stage: StageLayout) -> None:
    """Ask the ranks to stop at the next step boundary, after a checkpoint. Does not wait."""
    if stage.path.is_dir() and not stage.manifest.exists():
        stage.stop.touch()
