"""What a fine-tune begins from: found where its settings say that it is, or a stage that takes it in."""

from pathlib import Path

from tasks.config.base import parse_base
from tasks.config.finetuning import FinetuneFile
from tasks.data.inputs.hub_models import hub_source
from tasks.record.errors import MissingBaseError
from tasks.record.layout import FinetuneLayout, RunLayout, runs_folder
from tasks.record.manifest import Manifest
from tasks.registry.bases import registered_base
from tasks.stages.bases import base_work
from tasks.stages.work import Result, Work


def find_base(home: Path, settings: FinetuneFile) -> Result | Work:
    """The result of a run or of a registered version; for a model from elsewhere the stage that takes it in.

    Raises MissingBaseError for a run that has not come to its end, and ConfigError, DataError or IntegrityError for what is
    not there or cannot be a base.
    """
    assert settings.base is not None, "a fine-tune that stands alone has a base"
    field = f"{settings.place}base"
    given = parse_base(settings.base, field)
    if given.kind == "run":
        return pretrained_run(home, given.name, f"{field}={settings.base!r}")
    if given.kind == "registered":
        return registered_base(home, given, field)
    pins = FinetuneLayout(home, settings.name).inputs
    source = hub_source(given, pins, field) if given.kind == "hub" else None
    return base_work(home, given, field, source)


def pretrained_run(home: Path, name: str, said: str) -> Result:
    """The finished pre-training of a run."""
    stage = RunLayout(home, name).pretrain()
    if stage.manifest.is_file():
        return Result(stage, Manifest.read(stage.manifest))
    if RunLayout(home, name).path.is_dir():
        raise MissingBaseError(f"{said}: run {name!r} has no finished pre-training; let it come to its end first")
    names = sorted(path.parents[1].name for path in runs_folder(home).glob("*/02-pretrain/manifest.json"))
    there = f"runs with one are: {', '.join(names)}" if names else "no run of this home has one yet"
    raise MissingBaseError(f"{said}: there is no run {name!r}, and so no pre-trained model of it; {there}")
