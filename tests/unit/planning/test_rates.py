"""Rates of this machine: measured once, kept, and not made up where they cannot be measured."""

import subprocess
import sys

import pytest

from tasks.planning.rates import kept_rates, machine_rates, measured_rates
from tasks.record.errors import UnplannedError
from tasks.training.measure.rates import Rates

RATES = Rates(fp32_flops=1e11, bf16_flops=2e11, short_dimension=10.0, memory_bandwidth=1e10)


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """What the process that measures says, and a list of how often it was asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    machine_rates.cache_clear()
    asked: list[list[str]] = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, f"a warning\n{RATES.model_dump_json()}\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    yield asked
    machine_rates.cache_clear()


def test_they_are_measured_once_and_kept_for_the_next_process(answer):
    assert machine_rates() == machine_rates() == RATES
    machine_rates.cache_clear()  # as another process would begin
    assert machine_rates() == RATES and len(answer) == 1
    kept_rates().write_text("{")
    machine_rates.cache_clear()
    assert machine_rates() == RATES and len(answer) == 2, "what cannot be read is measured again"


def test_a_cache_that_cannot_be_written_is_said_and_no_reason_to_stop(answer, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert machine_rates() == RATES and len(answer) == 1
    assert "the rates of this machine are not kept, and the next plan measures them again" in caplog.text


@pytest.mark.process
def test_where_they_cannot_be_measured_there_is_no_plan(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'RuntimeError: no such machine' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(UnplannedError, match=r"^this machine's rates could not be measured: RuntimeError: no such machine$"):
        measured_rates()
    broken.write_text("#!/bin/sh\nsleep 5\n")
    monkeypatch.setattr("tasks.planning.rates.LIMIT_SECONDS", 0.05)
    with pytest.raises(UnplannedError, match=r"could not be measured within 0 s; plan again later$"):
        measured_rates()
