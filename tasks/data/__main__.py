"""`python -m tasks.data STAGE_FOLDER [STEP INDEX]`: the process that prepares a data set or a set of examples.

With a step and an index it does that part of a preparation of text, as one of several processes; without, it does whatever
is left, one part after the other, and puts the results in their place. Examples are made at once, in a sub-folder that is
moved into the stage's folder when it is whole. A mistake of the user's leaves nothing but the record of it.
"""

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tasks.data.example_preparation import examples_settings, prepare_examples
from tasks.data.inputs.sources import SOURCES_FILE, examples_identity, examples_listing
from tasks.data.steps import Preparation, do_part
from tasks.record.children import STOPPED_EXIT_CODE, USER_ERROR_EXIT_CODE
from tasks.record.errors import DataError, DiskFullError, PretuneError, StoppedError
from tasks.record.failures import leave_error
from tasks.record.files import file_entries, fsync_folder, write_json
from tasks.record.journal import Journal, read_journal
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request, read_request, write_manifest
from tasks.record.parts import SHARES, STEPS, Part, WorkLayout, clear_leftovers

EXAMPLES_FOLDER = "partial"
EXAMPLES_PAYLOAD = (EXAMPLES_FOLDER, "train.jsonl", "test.jsonl", "data_card.md")
REPORT_EVERY_SECONDS = 0.5

log = logging.getLogger("tasks.data")


def main(arguments: list[str]) -> int:
    """Exit code 0 when done, 2 after writing down the user's mistake, 3 when asked to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stage = StageLayout(Path(arguments[0]).resolve())
    if stage.manifest.exists():
        return 0
    if len(arguments) == 3:
        return run_part(stage, Part(arguments[1], int(arguments[2])))
    return run_stage(stage)


def run_part(stage: StageLayout, part: Part) -> int:
    """One part. Its mistake is recorded in the work folder: another part may have made one too."""
    work = WorkLayout(stage)
    work.error(part).unlink(missing_ok=True)
    try:
        do_part(Preparation.of(stage), part, PartReporter(work, part))
    except StoppedError as stopped:
        log.info("%s", stopped)
        return STOPPED_EXIT_CODE
    except PretuneError as error:
        leave_error(work.error(part), error)
        log.error("%s", error)
        return USER_ERROR_EXIT_CODE
    return 0


def run_stage(stage: StageLayout) -> int:
    """Everything that is left."""
    stage.error.unlink(missing_ok=True)
    journal = Journal(stage.journal, next_attempt(stage))
    request = read_request(stage)
    do = prepare_text if request.kind == "prepare" else write_examples
    started = time.monotonic()
    try:
        manifest = do(stage, request, Reporter(stage, journal))
    except StoppedError as stopped:
        log.info("%s", stopped)
        return STOPPED_EXIT_CODE
    except PretuneError as error:
        if not isinstance(error, DiskFullError):
            remove_payload(stage)
        leave_error(stage.error, error)
        log.error("%s", error)
        return USER_ERROR_EXIT_CODE
    numbers = ", ".join(f"{name} {value:,}" for name, value in manifest.metrics.items() if isinstance(value, int))
    log.info("%s: %s in %.1f s", stage.path.name, numbers, time.monotonic() - started)
    journal.append("done", durable=True)
    journal.close()
    return 0


def prepare_text(stage: StageLayout, request: Request, report: "Reporter") -> Manifest:
    """Every part that is missing, then the data set."""
    from tasks.data.finish import complete, finish

    preparation = Preparation(stage, request)
    work = preparation.work
    if not work.finished.exists():
        clear_leftovers(work)
        for step in STEPS:
            for part in work.pending(step):
                do_part(preparation, part, StepReporter(report, work, part))
        report(sum(SHARES.values()), "finishing")
        finish(preparation)
    return complete(work)


def write_examples(stage: StageLayout, request: Request, report: "Reporter") -> Manifest:
    """Make the payload in a folder of its own and move it to its place; the manifest follows."""
    remove_payload(stage)
    folder = stage.path / EXAMPLES_FOLDER
    folder.mkdir()
    try:
        manifest = prepare_examples(request, folder, stage.path.parent.parent, report)
        section = request.execution["section"]
        if request.identity["source"] != examples_identity(stage.path.parent.parent, examples_settings(request), section):
            files = " or ".join(filter(None, (request.execution["data_path"], request.execution["test_path"])))
            raise DataError(
                f"the files of {files or 'the sample'} were changed while they were read; run the "
                "same command again when nothing writes to them"
            )
        manifest = with_sources(manifest, folder, examples_listing(stage.path.parent.parent, examples_settings(request)))
    except BaseException:
        remove_payload(stage)
        raise
    for path in folder.rglob("*"):
        fsync_folder(path)
    for entry in sorted(folder.iterdir()):
        entry.rename(stage.path / entry.name)
    folder.rmdir()
    fsync_folder(stage.path)
    return write_manifest(stage.path, manifest)


def with_sources(manifest: Manifest, folder: Path, sources: list[dict[str, Any]]) -> Manifest:
    """The manifest with a list of the files that the examples were read from, by which they are found again."""
    write_json(folder / SOURCES_FILE, sources)
    return manifest.model_copy(update={"files": manifest.files + file_entries(folder, [folder / SOURCES_FILE])})


class Reporter:
    """Writes progress to the journal, twice a second and when the work changes, and obeys the stop file."""

    def __init__(self, stage: StageLayout, journal: Journal) -> None:
        self.stage, self.journal, self._next, self._work = stage, journal, 0.0, ""

    def __call__(self, fraction: float, message: str) -> None:
        now, work = time.monotonic(), message.partition(":")[0]
        if now < self._next and work == self._work:
            return
        self._next, self._work = now + REPORT_EVERY_SECONDS, work
        self.journal.append("progress", fraction=round(fraction, 4), message=message)
        check_stop(self.stage, fraction)


class StepReporter:
    """Turns how far a part is into how far the whole preparation is."""

    def __init__(self, report: Reporter, work: WorkLayout, part: Part) -> None:
        self.report, self.before = report, work.fraction(part.step)
        self.share = SHARES[part.step] / len(work.parts(part.step))

    def __call__(self, fraction: float, message: str) -> None:
        self.report(self.before + self.share * fraction, message)


class PartReporter:
    """Writes how far a part's own process is where the others can see it, and obeys the stop file."""

    def __init__(self, work: WorkLayout, part: Part) -> None:
        self.stage, self.path, self._next = work.stage, work.progress(part), 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, fraction: float, message: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + REPORT_EVERY_SECONDS
        self.path.write_text(f"{fraction:.4f}")
        check_stop(self.stage, fraction)


def check_stop(stage: StageLayout, fraction: float) -> None:
    if stage.stop.exists():
        raise StoppedError(f"{stage.path.name} was asked to stop at {fraction:.0%}; the same command continues it")


def remove_payload(stage: StageLayout) -> None:
    """Remove what this process makes, by name, whole or half-made; nothing else in the folder is touched."""
    from tasks.data.finish import payload_patterns

    for pattern in (*EXAMPLES_PAYLOAD, *payload_patterns(), ".manifest.json.*", ".error.json.*"):
        for path in stage.path.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def next_attempt(stage: StageLayout) -> int:
    """The supervisor's number of this attempt, or the next one in the journal where nobody supervises."""
    if (given := os.environ.get("PRETUNE_ATTEMPT")) is not None:
        return int(given)
    lines, _ = read_journal(stage.journal)
    return 1 + max((line["attempt"] for line in lines), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
