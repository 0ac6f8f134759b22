"""What registered models and their versions are called, and which version a stage became."""

from pathlib import Path

from tasks.config.config import Config
from tasks.config.finetuning import FinetuneConfig
from tasks.record.layout import StageLayout
from tasks.registry.store import read_registration

PRETRAINED, CANDIDATE = "pretrained", "candidate"
"""Labels of the two versions that a run always registers."""


def base_model(config: Config) -> str:
    """Name of the registered model that holds the pre-trained versions."""
    return f"{config.registry.model_name}-base"


def finetuned_model(config: Config, finetune: FinetuneConfig) -> str:
    return f"{config.registry.model_name}-{finetune.name}"


def registered_version(home: Path, stage: StageLayout, model: str, label: str) -> int | None:
    """The version that this stage's `registration.json` records; read without MLflow."""
    known = read_registration(home, stage)
    return known.versions.get(model, {}).get(label) if known else None
