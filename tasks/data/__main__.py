"""`python -m tasks.data STAGE_FOLDER`: the process that prepares a data set or a set of examples.

Everything is made in a sub-folder and moved into the stage's folder when it is whole; the manifest follows. What an earlier,
killed process left there is removed first, and a mistake of the user's leaves nothing but the record of it.
"""

import logging
import shutil
import sys
import time
from pathlib import Path

from tasks.data.example_preparation import prepare_examples
from tasks.data.prepare import CARD_FILE, TOKENIZER_FOLDER, prepare_dataset
from tasks.data.shards import TOKEN_BYTES_FILE
from tasks.errors import USER_ERROR_EXIT_CODE, PretuneError, StoppedError
from tasks.journal import Journal, read_journal
from tasks.manifest import Manifest, fsync_folder, read_request, write_json, write_manifest
from tasks.run_layout import StageLayout

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
        write_manifest(stage.path, manifest)
        journal.append("done", durable=True)
    except StoppedError as stopped:
        remove_payload(stage)
        log.info("%s", stopped)
        return STOPPED_EXIT_CODE
    except PretuneError as error:
        remove_payload(stage)
        write_json(stage.error, {"error": type(error).__name__, "message": str(error)})
        log.error("%s", error)
        return USER_ERROR_EXIT_CODE
    finally:
        journal.close()
    return 0


class Reporter:
    """Writes progress to the journal, at most twice a second, and obeys the stop file."""

    def __init__(self, stage: StageLayout, journal: Journal) -> None:
        self.stage, self.journal, self._next = stage, journal, 0.0

    def __call__(self, fraction: float, message: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REPORT_EVERY_SECONDS
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
    for entry in sorted(work.iterdir()):
        entry.rename(stage.path / entry.name)
    work.rmdir()
    fsync_folder(stage.path)
    numbers = ", ".join(f"{name} {value:,}" for name, value in manifest.metrics.items() if isinstance(value, int))
    log.info("%s: %s in %.1f s", stage.path.name, numbers, time.monotonic() - started)
    return manifest


def remove_payload(stage: StageLayout) -> None:
    """Remove what this process makes, by name, whole or half-made; nothing else in the folder is touched."""
    for pattern in PAYLOAD:
        for path in stage.path.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def next_attempt(stage: StageLayout) -> int:
    lines, _ = read_journal(stage.journal)
    return 1 + max((line["attempt"] for line in lines), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
