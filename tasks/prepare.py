"""Prefect tasks: text to token shards, and labelled examples to a frozen test set."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.training import FinetuneConfig
from tasks.orchestration.stage import run_stage, show_data_card
from tasks.record.layout import home
from tasks.stages.work import Result, Work, examples_work


@task(name="prepare text", cache_policy=NO_CACHE)
def finish_text(work: Work, name: str) -> Result:
    """The data set `name`, with its card shown; what is not prepared yet is. Raises DataError for input that cannot be used."""
    result = run_stage(work)
    show_data_card(result.stage, name)
    return result


@task(name="prepare examples", task_run_name="prepare examples {finetune.name}", cache_policy=NO_CACHE)
def prepare_examples(finetune: FinetuneConfig) -> Result:
    """Raises DataError for input that cannot be used."""
    result = run_stage(examples_work(home(), finetune))
    show_data_card(result.stage, finetune.name)
    return result
