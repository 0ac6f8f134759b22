"""Rows of a Hugging Face data set, local or from the hub. The only importer of `datasets`, and only when called."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tasks.config.data import TextSource
from tasks.data.inputs.files import check_allowed, check_url_allowed, first_line, is_url, visible_files
from tasks.data.inputs.sources import HUB_PREFIX, on_hub
from tasks.data.sources.compression import HEAD_BYTES, compression_of, refused_format
from tasks.data.sources.quarantine import Place
from tasks.data.sources.rows import Reading, Row
from tasks.data.sources.streams import Limits, Meter, open_input, open_raw
from tasks.record.errors import DataError

READ_BYTES = 1 << 20


def read_huggingface(reading: Reading, data: TextSource) -> Iterator[Row]:
    """Rows of `data.path`, streamed; a data set on the hub is read at the commit `data.huggingface_revision`.

    A file that `datasets` cannot read ends the reading, whatever the policy: it does not say which row is bad.
    """
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError
    from pyarrow import ArrowException

    meter, name = reading.meter, reading.unit.name
    meter.total, meter.done = data.max_documents or 0, 0
    number = 0
    try:
        rows = open_rows(data, reading.limits)
        for number in count(1):
            values = next(rows, None)
            if values is None:
                return
            meter.done += 1
            yield Row(values, Place(reading.unit.location, name, f"row {number}"))
    except (DatasetsError, ArrowException, HTTPError, OSError, ValueError) as error:
        place = f"after row {max(0, number - 1)} ({first_line(error)})"
        raise DataError(f"data.path={data.path!r} cannot be read by datasets {place}"
                        "; mend the data set, data.huggingface_config or data.huggingface_split") from None  # fmt: skip


def open_rows(data: TextSource, limits: Limits) -> Iterator[dict[str, Any]]:
    from datasets import DatasetDict, load_dataset_builder, load_from_disk
    from huggingface_hub import constants, snapshot_download

    path, split, revision = data.path or "", data.huggingface_split, data.huggingface_revision
    local = Path(path).expanduser()
    if on_hub(data):
        check_url_allowed(f"{HUB_PREFIX}{path}", "data.path")
        place = f"{HUB_PREFIX}{path}@{revision}/"
        if constants.HF_HUB_OFFLINE:
            place = path = snapshot_download(path, repo_type="dataset", revision=revision, local_files_only=True)
            revision = None
    else:
        check_allowed([*visible_files(local), local], "data.path", path)
        if (local / "state.json").exists() or (local / "dataset_dict.json").exists():
            saved = load_from_disk(str(local))
            if isinstance(saved, DatasetDict):
                if split not in saved:
                    raise DataError(
                        f"data.huggingface_split={split!r} is not in {path}, which has {', '.join(saved)}; name one"
                    )
                saved = saved[split]
            check_data_files({split: [file["filename"] for file in saved.cache_files]}, path, str(local.absolute()))
            return iter(saved)
        path, revision, place = str(local), None, str(local.absolute())
    builder = load_dataset_builder(path, data.huggingface_config, revision=revision)
    data_files = builder.config.data_files or {}
    check_data_files(data_files, data.path or "", place)
    for file in data_files.get(split, ()):
        check_packed(str(file), limits)
    return iter(builder.as_streaming_dataset(split=split))


def check_data_files(data_files: dict[str, list[str]], given: str, folder: str) -> None:
    """Raises DataError where a data set's own settings name files that are no part of it, and so not of its identity.

    `folder` is where it lies, or its `hf://` address; settings can name `../../etc/passwd` or another server.
    """
    for file in (str(file) for files in data_files.values() for file in files):
        inside = file.startswith(folder) if is_url(file) else Path(os.path.normpath(file)).is_relative_to(folder)
        if not inside or ".." in Path(file).parts:
            raise DataError(f"data.path={given!r} names {file}, which is no file of the data set; remove it from its README.md")


def check_packed(file: str, limits: Limits) -> None:
    """Unpack a compressed local file once: `datasets` has no limits, and no place in its messages."""
    if is_url(file):
        return
    with open_raw(file) as opened:
        head = opened.read(HEAD_BYTES)
    if compression_of(head) or refused_format(head):
        with open_input(file, limits, Meter()) as stream:
            while stream.read(READ_BYTES):
                continue
