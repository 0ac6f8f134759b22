"""`python -m tasks.launch.supervisor STAGE`: owns a stage, starts its ranks, restarts them, stops them, outlives its flow.

It is a process of its own in a session of its own: a killed flow run, worker or server costs no step. Its children die with
it, whatever kills it.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.config.training import LaunchConfig
from tasks.launch.local import data_command, training_command
from tasks.launch.orchestrator import CancellationWatch
from tasks.record.children import STOPPED_EXIT_CODE, USER_ERROR_EXIT_CODE, ended_by, start_child
from tasks.record.errors import LockedError, StageError
from tasks.record.failures import Failure, Output, explained, leave_error, reserve_records, take_first_failure
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.lock import StageLock, hold, token_on_disk
from tasks.record.manifest import Request, read_request

logger = logging.getLogger("pretune.supervisor")

POLL_SECONDS = 0.1
TRACKING_DELAY_SECONDS = 20.0
"""A stage that is done sooner is mirrored to MLflow once, at its end, by the flow; starting a process would cost more."""
STOP_GRACE_SECONDS = 120.0
"""Ranks that were asked to stop and have not after so long are ended."""
KILLED = re.compile(r"failed \(exitcode: -(\d+)\) local_rank: (\d+)")
"""What the launcher says of the rank that it saw end first, if that was by a signal."""
KILLED_TOO = re.compile(r"\(local_rank: (\d+)\)\n *exitcode +: -(\d+)")
"""What it says of one that it saw end at the same look as another, which may only have echoed it."""


@dataclass
class Attempt:
    """One start of a stage's process."""

    process: subprocess.Popen[bytes]
    token: int
    started: float


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stage = StageLayout(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, lambda *_: stage.stop.touch())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold(stage) as lock:
            try:
                return supervise(stage, read_request(stage), lock)
            except OSError as error:
                return refuse(stage, error)
    except LockedError as error:
        logger.info("%s", error)
        return 0


def refuse(stage: StageLayout, error: OSError) -> int:
    """Leave word of a full disk, or of a limit, that keeps the supervisor itself from writing; raises what is neither."""
    said = explained(error, "the supervisor", Output(stage.path))
    if said is error:
        raise error
    take_first_failure(stage, token_on_disk(stage))
    leave_error(stage.error, said)
    return USER_ERROR_EXIT_CODE


def supervise(stage: StageLayout, request: Request, lock: StageLock) -> int:
    """Start the process until it is done, stopped, refused by a user error, or has failed too often without progress."""
    launch = LaunchConfig.model_validate(request.execution.get("launch", {"num_processes": 1, "max_restarts": 0}))
    watch, failures, progress = CancellationWatch(stage), 0, committed(stage)
    while True:
        attempt = start(stage, request, launch, lock)
        code = attend(stage, request, launch, lock, attempt, watch)
        logger.info("attempt %d ended with exit code %d", attempt.token, code)
        first = take_first_failure(stage, attempt.token)
        if stage.manifest.exists():
            return 0
        if first is not None and first.is_users:
            leave_error(stage.error, first.exception())
        if stage.error.exists():
            return USER_ERROR_EXIT_CODE
        if stage.stop.exists():
            return STOPPED_EXIT_CODE
        failures = failures + 1 if (now := committed(stage)) == progress else 1
        progress = now
        if failures > launch.max_restarts:
            leave_error(stage.error, StageError(failure(stage, attempt, code, failures, first)))
            return 1


def committed(stage: StageLayout) -> int:
    """What a restart can build on: the number of the newest checkpoint's step, 0 without one."""
    steps = [int(p.name.removeprefix("step_")) for p in stage.checkpoints.glob("step_*")]
    return max(steps, default=0)


