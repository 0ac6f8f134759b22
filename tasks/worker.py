"""The only module given to `accelerate launch -m`: one rank of a training or evaluation stage."""

import importlib
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from tasks.record.children import STOPPED_EXIT_CODE, USER_ERROR_EXIT_CODE, die_with_parent
from tasks.record.errors import StoppedError
from tasks.record.failures import Failure, Output, open_record, record
from tasks.record.layout import StageLayout
from tasks.record.manifest import read_request


def main() -> int:
    """Run this rank. What happened is in the stage's files; the launcher does not hand exit codes on."""
    stage = StageLayout(Path(sys.argv[1]))
    attempt, rank = int(os.environ["PRETUNE_ATTEMPT"]), int(os.environ.get("RANK", "0"))
    die_with_launcher()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log_to(stage.logs(attempt) / f"rank_{rank}.log")
    own_record = open_record(stage, attempt, rank)
    try:
        run(stage, attempt)
    except StoppedError:
        return STOPPED_EXIT_CODE
    except Exception as error:  # noqa: BLE001 (the last line of defence of a process: what broke must be told)
        failure = Failure.of(error, rank, Output(stage.path))
        record(own_record, failure)
        with suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
        # Its threads may wait for ranks that wait for this one: the launcher ends those when this one is gone.
        os._exit(USER_ERROR_EXIT_CODE if failure.is_users else 1)
    return 0


def run(stage: StageLayout, attempt: int) -> None:
    """Join the other ranks and do what the request says."""
    from tasks.training.model.ranks import join_ranks

    request = read_request(stage)
    kind = importlib.import_module(f"tasks.training.{request.kind}")
    ranks = join_ranks()
    kind.run(stage, request, ranks, attempt)
    ranks.close()


def die_with_launcher() -> None:
    """Each rank is in a session of its own: without this it would outlive a launcher that was killed."""
    die_with_parent()
    if os.getppid() == 1:
        os._exit(1)


def log_to(path: Path) -> None:
    """Everything that this rank prints, and its logging, goes to its own file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
