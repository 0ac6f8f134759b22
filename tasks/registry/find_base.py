"""Which model the base of a fine-tune means."""

from pathlib import Path

from tasks.config.finetuning import FinetuneFile
from tasks.record.errors import MissingBaseError
from tasks.record.layout import RunLayout, runs_folder
from tasks.record.manifest import Manifest
from tasks.stages.work import Result, Work


def find_base(home: Path, settings: FinetuneFile) -> Result | Work:
    assert settings.base is not None
    name = settings.base.removeprefix("run:")
    stage = RunLayout(home, name).pretrain()
    if not stage.manifest.exists():
        names = sorted(path.parents[1].name for path in runs_folder(home).glob("*/02-pretrain/manifest.json"))
        raise MissingBaseError(
            f"base={settings.base!r} is no run with a finished pre-training; there are: {', '.join(names) or 'none'}"
        )
    return Result(stage, Manifest.read(stage.manifest))
