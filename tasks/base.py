"""What a fine-tune begins from: found where a person says that it is, or a stage that takes it in; and that verb."""

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.config.base import parse_base
from tasks.data.inputs.hub_models import hub_source
from tasks.orchestration.stage import run_stage
from tasks.record.errors import ConfigError, IntegrityError
from tasks.record.layout import RunLayout, runs_folder
from tasks.record.manifest import Manifest
from tasks.registry.bases import registered_base
from tasks.stages.bases import base_work
from tasks.stages.work import Result, Results, Stage, Work


def find_base(home: Path, base: str, pins: Path, field: str = "base") -> Result | Work:
    """The result of a run or of a registered version; for a model from elsewhere the stage that takes it in.

    `pins` is the JSON file that says which commit of a model on the hub is meant; it is written at its first use. Raises
    ConfigError, DataError or IntegrityError, with one sentence, for what is not there or cannot be a base.
    """
    given = parse_base(base, field)
    if given.kind == "run":
        return pretrained_run(home, given.name, f"{field}={base!r}")
    if given.kind == "registered":
        return registered_base(home, given, field)
    source = hub_source(given, pins, field) if given.kind == "hub" else None
    return base_work(home, given, field, source)


def pretrained_run(home: Path, name: str, said: str) -> Result:
    """The finished pre-training of a run."""
    run, folders = RunLayout(home, name), sorted(runs_folder(home).glob("*"))
    if not run.path.is_dir():
        names = [one.name for one in folders if RunLayout(home, one.name).pretrain().manifest.is_file()]
        there = f"runs with one are: {', '.join(names)}" if names else "no run of this home has one yet"
        raise ConfigError(f"{said}: there is no run {name!r}, and so no pre-trained model of it; {there}")
    stage = run.pretrain()
    if not stage.manifest.is_file():
        raise IntegrityError(f"{said}: run {name!r} has no finished pre-training; finish it with `pretune pretrain`")
    return Result(stage, Manifest.read(stage.manifest))


@task(name="take base", cache_policy=NO_CACHE)
def take_base(stage: Stage, made: Results) -> Result:
    """The base as a stage of this home. Raises DataError for one that cannot be taken in."""
    return run_stage(stage.work(made))
