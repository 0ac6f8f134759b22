"""Whether every file that a manifest lists is still what it was."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from tasks.record.errors import IntegrityError
from tasks.record.files import file_sha256
from tasks.record.manifest import Manifest, verify

logger = logging.getLogger("pretune.verify")


@dataclass
class FileCheck:
    """Counts what was read; a folder is read once, whoever asks for it."""

    files: int = 0
    size_bytes: int = 0
    _read: dict[Path, str | None] = field(default_factory=dict)

    def folder(self, folder: Path) -> str | None:
        """Read every file of the manifest in `folder`; the sentence about the first that is damaged, or None."""
        if folder not in self._read:
            self._read[folder] = self._check(folder)
        return self._read[folder]

    def _check(self, folder: Path) -> str | None:
        try:
            manifest = Manifest.read(folder / "manifest.json")
            size = sum(entry.size_bytes for entry in manifest.files)
            logger.info("reading %d files, %.1f MiB, of %s", len(manifest.files), size / 2**20, folder)
            check_own_hash(folder / "manifest.json")
            verify(folder, manifest)
        except IntegrityError as error:
            return str(error)
        self.files += len(manifest.files)
        self.size_bytes += size
        return None


def check_own_hash(path: Path) -> None:
    """A checkpoint's manifest has its own SHA-256 beside it, as `sha256sum` writes it. Raises IntegrityError if it differs."""
    beside = path.with_name(f"{path.name}.sha256")
    if beside.exists() and beside.read_text(encoding="utf-8").split()[:1] != [file_sha256(path)]:
        raise IntegrityError(f"{path} has not the SHA-256 that {beside.name} says; it is damaged, restore it or make it again")
