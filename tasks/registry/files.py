"""A model's files in the artifact folder of MLflow: the same bytes under one name more."""

import logging
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

from tasks.record.errors import IntegrityError, TrackingError
from tasks.record.files import file_sha256
from tasks.registry.store import make_private

log = logging.getLogger(__name__)


def place_file(source: Path, target: Path) -> None:
    """One name more for the same bytes, read-only from now on, since whoever writes to one name writes to both.

    A verified copy only where the two folders are on different file systems.
    """
    source.chmod(0o444)
    if target.exists():
        if target.samefile(source) or file_sha256(target) == file_sha256(source):
            return
        target.unlink()
    make_private(target.parent)
    try:
        os.link(source, target)
    except OSError as error:
        log.warning("copying %s (%d bytes) into the registry, it cannot be linked: %s", source, source.stat().st_size, error)
        temporary = target.with_name(f".{target.name}.copy")
        shutil.copyfile(source, temporary)
        if file_sha256(temporary) != file_sha256(source):
            raise IntegrityError(f"{target} was not copied as {source} is; check the disk and register again") from error
        temporary.replace(target)


def local_folder(location: str) -> Path:
    """The folder behind an artifact location; TrackingError where it is no folder of this machine."""
    parts = urlparse(location)
    if parts.scheme not in ("", "file"):
        raise TrackingError(
            f"artifact_location={location!r} is not a folder of this machine, and models are registered by link; use an "
            "experiment whose artifacts lie in a file:// location that both sides share"
        )
    return Path(unquote(parts.path))
