"""A registered model as a person names it, found and verified; and its files in a folder of their own."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from tasks.record.errors import ConfigError, DataError, IntegrityError
from tasks.record.failures import Output, explaining
from tasks.record.files import FileEntry, fsync_folder
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, read_request
from tasks.registry.records import history, recorded_holders, version_text
from tasks.registry.status import CHAMPION
from tasks.registry.store import database_file, database_uri, tracking_uri
from tasks.registry.texts import CARD
from tasks.registry.versions import MANIFEST, Version, models, verify_version, versions

MODEL = re.compile(r"(?P<name>[^@/\s]+)(@(?P<alias>[^@/\s]+)|/(?P<version>[0-9]+))?")
WAYS = "write NAME@ALIAS, NAME/VERSION, or NAME for its champion"
COPY_BYTES = 1 << 20


def find_version(home: Path, text: str) -> Version:
    """The version that `NAME@ALIAS`, `NAME/VERSION` or `NAME`, which means its champion, names now.

    `models:/` may stand before it. Raises ConfigError, with what there is instead, for what is not registered.
    """
    named = MODEL.fullmatch(text.removeprefix("models:/"))
    if named is None:
        raise ConfigError(f"MODEL={text!r} names no registered model; {WAYS}")
    name, alias, number = named["name"], named["alias"], named["version"]
    if tracking_uri(home) == database_uri(home) and not database_file(home).exists():
        raise ConfigError(f"MODEL={text!r} is not registered, as nothing is in {home}; make a model with `pretune run` first")
    known = {version.version: version for version in versions(home, name)}
    if not known:
        raise ConfigError(f"MODEL={text!r} is not registered; registered models: {', '.join(models(home)) or 'none'}")
    if number is not None:
        if int(number) not in known:
            raise ConfigError(f"MODEL={text!r} has no version {number}; there are: {', '.join(map(str, known))}")
        return known[int(number)]
    held = {alias: version for version in known.values() for alias in version.aliases}
    if (wanted := alias or CHAMPION) not in held:
        there = ", ".join(f"{name}@{one} ({version_text(held[one].version)})" for one in sorted(held))
        raise ConfigError(
            f"MODEL={text!r}: no version of {name} is its {wanted}; "
            + (f"aliases that are held: {there}" if there else f"no alias is held, versions: {', '.join(map(str, known))}")
            + (
                ""
                if wanted not in recorded_holders(history(home, name))
                else f"; it was taken away in MLflow, `pretune registry repair --model {name} --apply` gives it back"
            )
        )
    return held[wanted]


def is_classifier(manifest: Manifest) -> bool:
    """Whether the model gives a label to a text; else it continues or answers one."""
    return manifest.details.get("kind") == "classification"


def was_taught_to_answer(manifest: Manifest) -> bool:
    """Whether it was fine-tuned on prompts with answers; one that was only pre-trained continues what it reads."""
    return manifest.details.get("kind") == "instruction"


def trained_length(version: Version) -> int | None:
    """Tokens at which its fine-tuning cut the examples; None where the request is gone or does not say."""
    request = StageLayout(Path(version.tags.get("stage", ""))).request
    identity = read_request(StageLayout(request.parent)).identity if request.is_file() else {}
    return identity.get("finetune", {}).get("max_length")


def export_version(version: Version, folder: Path) -> Manifest:
    """Copy the version's files, its card and its manifest into a new or empty folder, which is there whole or not at all.

    They are copies, not links: whoever changes one does not change the registered model. Raises DataError for a folder that
    holds something, IntegrityError where a byte that was copied is not what the manifest says.
    """
    check_empty(folder)
    source, inner = Path(version.path), version.tags["folder"]
    manifest = verify_version(version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    entries = [entry for entry in manifest.files if Path(entry.path).is_relative_to(inner)]
    needed = sum(entry.size_bytes for entry in entries)
    try:
        with explaining(0, lambda: Output(folder, temporary, "the model takes", needed)):
            for entry in entries:
                name = Path(entry.path).relative_to(inner)
                copy_file(source / name, temporary / name, entry)
            for beside in (CARD, MANIFEST):
                if (source / beside).exists():
                    copy_file(source / beside, temporary / beside)
            temporary.chmod(0o755)
            fsync_folder(temporary)
            temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
    return manifest


def check_empty(folder: Path) -> None:
    """Raises DataError for what is no folder, or holds something."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"DIR={str(folder)!r} is a file; name a folder that is new or empty")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"DIR={str(folder)!r} is not empty; name a folder that is new or empty")


def copy_file(source: Path, target: Path, entry: FileEntry | None = None) -> None:
    """Flushed to disk; the digest is taken of the very bytes that are written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(COPY_BYTES):
            digest.update(block)
            write.write(block)
        write.flush()
        os.fsync(write.fileno())
    if entry is not None and digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{source} changed while it was copied; register the model again")
