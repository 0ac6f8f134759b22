"""Flow: what a schedule runs. Is anything new? Then fine-tune, evaluate, and promote, or not; the final state says which."""

import logging
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.finetuning import finetune
from flows.judging import concluded, judged
from flows.lifecycle import examples_stage, finetuning
from flows.parameters import meant_for, settled, started_by, stop_stages
from flows.walk import do
from tasks.config.finetuning import FinetuneFile
from tasks.data.example_ids import new_examples
from tasks.finetune import base_of
from tasks.record.errors import DataError, LockedError, MissingBaseError
from tasks.record.files import write_json
from tasks.record.layout import AttemptLayout, FinetuneLayout, StageLayout, attempt_of, home
from tasks.record.lock import exclusive
from tasks.record.manifest import Manifest, Request, read_request
from tasks.record.outcomes import Outcome, asked_by, decided, note_outcome, read_outcomes
from tasks.registry.compared import made_with
from tasks.stages.work import Result, Results, finetune_work

logger = logging.getLogger("pretune")

PATIENCE_SECONDS = {"wait": 7 * 24 * 3600.0, "skip": 0.0}
"""How long a refresh waits for another one of the same fine-tune, by the setting `overlap`."""


def dated_name() -> str:
    """`banking 2026-11-30`: with the day that the run was meant for, in UTC."""
    settings = flow_run.parameters["settings"]
    name = settings["name"] if isinstance(settings, dict) else settings.name
    return f"{name} {meant_for():%Y-%m-%d}"


@flow(name="refresh", flow_run_name=dated_name, on_cancellation=[stop_stages])
def refresh(settings: FinetuneFile) -> State[Any]:
    """Fine-tune where base, data or recipe are new, compare with the champion, and promote what passes the gate.

    Args:
        settings: What is fine-tuned, on what, how, and what it must show.
    """
    settings = settled(settings)
    layout = FinetuneLayout(home(), settings.name)
    outcome = resumed(layout, settings)
    if outcome is None:
        layout.path.mkdir(parents=True, exist_ok=True)
        try:
            with exclusive(layout.lock, another_one, PATIENCE_SECONDS[settings.overlap]):
                write_json(layout.settings, settings.as_set)
                outcome = noted(layout, refreshed(layout, settings))
        except LockedError as error:
            outcome = Outcome(came="Skipped", message=str(error))
    logger.info("%-24s %s", settings.name, outcome.text)
    return Completed(name=outcome.came, message=outcome.message)


def another_one(_: dict[str, Any]) -> str:
    return "another refresh of this fine-tune is running"


def resumed(layout: FinetuneLayout, settings: FinetuneFile) -> Outcome | None:
    """What comes of the candidate that this flow run has asked a person about, whatever is new since; None where it has not.

    It does not take the fine-tune's lock: an answer is not to wait, or be lost, while another refresh trains for hours.
    """
    if (asked := asked_by(layout, flow_run.id)) is None:
        return None
    if (earlier := concluded(settings.name, flow_run.id)) is not None:
        return earlier
    made = made_with(AttemptLayout(layout.path / asked.attempt).candidate)
    return noted(layout, judged(settings, do(finetuning(home(), settings), made)))


def noted(layout: FinetuneLayout, outcome: Outcome) -> Outcome:
    """Write down what came of it; a question was written down when it was asked."""
    if outcome.came != "Waiting for approval":
        note_outcome(layout, outcome.model_copy(update=started_by()))
    return outcome


def refreshed(layout: FinetuneLayout, settings: FinetuneFile) -> Outcome:
    """What comes of it. The caller holds the fine-tune's lock."""
    try:
        made: Results = {"base": base_of(settings)}
    except MissingBaseError as error:
        return Outcome(came="Skipped", message=str(error))
    made = do([examples_stage(home(), settings)], made)
    work = finetune_work(home(), settings, made["base"], made["examples"])
    attempt = attempt_of(work.stage)
    if (earlier := decided(layout, attempt.path)) is not None:
        since = f"since v{earlier.version} ({earlier.time[:10]})"
        return Outcome(came="Skipped", message=f"base, data and recipe unchanged {since}", attempt=attempt.path.name)
    if (last := last_attempt(layout, attempt)) is not None:
        check_shrinkage(settings, last, made["examples"])
        if reason := too_little_new(settings, last, work.request, made["examples"]):
            return Outcome(came="Skipped", message=reason)
    return judged(settings, finetune(settings))


def last_attempt(layout: FinetuneLayout, now: AttemptLayout) -> Result | None:
    """The candidate of the newest other attempt that was decided, if its files are still there."""
    for outcome in reversed(read_outcomes(layout)):
        stage = AttemptLayout(layout.path / outcome.attempt).candidate
        if outcome.attempt not in ("", now.path.name) and outcome.version is not None and stage.manifest.exists():
            return Result(stage, Manifest.read(stage.manifest))
    return None


def check_shrinkage(settings: FinetuneFile, last: Result, examples: Result) -> None:
    """Raises DataError where many of the examples that there were are gone: rather a broken file than news."""
    folder = StageLayout(Path(last.manifest.inputs["examples"].path))
    if not folder.manifest.exists():
        return
    before, now = num_examples(Manifest.read(folder.manifest)), num_examples(examples.manifest)
    if now < before * (1 - settings.max_shrinkage):
        raise DataError(
            f"examples of {settings.name} are {now:,} and were {before:,} at the last refresh, fewer by more than "
            f"max_shrinkage={settings.max_shrinkage}; restore the data, or raise max_shrinkage where it is meant"
        )


def num_examples(manifest: Manifest) -> int:
    return sum(int(manifest.metrics[f"{split}_examples"] or 0) for split in ("train", "test"))


def too_little_new(settings: FinetuneFile, last: Result, request: Request, examples: Result) -> str:
    """Why the candidate is not worth making, where base and recipe are those of the last attempt; empty where it is."""
    before = read_request(last.stage)
    same = before.identity == request.identity and before.inputs["base"].digest == request.inputs["base"].digest
    old = before.inputs["examples"].path
    if not same or not settings.min_new_examples or not StageLayout(Path(old)).manifest.exists():
        return ""
    new = new_examples(Path(old), examples.stage.path)
    if new >= settings.min_new_examples:
        return ""
    return f"{new:,} new examples since the last refresh, and min_new_examples={settings.min_new_examples} asks for more"
