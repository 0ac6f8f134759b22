"""Prefect task: a candidate against the champion, on the frozen examples, to a decision of the gate."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.finetuning import FinetuneFile
from tasks.orchestration.stage import run_stage
from tasks.record.layout import home
from tasks.registry.publish import mirror, refresh
from tasks.stages.work import Result, Results, evaluate_work


@task(name="evaluate", task_run_name="evaluate {settings.name}", cache_policy=NO_CACHE)
def evaluate_candidate(settings: FinetuneFile, made: Results, against: int | None = None) -> Result:
    """A blessing, or a refusal: the candidate on its own examples, compared with the champion now, or with another version.

    Measured once for each champion and gate. `made` has `candidate`, `examples`, `base` and maybe `random_init`.
    """
    work = evaluate_work(settings, made, compared_version(settings.name, against))
    decided = run_stage(work)
    mirror(decided.stage)
    refresh(settings.name, decided.manifest)
    return decided


def compared_version(model: str, number: int | None = None) -> dict[str, Any] | None:
    """The champion, or the version of that number: name, version, folder and digest; None where nobody is champion.

    Raises GateError for a version that is not there, IntegrityError if its files are damaged.
    """
    from tasks.registry.versions import verify_version, version_by_alias, version_by_number

    held = version_by_alias(home(), model, "champion") if number is None else version_by_number(home(), model, number)
    if held is not None:
        verify_version(held)
    return held.model_dump(mode="json", include={"name", "version", "path", "digest"}) if held else None
