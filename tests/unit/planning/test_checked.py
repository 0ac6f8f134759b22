"""The plan with its check: a process that answers, fails, or takes too long."""

import sys

import pytest

from tasks.config.presets import load_config
from tasks.planning.checked import plan_pretraining, simulated_check
from tasks.planning.plan import plan_for

TINY = [
    "model.hidden_size=32", "model.intermediate_size=64", "model.num_hidden_layers=2", "pretrain.sequence_length=32",
    "pretrain.micro_batch_size=4",
]  # fmt: skip


@pytest.mark.process
def test_the_check_simulates_the_choice_and_agrees():
    config = load_config(["demo"], TINY)
    plan = plan_pretraining(config, "cpu", 2)
    assert plan.check is not None and plan.check.simulated_bytes is not None, plan.check
    assert plan.check.difference == pytest.approx(plan.check.formula_bytes / plan.check.simulated_bytes - 1)
    assert abs(plan.check.difference) < 0.05


def test_a_plan_without_a_check_starts_nothing():
    assert plan_pretraining(load_config(["demo"], TINY), "cpu", 2, simulate=False).check is None


@pytest.mark.process
def test_a_check_that_takes_too_long_or_fails_is_said_and_no_reason_to_stop(monkeypatch, tmp_path):
    config = load_config(["demo"], TINY)
    plan = plan_for(config, "cpu", 2)
    late = simulated_check(config, plan, limit_seconds=0.01)
    assert late.simulated_bytes is None and late.note.startswith("the simulation did not end within 0 s")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'RuntimeError: no such rank' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    failed = simulated_check(config, plan)
    assert failed.simulated_bytes is None and failed.note.endswith("by formula only: RuntimeError: no such rank")
