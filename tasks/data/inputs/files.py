"""Which files a path, folder, glob or URL means, and whether they may be read. Standard library only at import."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.data.inputs.folders import NO_FILE, OTHER_SUFFIX, PassedOver, held_back, of_suffixes, walk
from tasks.record.errors import DataError

PACKED = ("", ".gz", ".bz2", ".zst", ".xz")
"""Suffixes of compressed files, and none; what a file really is, its content says (`tasks.data.sources.compression`)."""
PLAIN_SUFFIXES = {
    "text": (".txt", ".text", ".md"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "mediawiki": (".xml",),
}
SUFFIXES = {source: tuple(s + packed for s in suffixes for packed in PACKED) for source, suffixes in PLAIN_SUFFIXES.items()}
SUFFIXES["parquet"] = (".parquet",)
"""What is taken from a folder; a file or a glob is taken as it is named."""

DATA_ROOT = "PRETUNE_DATA_ROOT"
"""Environment variable: folders and URL prefixes outside of which nothing is read, separated as in PATH."""
REMOTE = ("s3", "s3a", "gs", "gcs", "abfs", "az", "http", "https", "memory")
"""Protocols of fsspec that are read. Others reach local files by detours (`zip://`, `simplecache::`), or make no sense."""
NUM_NAMED = 20
"""Files that a message names."""
VERSION_KEYS = ("ETag", "etag", "md5Hash", "content_md5", "checksum", "LastModified", "last_modified", "mtime", "created")
"""Where file systems keep what changes with the content of a file, best first."""


@dataclass(frozen=True)
class InputFile:
    location: str
    """Absolute path, or URL."""
    name: str
    """Relative to the folder or prefix that was named, so that it is the same wherever the data lie."""
    size: int
    """In bytes; -1 where a server does not say."""
    version: str | None = None
    """Of a remote file: checksum, ETag or time of the last change."""


@dataclass(frozen=True)
class Found:
    """What a path means."""

    files: list[InputFile]
    passed_over: PassedOver
    """What lies there too and is not read."""


def is_url(path: str) -> bool:
    return "://" in path


def is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


def input_files(source: str, path: str, field: str = "data.path") -> list[InputFile]:
    """The files that `path` (file, folder, glob or URL of these) means, sorted by name: all splits, as `find_input` says."""
    return find_input(source, path, field, training=False).files


def find_input(source: str, path: str, field: str = "data.path", training: bool = True, empty: bool = False) -> Found:
    """The files that `path` (file, folder, glob or URL of these) means, sorted by name, and what is passed over.

    A folder is searched with its sub-folders for the suffixes of the source. For `training` files of a test or validation
    split are passed over (`folders.held_back`). Raises DataError if there are none, or one lies outside of the data root,
    cannot be read, or is empty where not `empty` files are taken too: all such files are named at once.
    """
    if is_url(path) and not path.startswith(("file://", "local://")):
        found = remote_files(source, path, field)
        names = {file.name: file for file in found.files}
        folder = not is_glob(path)
    else:
        files, passed_over = local_files(source, path, field)
        given = local_path(path)
        root, folder = named_root(given), given.is_dir()
        names = {relative_name(file, root): InputFile(str(file.absolute()), relative_name(file, root), file.stat().st_size)
                 for file in files}  # fmt: skip
        found = Found(list(names.values()), passed_over)
    if training and len(found.files) + folder > 1:
        others = held_back(list(names), folder)
        if len(others) == len(names):
            raise DataError(
                f"{field}={path!r} has nothing to train on: {', '.join(list(others)[:5])} are test or validation splits; name "
                "them by a pattern if they are meant"
            )
        found = Found([file for file in found.files if file.name not in others], found.passed_over | others)
    if not empty:
        check_not_empty({file.location: file.size for file in found.files}, field, path)
    return found


def local_path(path: str) -> Path:
    return Path(path.removeprefix("file://").removeprefix("local://")).expanduser()


def resolve_files(source: str, path: str, field: str = "data.path") -> list[Path]:
    """The local files that `path` means, all of them with something in them; raises DataError as `find_input`."""
    found, _ = local_files(source, path, field)
    check_not_empty({str(file): file.stat().st_size for file in found}, field, path)
    return found


def local_files(source: str, path: str, field: str) -> tuple[list[Path], PassedOver]:
    """Files of this machine, and what lies beside them; hidden files and links to folders are passed over in a folder."""
    given = local_path(path)
    check_allowed([named_root(given) if is_glob(path) else given], field, path)
    passed_over: PassedOver = {}
    if given.is_file():
        found = [given]
    elif given.is_dir():
        inside, passed_over = walk(given)
        found = of_suffixes(inside, SUFFIXES.get(source))
        taken = set(found)
        passed_over |= {file.relative_to(given).as_posix(): OTHER_SUFFIX for file in inside if file not in taken}
        if not found:
            raise no_suffix(source, path, field)
    elif is_glob(path):
        found, passed_over = glob_files(given)
        if not found:
            raise DataError(f"{field}={path!r} matches no file; mend the pattern")
    else:
        raise DataError(f"{field}={path!r} does not exist; give a file, a folder or a glob of source {source!r}")
    check_allowed(found, field, path)
    check_readable(found, field, path)
    return found, passed_over


def no_suffix(source: str, path: str, field: str) -> DataError:
    kinds = ", ".join(f"*{suffix}" for suffix in SUFFIXES.get(source, ("",)))
    return DataError(f"{field}={path!r} is a folder without files of source {source!r} ({kinds}); name the files by a glob")


def visible_files(folder: Path) -> list[Path]:
    """Every file below `folder` that is not hidden, sorted."""
    return walk(folder)[0]


def glob_files(pattern: Path) -> tuple[list[Path], PassedOver]:
    """Files that match a pattern with `*`, `?`, `[]` or `**` in any part, sorted, and what matches and is no file."""
    root = named_root(pattern)
    there = sorted(root.glob(str(pattern.relative_to(root))))
    files = [path for path in there if path.is_file()]
    if "**" in pattern.parts:
        return files, {}  # its folders are looked into
    return files, {relative_name(path, root): NO_FILE for path in there if not path.is_file()}


def named_root(given: Path) -> Path:
    """The folder that names are relative to: the folder itself, that of the file, or the fixed part of a pattern."""
    parts = given.parts
    first = next((i for i, part in enumerate(parts) if is_glob(part)), None)
    if first is not None and not given.exists():
        return Path(*parts[:first]) if first else Path()
    return given if given.is_dir() else given.parent


def relative_name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def check_readable(files: list[Path], field: str, value: str) -> None:
    """Raises DataError that names every file which may not be read."""
    if closed := [str(path) for path in files if not os.access(path, os.R_OK)]:
        raise DataError(f"{field}={value!r}: {named(closed)} cannot be read; change the permissions")


def check_not_empty(sizes: dict[str, int], field: str, value: str) -> None:
    """Raises DataError that names every file, by its place, in which there is nothing."""
    if empty := [place for place, size in sizes.items() if size == 0]:
        verb, pronoun = ("is", "it") if len(empty) == 1 else ("are", "them")
        raise DataError(f"{field}={value!r}: {named(empty)} {verb} empty; remove {pronoun} or give {pronoun} content")


def named(places: list[str]) -> str:
    """As many as a sentence can hold."""
    more = len(places) - NUM_NAMED
    return ", ".join(places[:NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def data_roots() -> list[str] | None:
    """Folders and URL prefixes that may be read; None means everything."""
    given = os.environ.get(DATA_ROOT)
    if not given:
        return None
    return [entry for entry in re.split(re.escape(os.pathsep) + "(?!//)", given) if entry]


def check_allowed(files: Iterable[Path], field: str, value: str) -> None:
    """Raises DataError for a path that leaves the data root, by `..`, a symlink or from the start."""
    roots = data_roots()
    if roots is None:
        return
    folders = [Path(root).expanduser().resolve() for root in roots if not is_url(root)]
    for path in files:
        try:
            real = path.resolve()
        except (OSError, RuntimeError) as error:  # Python below 3.13 raises RuntimeError for a loop of links
            raise DataError(f"{field}={value!r}: {path} leads nowhere ({first_line(error)}); mend the link") from None
        if not any(real.is_relative_to(folder) for folder in folders):
            raise leaves_root(f"{path} (that is {real})" if real != path else str(path), field, value, roots)


def check_url_allowed(url: str, field: str) -> None:
    """Raises DataError for a URL that is not below a listed prefix, or climbs with `..`."""
    roots = data_roots()
    if roots is None:
        return
    prefixes = [root.rstrip("/") for root in roots if is_url(root)]
    climbs = ".." in PurePosixPath(url.partition("://")[2]).parts or "%2e" in url.lower()
    if climbs or not any(url == prefix or url.startswith(prefix + "/") for prefix in prefixes):
        raise leaves_root(url, field, url, roots)


def leaves_root(place: str, field: str, value: str, roots: list[str]) -> DataError:
    return DataError(
        f"{field}={value!r}: {place} is a path that leaves the data root {DATA_ROOT}={os.pathsep.join(roots)!r}; "
        "move the data below it, or add its folder or URL prefix there"
    )


def open_file_system(url: str, field: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it; raises DataError where it is not known or not installed."""
    check_url_allowed(url, field)
    protocol = url.partition("://")[0]
    if protocol not in REMOTE:
        raise DataError(f"{field}={url!r} has protocol {protocol!r}, and these are read: {', '.join(REMOTE)}; copy the data")
    if "::" in url:
        raise DataError(f"{field}={url!r} joins two addresses with '::', which is not read; copy the data")
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        remedy = "pip install 'pretune[s3]'" if protocol in ("s3", "s3a") else f"pip install 'fsspec[{protocol}]'"
        raise DataError(f"{field}={url!r} needs a package that is missing ({error}); install it with `{remedy}`") from None