def start(stage: StageLayout, request: Request, launch: LaunchConfig, lock: StageLock) -> Attempt:
    token = lock.next_token()
    trains = request.kind in ("base", "pretrain", "finetune", "evaluate")
    command, environment = training_command(stage, launch) if trains else data_command(stage)
    environment |= {"PRETUNE_ATTEMPT": str(token)}
    if request.kind == "base":
        del environment["HF_HUB_OFFLINE"]  # the one rank that may fetch: the weights of a base on the hub
    folder = stage.logs(token)
    folder.mkdir(parents=True, exist_ok=True)
    if trains:
        reserve_records(stage, token, launch.num_processes)
    journal = Journal(stage.journal, token)
    journal.append("event", durable=True, event="attempt", command=command[1:], num_processes=launch.num_processes)
    journal.close()
    with (folder / "launcher.log").open("ab") as log:
        process = start_child(command, log, env=os.environ | environment)
    logger.info("attempt %d: process %d: %s", token, process.pid, " ".join(command))
    return Attempt(process, token, time.monotonic())


def attend(
    stage: StageLayout, request: Request, launch: LaunchConfig, lock: StageLock, attempt: Attempt, watch: CancellationWatch
) -> int:
    """Wait for the attempt's end; beat, mirror, obey cancellation, end what stalls. Returns the exit code."""
    mirror: subprocess.Popen[bytes] | None = None
    stop_asked: float | None = None
    try:
        while (code := attempt.process.poll()) is None:
            lock.beat()
            now = time.monotonic()
            if watch.cancelled(now):
                stage.stop.touch()
            if stage.stop.exists():
                stop_asked = stop_asked or now
                if now - stop_asked > STOP_GRACE_SECONDS or request.kind in ("prepare", "examples", "base"):
                    attempt.process.kill()
            elif now - max(attempt.started, last_write(stage)) > launch.stall_timeout_seconds:
                logger.info("nothing was written for %.0f s: ending the ranks", launch.stall_timeout_seconds)
                attempt.process.kill()
            if mirror is None and request.kind in ("pretrain", "finetune") and now - attempt.started > TRACKING_DELAY_SECONDS:
                mirror = start_mirror(stage)
            time.sleep(POLL_SECONDS)
        return code
    finally:
        if mirror is not None and mirror.poll() is None:
            mirror.terminate()
            mirror.wait()


def last_write(stage: StageLayout) -> float:
    """When the journal was last written, on the monotonic clock."""
    if not stage.journal.exists():
        return 0.0
    return time.monotonic() - max(0.0, time.time() - stage.journal.stat().st_mtime)


def start_mirror(stage: StageLayout) -> subprocess.Popen[bytes]:
    """A child that ships the journal to MLflow while the ranks run. Whatever becomes of it costs no step."""
    with stage.mirror_log.open("ab") as log:
        return start_child([sys.executable, "-m", "tasks.registry.tracking", str(stage.path), str(os.getpid())], log)


def failure(stage: StageLayout, attempt: Attempt, code: int, failures: int, first: Failure | None) -> str:
    """One sentence with what the first rank said, or the last line of a process that left no record; and where the rest is."""
    folder = stage.logs(attempt.token)
    said = first.message if first is not None and not first.is_echo else killed_rank(folder) or last_words(folder)
    times = "once" if failures == 1 else f"{failures} times without progress"
    return f"{stage.path.name} failed {times} (exit code {code}): {said[:600]}; logs are in {folder}"


def killed_rank(folder: Path) -> str | None:
    """Which rank a signal ended, to which the others are only an echo."""
    log = folder / "launcher.log"
    said = log.read_text(errors="replace") if log.exists() else ""
    # The launcher itself ends the others by SIGTERM.
    echoed = [(number, rank) for rank, number in KILLED_TOO.findall(said) if int(number) != signal.SIGTERM]
    for number, rank in KILLED.findall(said) + echoed:
        return f"rank {rank} was {ended_by(int(number))}"
    return None


def last_words(folder: Path) -> str:
    """The last line about an error that a process left."""
    said = ""
    for log in sorted(folder.glob("*.log")):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "Error" in line), said or (lines[-1] if lines else ""))
    return said


if __name__ == "__main__":
    sys.exit(main())
