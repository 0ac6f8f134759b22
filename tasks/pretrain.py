"""Prefect tasks: token shards to a pre-trained model, with every milestone registered as it appears."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.orchestration.events import say_new_base
from tasks.orchestration.stage import run_stage
from tasks.record.errors import TrackingError
from tasks.record.layout import StageLayout, home
from tasks.registry.names import PRETRAINED, registered_version
from tasks.registry.publish import logger, mirror, mirrored, publish_milestone, publish_pretrained
from tasks.stages.work import Result, Results, Stage


@task(name="pre-train", cache_policy=NO_CACHE)
def pretrain_model(stage: Stage, made: Results) -> Result:
    """Train until convergence. A milestone that the registry does not take now is taken at the end."""
    work = stage.work(made)
    tried: set[str] = set()

    def on_poll() -> None:
        if not tried:
            tried.add("dataset")
            mirror(made["dataset"].stage)  # while the ranks train: making MLflow's database takes seconds
        publish_new(stage.model, work.stage, tried)

    with mirrored(work.stage):
        return run_stage(work, on_poll)


def publish_new(model: str, stage: StageLayout, tried: set[str]) -> None:
    for folder in sorted(stage.milestones.glob("step_*")):
        if folder.name not in tried:
            tried.add(folder.name)
            try:
                publish_milestone(model, stage, folder)
            except TrackingError as error:
                logger.warning("%s is not registered yet: %s", folder.name, error)


@task(name="register pre-trained", cache_policy=NO_CACHE)
def register_pretrained(model: str, base: Result) -> None:
    """Every milestone, and the finished model as `pretrained`. Raises TrackingError where MLflow does not answer."""
    is_new = registered_version(home(), base.stage, model, PRETRAINED) is None
    for folder in sorted(base.stage.milestones.glob("step_*")):
        publish_milestone(model, base.stage, folder)
    publish_pretrained(model, base)
    mirror(base.stage)
    if is_new:
        say_new_base(f"run:{base.stage.path.parent.name}", f"models:/{model}@{PRETRAINED}")
