"""Which fine-tunes of people's own files are deployed: kept in this home, so that every server that `up` starts has them."""

import logging
from datetime import UTC, datetime
from pathlib import Path

from tasks.config.finetuning import FinetuneFile
from tasks.config.presets import finetune_of
from tasks.record.errors import ConfigError
from tasks.record.files import read_json, write_json
from tasks.record.layout import deployed_folder

logger = logging.getLogger("pretune")


def deployed(home: Path) -> dict[str, FinetuneFile]:
    """By name. What an earlier version of pretune kept and this one does not understand is passed over with a word."""
    found = {}
    for path in sorted(deployed_folder(home).glob("*.json")):
        try:
            found[path.stem] = finetune_of(read_json(path))
        except ConfigError as error:
            logger.warning("the deployment %s is passed over: %s; deploy its file again", path.stem, error)
    return found


def keep_deployed(home: Path, settings: FinetuneFile) -> None:
    deployed_folder(home).mkdir(parents=True, exist_ok=True)
    write_json(deployed_folder(home) / f"{settings.name}.json", settings.as_set)


def forget_deployed(home: Path, name: str) -> None:
    (deployed_folder(home) / f"{name}.json").unlink()


def deployed_since(home: Path, name: str) -> datetime | None:
    """When its deployment was last asked for; None for one of a preset."""
    file = deployed_folder(home) / f"{name}.json"
    return datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None
