"""Prefect task: the base of a fine-tune, found or taken in."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.finetuning import FinetuneFile
from tasks.orchestration.stage import run_stage
from tasks.record.layout import home
from tasks.registry.find_base import find_base
from tasks.stages.work import Result, Work


@task(name="base", task_run_name="base of {settings.name}", cache_policy=NO_CACHE)
def base_of(settings: FinetuneFile) -> Result:
    """The base that the settings name. Raises the errors of `find_base`, and DataError for one that cannot be taken in."""
    found = find_base(home(), settings)
    return run_stage(found) if isinstance(found, Work) else found
