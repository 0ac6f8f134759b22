"""One part of a preparation in a process of its own, on the machine that calls this. Knows no library."""

import logging
import os
import time

from tasks.launch.local import data_command
from tasks.record.children import start_child
from tasks.record.errors import StageError, StoppedError
from tasks.record.failures import left_error
from tasks.record.layout import REPOSITORY, StageLayout
from tasks.record.parts import Part, WorkLayout

logger = logging.getLogger("pretune")
POLL_SECONDS = 0.1


def run_part(stage: StageLayout, part: Part) -> None:
    """Do the part, if it is not done; the process dies with the caller.

    Raises the user's mistake that the process left, StoppedError, or StageError if it ended in any other way.
    """
    work = WorkLayout(stage)
    if stage.manifest.exists() or work.folder(part).is_dir():
        return
    command, environment = data_command(stage)
    log = stage.part_log(part.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = start_child([*command, part.step, str(part.index)], output, env=os.environ | environment, cwd=REPOSITORY)
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode == 0 and work.folder(part).is_dir():
        return
    if work.error(part).exists():
        raise left_error(work.error(part))
    if stage.stop.exists():
        raise StoppedError(f"{stage.path.name} was asked to stop; the same command continues it")
    said = log.read_text(errors="replace").strip().rpartition("\n")[2]
    code = process.returncode
    raise StageError(f"{stage.path.name} {part.name} ended with exit code {code}: {said[:300]}; its log is {log}")
