"""Prefect tasks: a base model to a fine-tuned one, or the same from random weights, and its place in the registry."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.config import Config
from tasks.config.training import FinetuneConfig
from tasks.orchestration.stage import run_stage
from tasks.record.layout import RunLayout, home
from tasks.registry.publish import mirror, mirrored, publish_candidate
from tasks.stages.work import Result, finetune_work


@task(name="fine-tune", task_run_name="fine-tune {finetune.name}", cache_policy=NO_CACHE)
def finetune_model(config: Config, name: str, finetune: FinetuneConfig, base: Result, examples: Result) -> Result:
    work = finetune_work(RunLayout(home(), name), config, finetune, base, examples)
    with mirrored(work.stage):
        return run_stage(work)


@task(name="fine-tune random weights", task_run_name="fine-tune {finetune.name} from random weights", cache_policy=NO_CACHE)
def finetune_random_init(config: Config, name: str, finetune: FinetuneConfig, base: Result, examples: Result) -> Result:
    """What the gate compares with, to see whether pre-training helped."""
    work = finetune_work(RunLayout(home(), name), config, finetune, base, examples, random_init=True)
    with mirrored(work.stage):
        return run_stage(work)


@task(name="register candidate", task_run_name="register {finetune.name}", cache_policy=NO_CACHE)
def register_candidate(config: Config, finetune: FinetuneConfig, made: dict[str, Result]) -> None:
    """`made` has `base`, `examples`, `candidate` and maybe `random_init`. Raises TrackingError where MLflow does not answer."""
    publish_candidate(config, finetune, made["candidate"], made["base"])
    for role in ("examples", "candidate", "random_init"):
        if role in made:
            mirror(made[role].stage)
