"""Rows of a Hugging Face data set, local or from the hub. The only importer of `datasets`, and only when called."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tasks.config import DataConfig
from tasks.data.sources import Meter, Row
from tasks.errors import DataError
from tasks.source_identity import first_line


def read_huggingface(data: DataConfig, source: dict[str, Any], meter: Meter) -> Iterator[Row]:
    """Rows of `data.path`, streamed; a data set on the hub is read at the commit that `source` (its identity) names."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError
    from pyarrow import ArrowException

    meter.total, meter.done = data.max_documents or 0, 0
    number = 0
    try:
        rows = open_rows(data, source.get("revision"))
        for number in count(1):
            values = next(rows, None)
            if values is None:
                return
            meter.done += 1
            yield Row(values, f"{data.path} row {number}")
    except (DatasetsError, ArrowException, HTTPError, OSError, ValueError) as error:
        place = f"after row {max(0, number - 1)} ({first_line(error)})"
        raise DataError(f"data.path={data.path!r} cannot be read by datasets {place}"
                        "; mend the data set, data.huggingface_config or data.huggingface_split") from None  # fmt: skip


def open_rows(data: DataConfig, revision: str | None) -> Iterator[dict[str, Any]]:
    from datasets import DatasetDict, load_dataset, load_from_disk
    from huggingface_hub import constants, snapshot_download

    path, split = data.path or "", data.huggingface_split
    local = Path(path).expanduser()
    if local.exists():
        if (local / "state.json").exists() or (local / "dataset_dict.json").exists():
            saved = load_from_disk(str(local))
            if isinstance(saved, DatasetDict):
                if split not in saved:
                    raise DataError(
                        f"data.huggingface_split={split!r} is not in {path}, which has {', '.join(saved)}; name one"
                    )
                saved = saved[split]
            return iter(saved)
        path, revision = str(local), None
    elif constants.HF_HUB_OFFLINE:
        path, revision = snapshot_download(path, repo_type="dataset", revision=revision, local_files_only=True), None
    return iter(load_dataset(path, data.huggingface_config, split=split, revision=revision, streaming=True))
