"""Flow: a candidate against the champion, and where it is better, in its place."""

from prefect import flow

from flows.finetuning import pretrained
from flows.lifecycle import examples_stage, promotion
from flows.parameters import FinetuneName, RunName, stop_stages
from flows.walk import do
from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig
from tasks.record.errors import IntegrityError
from tasks.record.layout import RunLayout, StageLayout, home
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, finetune_named


@flow(name="promote", flow_run_name="{name}", on_cancellation=[stop_stages])
def promote(config: Config, name: RunName, finetune_name: FinetuneName = None) -> dict[str, str]:
    """Compare the run's candidates with their champions and promote those that pass the gate; returns the decisions.

    Args:
        config: The configuration of the run.
        name: Names the run and its folder; the same name continues it. Small letters, digits and . _ - only.
        finetune_name: Name of one fine-tune of the configuration; empty means all of them.
    """
    wanted = config.finetune if finetune_name is None else (finetune_named(config, finetune_name),)
    return {one.name: promote_one(config, name, one) for one in wanted}


def promote_one(config: Config, name: str, one: FinetuneConfig) -> str:
    run = RunLayout(home(), name)
    candidate = done(run.finetune(one.name))
    made = {"candidate": candidate, "base": base_of(candidate, name)}
    if one.gate.trains_random_init:
        made["random_init"] = done(run.random_init(one.name))
    made = do([examples_stage(home(), one), *promotion(run, config, one)], made)
    return str(made["decision"].manifest.details["decision"])


def base_of(candidate: Result, name: str) -> Result:
    """The pre-trained model that the candidate was made from, which may be of another run."""
    entry = candidate.manifest.inputs.get("base")
    return done(StageLayout(home() / entry.path)) if entry else pretrained(name)


def done(stage: StageLayout) -> Result:
    """Raises IntegrityError for a stage that was not run, or has not finished."""
    if not stage.manifest.exists():
        raise IntegrityError(f"{stage.path.name} of run {stage.path.parent.name!r} is not done; run `finetune` for it first")
    return Result(stage, Manifest.read(stage.manifest))
