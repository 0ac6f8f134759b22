"""A registered version as the base of a fine-tune: the stage or milestone that it was made by."""

from pathlib import Path

from tasks.config.base import Base
from tasks.record.errors import ConfigError, IntegrityError
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest
from tasks.registry.records import VersionRecord, history, version_records
from tasks.registry.store import check_store
from tasks.stages.work import Result


def registered_base(home: Path, base: Base, field: str = "base") -> Result:
    """What `models:/NAME@ALIAS` or `models:/NAME/VERSION` means now; read from the records of this home, without MLflow.

    Raises ConfigError for a model, version or alias that there is not, IntegrityError where its files are gone or others, and
    TrackingError as `check_store` does.
    """
    said = f"{field}={base.text!r}"
    known = {record.version: record for record in version_records(home, base.name) if record.version is not None}
    if not known:
        check_store(home)
        raise ConfigError(f"{said}: no model {base.name!r} is registered in this home{others(home)}")
    number = base.version
    if base.alias is not None:
        held = {move.alias: move.to_version for move in history(home, base.name)}
        if base.alias not in held:
            there = ", ".join(f"{alias} (version {version})" for alias, version in sorted(held.items())) or "none"
            raise ConfigError(f"{said}: {base.name} has no alias {base.alias!r}; there are: {there}")
        number = held[base.alias]
    if number not in known:
        there = ", ".join(str(version) for version in sorted(known))
        raise ConfigError(f"{said}: {base.name} has no version {number}; there are: {there}")
    return made_by(known[number], said)


def made_by(record: VersionRecord, said: str) -> Result:
    """The folder that the version was registered from, a stage or a milestone, if it is still what it was."""
    stage = StageLayout(Path(record.folder).parent)
    if not stage.manifest.is_file():
        raise IntegrityError(
            f"{said}: version {record.version} was made by {stage.path}, which is not there any more; restore it, or take in "
            f"the registry's own copy with base={record.tags.get('path', '')!r}"
        )
    manifest = Manifest.read(stage.manifest)
    if manifest.digest != record.tags.get("digest"):
        raise IntegrityError(
            f"{said}: version {record.version} was made by {stage.path}, which holds another model by now "
            f"({manifest.digest[:12]} and not {record.tags.get('digest', '')[:12]}); restore it, or take in the registry's own "
            f"copy with base={record.tags.get('path', '')!r}"
        )
    return Result(stage, manifest)


def others(home: Path) -> str:
    """The names that there are, for a message."""
    names = sorted({record.model for record in version_records(home, "*")})
    return f"; there are: {', '.join(names)}" if names else ", where nothing is registered yet"
