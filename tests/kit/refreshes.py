"""Refreshes whose stages are run in this process, on one rank, without a Prefect server; the registry is real."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import flows.finetuning
import flows.judging
import flows.refresh
import tasks.evaluate
import tasks.finetune
import tasks.prepare
from flows.walk import VERBS
from tasks.config.finetuning import FinetuneFile
from tasks.finetune import base_of
from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import Outcome, note_outcome
from tasks.stages.work import Result, Work
from tests.kit.preparations import prepared_result
from tests.kit.registered_stages import new_home
from tests.kit.stages import finetune_config, run

LENIENT = {"min_examples": 1, "above_majority": "off", "above_random_init": "off", "rule": "non-inferiority", "margin": 1.0}
"""A gate that takes every candidate."""


def run_here(work: Work, on_poll: object = None) -> Result:
    """The stage as its process would do it, unless it is done."""
    if (result := work.result()) is not None:
        return result
    return prepared_result(work) if work.request.kind == "examples" else run(work)


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks and flows are called as the functions that they are made from."""
    for module in (tasks.evaluate, tasks.finetune, tasks.prepare):
        monkeypatch.setattr(module, "run_stage", run_here)
    for role, verb in VERBS.items():
        monkeypatch.setitem(VERBS, role, verb.fn)
    monkeypatch.setattr(tasks.prepare, "show_data_card", lambda stage, name: None)
    for module, name, function in (
        (flows.refresh, "base_of", base_of.fn),
        (flows.refresh, "finetune", flows.finetuning.finetune.fn),
        (flows.finetuning, "base_of", base_of.fn),
        (flows.finetuning, "register_candidate", flows.finetuning.register_candidate.fn),
        (flows.judging, "evaluate_candidate", flows.judging.evaluate_candidate.fn),
        (flows.judging, "promote_candidate", flows.judging.promote_candidate.fn),
    ):
        monkeypatch.setattr(module, name, function)


def home_with_base(folder: Path, trained: Path) -> Path:
    """A home with an empty registry and the run of another one."""
    home = new_home(folder)
    shutil.copytree(trained / "runs", home / "runs")
    return home


def quick_file(home: Path, **settings: Any) -> FinetuneFile:
    """One epoch of classification, behind a gate that takes every candidate."""
    return finetune_config(home, "classification", **{"name": "topics", "epochs": 1, "gate": LENIENT} | settings)


def refreshed_and_noted(home: Path, settings: FinetuneFile) -> Outcome:
    """What the flow does while it holds the lock."""
    layout = FinetuneLayout(home, settings.name)
    layout.path.mkdir(parents=True, exist_ok=True)
    outcome = flows.refresh.refreshed(layout, settings)
    note_outcome(layout, outcome)
    return outcome
