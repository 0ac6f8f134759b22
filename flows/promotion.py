"""Flow: a candidate against the champion, and where it is better, in its place."""

from prefect import flow

from flows.finetuning import pretrained
from flows.parameters import FinetuneName, RunName, stop_stages
from tasks.config.config import Config
from tasks.config.training import FinetuneConfig
from tasks.evaluate import evaluate_candidate
from tasks.prepare import prepare_examples
from tasks.promote import promote_candidate
from tasks.record.errors import IntegrityError
from tasks.record.layout import RunLayout, StageLayout, home
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, finetune_named, promoted


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
    results = {"candidate": done(run.finetune(one.name)), "examples": prepare_examples(one)}
    results["base"] = base_of(results["candidate"], name)
    if one.gate.beat_random_init:
        results["random_init"] = done(run.random_init(one.name))
    decision = evaluate_candidate(config, name, one, results)
    if promoted(decision.manifest):
        promote_candidate(config, name, one, results["candidate"], decision)
    return str(decision.manifest.details["decision"])


def base_of(candidate: Result, name: str) -> Result:
    """The pre-trained model that the candidate was made from, which may be of another run."""
    entry = candidate.manifest.inputs.get("base")
    return done(StageLayout(home() / entry.path)) if entry else pretrained(name)


def done(stage: StageLayout) -> Result:
    """Raises IntegrityError for a stage that was not run, or has not finished."""
    if not stage.manifest.exists():
        raise IntegrityError(f"{stage.path.name} of run {stage.path.parent.name!r} is not done; run `finetune` for it first")
    return Result(stage, Manifest.read(stage.manifest))
