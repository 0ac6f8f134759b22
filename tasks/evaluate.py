"""Prefect task: a candidate against the champion, on the frozen examples, to a decision of the gate."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.finetuning import FinetuneFile
from tasks.orchestration.stage import run_stage
from tasks.record.layout import home
from tasks.registry.compared import best_champion, compared_version
from tasks.registry.publish import mirror, refresh
from tasks.stages.work import Result, Results, evaluate_work


@task(name="evaluate", task_run_name="evaluate {settings.name}", cache_policy=NO_CACHE)
def evaluate_candidate(settings: FinetuneFile, made: Results, against: int | None = None) -> Result:
    """A blessing, or a refusal: the candidate on its own examples, compared with the champion now, or with another version.

    Measured once for each champion and gate. `made` has `candidate`, `examples`, `base` and maybe `random_init`.
    """
    champion = compared_version(home(), settings.name, against)
    work = evaluate_work(settings, made, champion, best_champion(home(), settings, champion))
    decided = run_stage(work)
    mirror(decided.stage)
    refresh(settings.name, decided.manifest)
    return decided
