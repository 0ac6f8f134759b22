"""Prefect task: what pre-training will take, shown before it begins; a run that cannot fit is refused."""

import logging

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.config.config import Config
from tasks.orchestration.stage import artifact_key
from tasks.planning.plan import check_fits, default_gpu, plan_for
from tasks.planning.plan_text import plan_markdown
from tasks.record.errors import ConfigError, UnplannedError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout, home
from tasks.stages.requests import check_dataset
from tasks.stages.work import Result

logger = logging.getLogger("pretune")


@task(name="plan", cache_policy=NO_CACHE)
def show_plan(config: Config, name: str, dataset: Result) -> None:
    """Plan the run on the devices of this machine, once, for the report to compare with.

    Raises ConfigError where the text does not fit the settings, and where their layout does not fit on the GPUs. On CPUs memory
    is shared with everything else on the machine, so that the plan is only shown.
    """
    check_dataset(config, dataset.manifest)
    run = RunLayout(home(), name)
    if run.plan.exists():
        return
    rows = int(dataset.manifest.metrics["vocab_size"] or 0)
    model = config.model.model_copy(update={"vocab_size": config.model.vocab_size or rows})
    accelerator = default_gpu(config)
    try:
        plan = plan_for(config.model_copy(update={"model": model}), accelerator, config.launch.num_processes)
        if accelerator != "cpu":
            check_fits(plan)
    except UnplannedError as error:
        logger.info("%-24s no plan: %s", "plan", error)
        return
    except ConfigError as error:
        if accelerator != "cpu":
            raise
        logger.warning("%-24s %s", "plan", error)
        return
    write_json(run.plan, plan)
    if (made := plan.configured.candidate) is not None:
        logger.info("%-24s %s: about %s tokens/s", "plan", made.layout, f"{made.tokens_per_second:,.0f}")
    create_markdown_artifact(plan_markdown(plan), key=artifact_key(f"plan-{name}"), description=f"Plan of run {name}")
