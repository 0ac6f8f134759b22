"""`python -m tasks.data STAGE_FOLDER`: the process that prepares a data set or a set of examples.

Everything is made in a sub-folder and moved into the stage's folder when it is whole; the manifest follows. What an earlier,
killed process left there is removed first, and a mistake of the user's leaves nothing but the record of it.
"""

import logging
import os
import shutil
import sys
import time
from pathlib import Path

from tasks.data.example_preparation import examples_settings, prepare_examples
from tasks.data.prepare import CARD_FILE, TOKENIZER_FOLDER, prepare_dataset, prepare_settings
from tasks.data.shards import TOKEN_BYTES_FILE
from tasks.errors import USER_ERROR_EXIT_CODE, DataError, PretuneError, StoppedError
from tasks.journal import Journal, read_journal
from tasks.manifest import Manifest, Request, fsync_folder, read_request, write_json, write_manifest
from tasks.run_layout import StageLayout
from tasks.source_identity import data_identity, examples_identity, tokenizer_identity

STOPPED_EXIT_CODE = 3
WORK_FOLDER = "partial"
PAYLOAD = (
    WORK_FOLDER, TOKENIZER_FOLDER, TOKEN_BYTES_FILE, CARD_FILE, "train-*.bin", "train-*.documents.npy",
    "heldout-*.bin", "heldout-*.documents.npy", "train.jsonl", "test.jsonl", ".manifest.json.*", ".error.json.*",
)  # fmt: skip
REPORT_EVERY_SECONDS = 0.5

log = logging.getLogger("tasks.data")


def main(arguments: list[str]) -> int:
    """Exit code 0 after writing the manifest, 2 after writing error.json, 3 when asked to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stage = StageLayout(Path(arguments[0]).resolve())
    if stage.manifest.exists():
        return 0
    stage.error.unlink(missing_ok=True)
    remove_payload(stage)
    journal = Journal(stage.journal, next_attempt(stage))
    try:
        manifest = prepare(stage, Reporter(stage, journal))
    except StoppedError as stopped:
        remove_payload(stage)
        log.info("%s", stopped)
        return STOPPED_EXIT_CODE
    except PretuneError as error:
        remove_payload(stage)
        write_json(stage.error, {"error": type(error).__name__, "message": str(error)})
        log.error("%s", error)
        return USER_ERROR_EXIT_CODE
    except BaseException:
        remove_payload(stage)
        raise
    write_manifest(stage.path, manifest)
    journal.append("done", durable=True)
    journal.close()
    return 0


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
        if self.stage.stop.exists():
            raise StoppedError(f"{self.stage.path.name} was asked to stop at {fraction:.0%}; the same command starts it anew")


def prepare(stage: StageLayout, report: Reporter) -> Manifest:
    """Make the payload in the work folder and move it to its place; the manifest is returned, not written."""
    request = read_request(stage)
    work = stage.path / WORK_FOLDER
    work.mkdir()
    makers = {"prepare": prepare_dataset, "examples": prepare_examples}
    started = time.monotonic()
    manifest = makers[request.kind](request, work, report)
    check_unchanged(stage, request)
    for path in work.rglob("*"):
        fsync_folder(path)
    for entry in sorted(work.iterdir()):
        entry.rename(stage.path / entry.name)
    work.rmdir()
    fsync_folder(stage.path)
    numbers = ", ".join(f"{name} {value:,}" for name, value in manifest.metrics.items() if isinstance(value, int))
    log.info("%s: %s in %.1f s", stage.path.name, numbers, time.monotonic() - started)
    return manifest


def check_unchanged(stage: StageLayout, request: Request) -> None:
    """Raises DataError if what was read is not what the request was made for. A commit of the hub cannot change."""
    if "revision" in request.identity["source"]:
        return
    home = stage.path.parent.parent
    if request.kind == "prepare":
        data, tokenizer = prepare_settings(request)
        now = [data_identity(home, data), tokenizer_identity(home, tokenizer)]
        then = [request.identity["source"], request.identity["tokenizer_source"]]
    else:
        now, then = [examples_identity(home, examples_settings(request))], [request.identity["source"]]
    if now != then:
        raise DataError(
            f"the files of {request.execution['data_path'] or 'the sample'} were changed while they were read; run the same "
            "command again when nothing writes to them"
        )


def remove_payload(stage: StageLayout) -> None:
    """Remove what this process makes, by name, whole or half-made; nothing else in the folder is touched."""
    for pattern in PAYLOAD:
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
