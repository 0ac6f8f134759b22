"""Prefect tasks: text to token shards, and labelled examples to a frozen test set."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.orchestration.stage import run_stage, show_data_card
from tasks.stages.work import Result, Results, Stage


@task(name="prepare text", cache_policy=NO_CACHE)
def finish_text(stage: Stage, made: Results) -> Result:
    """The data set, with its card shown; what is not prepared yet is. Raises DataError for input that cannot be used."""
    work = stage.work(made)
    result = run_stage(work)
    show_data_card(result.stage, work.request.identity["data"]["name"])
    return result


@task(name="prepare examples", task_run_name="prepare examples {stage.finetune}", cache_policy=NO_CACHE)
def prepare_examples(stage: Stage, made: Results) -> Result:
    """Raises DataError for input that cannot be used."""
    result = run_stage(stage.work(made))
    show_data_card(result.stage, stage.finetune)
    return result
