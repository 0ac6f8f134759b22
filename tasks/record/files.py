"""Files that are written whole or not at all, JSON among them, and known again by their size and SHA-256."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.record.errors import IntegrityError


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Record):
    path: str
    """Relative to the folder of the manifest, with forward slashes."""
    size_bytes: int
    sha256: str


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_entries(folder: Path, paths: list[Path]) -> tuple[FileEntry, ...]:
    """Size and SHA-256 of each file, sorted by path relative to `folder`."""
    return tuple(
        FileEntry(path=p.relative_to(folder).as_posix(), size_bytes=p.stat().st_size, sha256=file_sha256(p))
        for p in sorted(paths)
    )


def check_size(path: Path, entry: FileEntry) -> None:
    """Raises IntegrityError if the file is not there or not as long as its manifest says."""
    if not path.is_file():
        raise IntegrityError(f"{path} is listed in the manifest and does not exist; restore it or make it again")
    if (size := path.stat().st_size) != entry.size_bytes:
        raise IntegrityError(
            f"{path} has {size} bytes and its manifest says {entry.size_bytes}; it is damaged, restore it or make it again"
        )


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write under a temporary name, fsync, rename, fsync the folder: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(), mode)


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
