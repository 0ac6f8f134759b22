"""What this machine's processors can do, measured once and kept: a plan does not vary from one moment to the next."""

import logging
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from tasks.record.errors import UnplannedError
from tasks.record.files import write_json
from tasks.record.layout import REPOSITORY
from tasks.training.measure.rates import Rates

logger = logging.getLogger("pretune")

LIMIT_SECONDS = 120.0


def kept_rates() -> Path:
    """In the user's cache, because they are the machine's and no run's; named for what they were measured with."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pretune"
    return folder / f"rates-{platform.node()}-{len(os.sched_getaffinity(0))}-torch-{version('torch')}.json"


@cache
def machine_rates() -> Rates:
    """Those that were kept, or, the first time on this machine, measured in a process of their own, in about two seconds.

    Raises UnplannedError where that process fails or takes too long.
    """
    kept = kept_rates()
    try:
        return Rates.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        rates = measured_rates()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, rates)
    except OSError as error:
        logger.warning("the rates of this machine are not kept, and the next plan measures them again: %s", error)
    return rates


def measured_rates() -> Rates:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tasks.training.measure.rates"], capture_output=True, text=True, timeout=LIMIT_SECONDS,
            cwd=REPOSITORY, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnplannedError(
            f"this machine's rates could not be measured within {LIMIT_SECONDS:.0f} s; plan again later"
        ) from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip() or "?").splitlines()[-1][:200]
        raise UnplannedError(f"this machine's rates could not be measured: {said}") from None
    return Rates.model_validate_json(done.stdout.splitlines()[-1])
