"""Prefect task: a candidate against the champion, on the frozen examples, to a decision of the gate."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.orchestration.stage import run_stage
from tasks.record.layout import home
from tasks.registry.publish import mirror, refresh
from tasks.stages.work import Result, Results, Stage, against


@task(name="evaluate", task_run_name="evaluate {stage.finetune}", cache_policy=NO_CACHE)
def evaluate_candidate(stage: Stage, made: Results) -> Result:
    """Decided once per candidate; the champion is the one at that moment."""
    work = stage.work(made)
    decided = work.result()
    if decided is None:
        decided = run_stage(against(work, champion(stage.model)))
    mirror(decided.stage)
    refresh(stage.model, decided.manifest)
    return decided


def champion(model: str) -> dict[str, Any] | None:
    """Who holds the place now: name, version, folder and digest. Raises IntegrityError if its files are damaged."""
    from tasks.registry.versions import verify_version, version_by_alias

    held = version_by_alias(home(), model, "champion")
    if held is not None:
        verify_version(held)
    return held.model_dump(mode="json", include={"name", "version", "path", "digest"}) if held else None
