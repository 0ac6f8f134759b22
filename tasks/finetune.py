"""Prefect tasks: a base, found or taken in; from it a fine-tuned model, or the same from random weights; its registration."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.finetuning import FinetuneFile
from tasks.orchestration.stage import run_stage
from tasks.record.layout import home
from tasks.registry.find_base import find_base
from tasks.registry.publish import mirror, mirrored, publish_candidate
from tasks.stages.work import Result, Results, Stage, Work


@task(name="base", task_run_name="base of {settings.name}", cache_policy=NO_CACHE)
def base_of(settings: FinetuneFile) -> Result:
    """The base that the settings name. Raises the errors of `find_base`, and DataError for one that cannot be taken in."""
    found = find_base(home(), settings)
    return run_stage(found) if isinstance(found, Work) else found


@task(name="fine-tune", task_run_name="fine-tune {stage.finetune}", cache_policy=NO_CACHE)
def finetune_model(stage: Stage, made: Results) -> Result:
    work = stage.work(made)
    with mirrored(work.stage):
        return run_stage(work)


@task(name="fine-tune random weights", task_run_name="fine-tune {stage.finetune} from random weights", cache_policy=NO_CACHE)
def finetune_random_init(stage: Stage, made: Results) -> Result:
    """What the gate compares with, to see whether pre-training helped."""
    work = stage.work(made)
    with mirrored(work.stage):
        return run_stage(work)


@task(name="register candidate", task_run_name="register {settings.name}", cache_policy=NO_CACHE)
def register_candidate(settings: FinetuneFile, made: Results) -> int:
    """`made` has `base`, `examples`, `candidate` and maybe `random_init`; returns the version.

    Raises TrackingError where MLflow does not answer.
    """
    shown = {"finetune": settings.model_dump(mode="json", exclude={"gate", "schedule", "launch", "parallel"})}
    version = publish_candidate(settings.name, shown, made["candidate"], made["base"]).version
    for role in ("examples", "candidate", "random_init"):
        if role in made:
            mirror(made[role].stage)
    return version
