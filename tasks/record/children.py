"""Child processes: how they end with the process that started them, and what the number says with which they end."""

import ctypes
import signal
import subprocess
from functools import partial
from typing import IO, Any

USER_ERROR_EXIT_CODE = 2
"""A mistake that the user can mend; it is in the stage's `error.json`, or was printed."""
STOPPED_EXIT_CODE = 3
"""Asked to stop, and stopped where it can be continued."""
INTERRUPTED_EXIT_CODE = 130
"""Ctrl-C in a terminal: 128 and the number of the signal, as shells have it."""
PR_SET_PDEATHSIG = 1
REASONS = {
    signal.SIGKILL: "as Linux does when memory has run out",
    signal.SIGBUS: "a file that it reads was cut short, or its disk failed",
}


def die_with_parent(by: signal.Signals = signal.SIGKILL) -> None:
    """The kernel sends this process the signal when the thread that started it ends, whatever ends that. Linux only."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)


def start_child(
    command: list[str], log: IO[bytes], dies_by: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process that reads nothing, writes to the log and dies with this one; `options` are those of Popen."""
    dying = partial(die_with_parent, dies_by)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=dying, **options)


def ended_by(number: int) -> str:
    """How a process ended whose return code is minus this number: `ended by SIGKILL` and what that often means."""
    name = signal.Signals(number)
    return f"ended by {name.name}" + (f", {REASONS[name]}" if name in REASONS else "")
