"""Preparing text in parts under Prefect: which task runner does them, and what happens to those that fail."""

import os
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.config.data import PreparationConfig
from tasks.launch.preparation import run_part
from tasks.launch.stage import request_stop
from tasks.orchestration.stage import StageView, orchestrator
from tasks.record.errors import DiskFullError, LockedError, PretuneError, StageError, StoppedError
from tasks.record.failures import leave_error
from tasks.record.files import write_json
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout
from tasks.record.lock import hold
from tasks.record.parts import STEPS, Part, WorkLayout, clear_leftovers
from tasks.record.progress import ProgressReader
from tasks.stages.work import Work

ROUNDS = 3
"""So often a part is begun whose process died, or whose machine was lost."""
POLL_SECONDS = 0.5


def task_runner(preparation: PreparationConfig) -> "TaskRunner[Any]":
    """Processes on this machine, started by threads, or a Ray cluster."""
    if preparation.ray_address is None:
        return ThreadPoolTaskRunner(max_workers=preparation.num_processes or len(os.sched_getaffinity(0)))
    from prefect_ray import RayTaskRunner

    return RayTaskRunner(address=preparation.ray_address)


@task(name="prepare part", task_run_name="{step} {index}", cache_policy=NO_CACHE)
def prepare_part(stage: str, step: str, index: int) -> None:
    """One part, in a process of its own on the machine that the task runner chose."""
    run_part(StageLayout(Path(stage)), Part(step, index))


def prepare_parts(work: Work) -> None:
    """Every step but the last, its parts as mapped tasks. Where another flow run does that already, wait for it.

    Raises the mistake of the user that a part found, or StageError for a part that failed again and again.
    """
    stage = work.stage
    while work.result() is None:
        try:
            with hold(stage):
                begin(work)
                try:
                    for step in STEPS:
                        map_step(stage, step)
                except PretuneError as error:
                    refuse(stage, error)
                    raise
            return
        except LockedError:
            time.sleep(POLL_SECONDS)


def begin(work: Work) -> None:
    work.request.write(work.stage.request)
    write_json(work.stage.orchestrator, orchestrator())
    work.stage.error.unlink(missing_ok=True)
    work.stage.stop.unlink(missing_ok=True)
    clear_leftovers(WorkLayout(work.stage))


def map_step(stage: StageLayout, step: str) -> None:
    """Every part of the step that is not done, again where a process or a machine was lost."""
    layout = WorkLayout(stage)
    for attempt in range(1, ROUNDS + 1):
        pending = layout.pending(step)
        if not pending:
            return
        indices = [part.index for part in pending]
        futures = prepare_part.map(stage=unmapped(str(stage.path)), step=unmapped(step), index=indices)
        failures = follow(stage, step, list(futures), attempt)
        asked = [failure for failure in failures if not isinstance(failure, StageError)]
        if asked:
            raise next((failure for failure in asked if not isinstance(failure, StoppedError)), asked[0])
        left = layout.pending(step)
        if left and attempt == ROUNDS:
            reason = str(failures[0]) if failures else f"{stage.path.name}: {left[0].name} was lost {ROUNDS} times"
            raise StageError(reason)


def follow(stage: StageLayout, step: str, futures: list[PrefectFuture[None]], attempt: int) -> list[PretuneError]:
    """Wait for all, showing how far they are; a mistake of the user ends the others. Returns what went wrong, in order."""
    view = StageView(stage, UUID(orchestrator()["flow_run_id"]), None)
    layout, reader, journal = WorkLayout(stage), ProgressReader(stage), Journal(stage.journal, attempt)
    failures: list[PretuneError] = []
    shown = -1.0
    for number, future in enumerate(futures, 1):
        while not (outcome := ended(future)):
            fraction = round(layout.fraction(step), 3)
            if fraction != shown:
                journal.append("progress", fraction=fraction, message=f"{step}: part {number:,} of {len(futures):,}")
                shown = fraction
            view.update(reader.read())
        if isinstance(outcome[0], PretuneError):
            failures.append(outcome[0])
            if not isinstance(outcome[0], StageError):
                request_stop(stage)
    journal.close()
    return failures


def ended(future: PrefectFuture[None]) -> tuple[object] | None:
    """What the task gave or raised, or None while it runs. A machine that was lost shows as an exception that is not ours."""
    future.wait(timeout=POLL_SECONDS)
    try:
        return (future.result(timeout=0, raise_on_failure=False),)
    except TimeoutError:
        return None


def refuse(stage: StageLayout, error: PretuneError) -> None:
    """Record a mistake of the user; what was made with it is removed, unless only the disk was full."""
    if isinstance(error, (StageError, StoppedError)):
        return
    if not isinstance(error, DiskFullError):
        shutil.rmtree(WorkLayout(stage).path)
    leave_error(stage.error, error)
