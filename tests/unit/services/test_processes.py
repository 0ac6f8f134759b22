import socket
import subprocess
import sys
import time

import psutil
import pytest

from tasks.record.errors import ConfigError, StageError
from tasks.services.processes import clean_environment, end, free_port, last_line, spawn, wait_until_it_answers
from tasks.services.records import alive

pytestmark = pytest.mark.process

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); c.wait()"


def children_of(record, number):
    """Wait until the service has so many children, however long a busy machine takes."""
    process = record.process()
    while len(found := process.children(recursive=True)) < number:
        time.sleep(0.02)
    return found


def test_a_service_is_ended_with_all_that_it_started(tmp_path):
    record = spawn(tmp_path, "worker", [sys.executable, "-c", PARENT], {}, None)
    (child,) = children_of(record, 1)

    end(record, spare=set())

    assert record.process() is None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert alive(tmp_path, "worker") is None


def test_what_is_to_be_spared_goes_on(tmp_path):
    record = spawn(tmp_path, "worker", [sys.executable, "-c", PARENT], {}, None)
    (child,) = children_of(record, 1)

    end(record, spare={child.pid})

    assert record.process() is None
    assert child.is_running()
    child.kill()


def test_a_service_gets_its_settings_and_no_others_of_prefect(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")
    program = "import os; print({k: v for k, v in os.environ.items() if k.startswith('PREFECT_')}, oct(os.umask(0)))"
    record = spawn(tmp_path, "prefect", [sys.executable, "-c", program], {"PREFECT_HOME": "/x"}, 1)
    while record.process() is not None:
        time.sleep(0.02)

    assert last_line(tmp_path / "services" / "prefect.log") == "{'PREFECT_HOME': '/x'} 0o77"
    assert "PREFECT_API_URL" not in clean_environment()


def test_a_port_that_is_asked_for_and_taken_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=f"--prefect-port={port} is used by another program"):
            free_port(port, 4200, "--prefect-port")
        other = free_port(None, port, "--prefect-port")
        assert other not in (0, port)

    assert free_port(port, 4200, "--prefect-port") == port


def test_a_service_that_ends_while_it_starts_is_reported_with_its_last_words(tmp_path):
    log = tmp_path / "prefect.log"
    log.write_text("starting\nModuleNotFoundError: no module\n\n")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    with pytest.raises(StageError, match=r"prefect ended while it started: ModuleNotFoundError: no module; see .*prefect\.log"):
        wait_until_it_answers("http://127.0.0.1:1/", lambda: process.poll() is None, log)
