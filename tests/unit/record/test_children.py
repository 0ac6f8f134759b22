"""A child ends when its parent is killed, by the signal that was chosen; and a number of an end is told in words."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks.record.children import ended_by, start_child
from tasks.record.layout import REPOSITORY

PARENT = """
import signal, sys, time
from pathlib import Path
from tasks.record.children import start_child
with Path(sys.argv[1]).open("wb") as log:
    process = start_child([sys.executable, "-c", sys.argv[2]], log, dies_by=signal.Signals(int(sys.argv[3])))
print(process.pid, flush=True)
time.sleep(600)
"""
CHILD = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("asked to end", flush=True)))
print("up", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("by", "said"), [(signal.SIGTERM, "up\nasked to end\n"), (signal.SIGKILL, "up\n")])
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path, by: signal.Signals, said: str) -> None:
    log = tmp_path / "child.log"
    command = [sys.executable, "-c", PARENT, str(log), CHILD, str(int(by))]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        while log.read_text() != "up\n":
            assert child.is_running()
        parent.kill()
        assert psutil.wait_procs([child], timeout=30)[1] == []
    assert log.read_text() == said


def test_a_child_reads_nothing_and_writes_both_outputs_to_the_log(tmp_path: Path) -> None:
    script = "import os, sys; print(repr(sys.stdin.read()), os.getcwd(), flush=True); print('wrong', file=sys.stderr)"
    with (tmp_path / "log").open("ab") as log:
        assert start_child([sys.executable, "-c", script], log, cwd=tmp_path).wait() == 0
    assert (tmp_path / "log").read_text() == f"'' {tmp_path}\nwrong\n"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (9, "ended by SIGKILL, as Linux does when memory has run out"),
        (7, "ended by SIGBUS, a file that it reads was cut short, or its disk failed"),
        (15, "ended by SIGTERM"),
    ],
)
def test_a_signal_is_told_by_its_name_and_what_it_often_means(number: int, words: str) -> None:
    assert ended_by(number) == words
