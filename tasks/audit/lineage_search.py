"""Whether a finished data set holds a file or a document, by digest."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.data.inputs.sources import SOURCES_FILE, TEST_SOURCE
from tasks.record.errors import IntegrityError
from tasks.record.files import read_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Manifest, Request

CHUNK_DOCUMENTS = 1 << 20
"""Documents whose digests are compared at once: 16 MiB of the file."""


@dataclass(frozen=True)
class Found:
    """Where something is in a data set: the split, and the place for people to read."""

    split: str
    place: str


def source_places(stage: StageLayout, manifest: Manifest, digest: str) -> list[Found]:
    """The files of that SHA-256 that the data set was made from; their documents may be in any split.

    A source of which no document was kept does not count. Raises IntegrityError where it is not known."""
    listing = stage.path / SOURCES_FILE
    if not listing.exists():
        found = [source for source in ("", TEST_SOURCE) if made_from(stage, manifest, digest, source)]
        return [Found(split, stage.path.name) for source in found for split in splits_of(manifest, source)]
    try:
        sources = read_json(listing)
        unused = {source["name"] for source in manifest.details.get("sources", ()) if not source["documents"]}
        files = [(one["name"], file) for one in sources if one["name"] not in unused for file in one["files"]]
        names = [(source, f"{source}: {file['name']}") for source, file in files if file.get("sha256") == digest]
        remote = sum(file.get("sha256") is None for _, file in files)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{listing} cannot be read ({error!r}); prepare the data set again") from None
    if remote and not names:
        raise IntegrityError(
            f"{stage.path.name} was made from {remote:,} remote files whose SHA-256 is not known, so nobody knows whether this "
            f"is one of them; look for it by name in {listing}"
        )
    return [Found(split, name) for source, name in names for split in splits_of(manifest, source)]


def base_places(manifest: Manifest, request: Request, digest: str) -> list[Found]:
    """The files of that SHA-256 that a base was taken in from, or that it kept as they were; a base has no splits."""
    files = [*base_files(request), *((entry.path, entry.sha256) for entry in manifest.files)]
    return [Found("", name) for name, sha256 in files if sha256 == digest]


def base_files(request: Request) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file that a base was taken in from, as far as they are known."""
    source = request.identity.get("source", {})
    yield from source.get("files", {}).items() if isinstance(source.get("files"), dict) else ()
    if "sha256" in source:
        yield Path(request.execution.get("path") or "file").name, source["sha256"]


def made_from(stage: StageLayout, manifest: Manifest, digest: str, source: str) -> bool:
    """Whether a data set without a list of files was made from this one, or where a source is named, that was."""
    given = manifest.details.get("source", {})
    if source:
        return source in given and only_file(stage, given[source], digest)
    if "sample" in given:
        return bool(given["sha256"] == digest)
    return only_file(stage, given, digest)


def only_file(stage: StageLayout, source: dict[str, Any], digest: str) -> bool:
    if (number := source.get("files", 1)) > 1:
        raise IntegrityError(
            f"{stage.path.name} was made from {number:,} files of which only one digest over all was kept, so nobody knows "
            "whether this is one of them; look for a document of it instead"
        )
    return source.get("sha256") == hashlib.sha256(digest.encode()).hexdigest()


def splits_of(manifest: Manifest, source: str = "") -> tuple[str, ...]:
    """In which splits documents of a source may be; what a test set of its own has is not trained on."""
    if manifest.kind == "prepare":
        return ("train", "heldout")
    if source == TEST_SOURCE:
        return ("test",)
    return ("train",) if (manifest.details.get("read") or {}).get("test_path") else ("train", "test")


def document_places(stage: StageLayout, manifest: Manifest, request: Request, text: str | None, digest: str) -> list[Found]:
    """Where the document is: `text` as it is in the input, or, where that is None, the SHA-256 of its cleaned text.

    Raises IntegrityError for a data set whose documents have no digests.
    """
    if manifest.kind != "prepare":
        return list(example_places(stage, digest if text is None else cleaned_digest(text, {}).hex()))
    wanted = bytes.fromhex(digest) if text is None else cleaned_digest(text, request.identity["data"].get("quality", {}))
    return list(shard_places(stage, manifest, wanted))


def cleaned_digest(text: str, quality: dict[str, object]) -> bytes:
    """SHA-256 of the text as a preparation with these settings has it. (Only what is needed is imported.)"""
    from tasks.data.documents.cleaning import clean, fix_unicode, text_digest

    text = clean(fix_unicode(text) if quality.get("fix_unicode") else text)
    if quality.get("remove_boilerplate"):
        from tasks.data.quality.boilerplate import remove_boilerplate

        text, _ = remove_boilerplate(text)
    if quality.get("c4_lines"):
        from tasks.data.quality.boilerplate import keep_c4_lines

        text, _ = keep_c4_lines(text)
    return text_digest(text)


def shard_places(stage: StageLayout, manifest: Manifest, digest: bytes) -> Iterator[Found]:
    """Shard and number of the document in it, counted from 0."""
    for split, shards in manifest.details["shards"].items():
        for shard in shards:
            path = stage.path / (shard.removesuffix(".bin") + ".digests.npy")
            if not path.exists():
                raise IntegrityError(
                    f"{path} does not exist, so nobody knows whether {stage.path.name} has the document; prepare it again"
                )
            for number in rows_of(path, digest):
                yield Found(split, f"{shard} document {number}")


def rows_of(path: Path, digest: bytes) -> list[int]:
    """The rows of a memory-mapped array of shape (documents, 16), uint8, that begin the digest."""
    import numpy as np

    rows = np.load(path, mmap_mode="r").view("<u8")
    low, high = np.frombuffer(digest[:16], dtype="<u8")
    found: list[int] = []
    for start in range(0, len(rows), CHUNK_DOCUMENTS):
        chunk = rows[start : start + CHUNK_DOCUMENTS]
        alike = np.flatnonzero(chunk[:, 0] == low)
        found += [start + int(row) for row in alike if chunk[row, 1] == high]
    return found


def example_places(stage: StageLayout, digest: str) -> Iterator[Found]:
    """Examples with the document's digest as their id, or with its text as prompt."""
    for split in ("train", "test"):
        path = stage.path / f"{split}.jsonl"
        if not path.exists():
            raise IntegrityError(f"{path} is missing; prepare the examples again")
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if digest in line and json.loads(line)["id"] == digest:
                    yield Found(split, f"{path.name} line {number}")