def remote_errors() -> tuple[type[Exception], ...]:
    """What reading from a file system of fsspec can raise; botocore's own are no OSError."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError, ValueError, *((botocore.BotoCoreError, botocore.ClientError) if botocore else ()))


def remote_files(source: str, url: str, field: str) -> Found:
    """The files below a prefix, that match a pattern, or the one of that name, without reading them."""
    fs, root = open_file_system(url, field)
    try:
        fs.invalidate_cache()
        infos, base = list_remote(fs, root)
    except remote_errors() as error:
        raise DataError(f"{field}={url!r} cannot be listed ({first_line(error)}); mend the URL or the credentials") from None
    if not infos:
        raise DataError(f"{field}={url!r} does not exist or matches no file; mend the URL")
    passed_over: PassedOver = {}
    if not is_glob(root) and list(infos) != [root]:
        taken = set(of_suffixes(infos, SUFFIXES.get(source)))
        passed_over = {path.removeprefix(base).lstrip("/"): OTHER_SUFFIX for path in infos if path not in taken}
        infos = {path: info for path, info in infos.items() if path in taken}
    if not infos:
        raise no_suffix(source, url, field)
    files = [remote_file(fs, path, info, base) for path, info in sorted(infos.items())]
    for file in files:
        check_url_allowed(file.location, field)
        if file.version is None:
            raise DataError(
                f"{field}={url!r}: the server gives neither checksum nor time of {file.location}, so that a change would "
                "not be noticed; download it"
            )
    return Found(files, passed_over)


def list_remote(fs: Any, root: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Information by path, and the prefix that names are relative to; hidden files of a folder are none."""
    if is_glob(root):
        fixed = "/".join(takewhile(lambda part: not is_glob(part), root.split("/")))
        return {path: info for path, info in fs.glob(root, detail=True).items() if info["type"] == "file"}, fixed
    if fs.isfile(root):
        return {root: fs.info(root)}, root.rpartition("/")[0]
    if not fs.isdir(root):
        return {}, root
    found, base = fs.find(root, detail=True), root.rstrip("/")
    visible = [p for p in found if not any(part.startswith(".") for part in p.removeprefix(base).split("/"))]
    return {path: found[path] for path in visible}, base


def remote_file(fs: Any, path: str, info: dict[str, Any], base: str) -> InputFile:
    version = next((str(info[key]) for key in VERSION_KEYS if info.get(key)), None)
    size = info.get("size")
    return InputFile(fs.unstrip_protocol(path), path.removeprefix(base).lstrip("/"), -1 if size is None else size, version)


def first_line(error: BaseException) -> str:
    """What a library's error says, on one line, for a message of ours."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
