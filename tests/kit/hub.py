"""The hub as far as data sets and models are asked for: names, revisions, the commits that these are at, and files."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import DatasetInfo, ModelInfo

FIRST, SECOND, TAGGED = "1" * 40, "2" * 40, "a" * 40


class Hub:
    """Answers as the hub does; a test moves `commits`, reads what was `asked`, and takes it `away`."""

    def __init__(self) -> None:
        self.commits = {("someone/texts", None): FIRST, ("someone/texts", "v1"): TAGGED, ("other/texts", None): FIRST}
        self.asked: list[tuple[str, str | None]] = []
        self.away = False
        self.files: dict[str, Path] = {}
        """Folder of each model."""
        self.cache = Path()
        self.fetched: list[list[str]] = []

    def dataset_info(self, name: str, *, revision: str | None = None, timeout: float | None = None) -> DatasetInfo:
        return DatasetInfo(id=name, sha=self.commit_of(name, revision))

    def model_info(self, name: str, *, revision: str | None = None, timeout: float | None = None) -> ModelInfo:
        commit = self.commit_of(name, revision)
        return ModelInfo(id=name, sha=commit, siblings=[{"rfilename": path.name} for path in self.files[name].iterdir()])

    def snapshot_download(self, name: str, *, revision: str, allow_patterns: list[str]) -> str:
        """Every call is in `fetched`, with what it copied into the folder of the commit."""
        folder = self.cache / revision
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [path for path in self.files[name].iterdir() if any(fnmatch(path.name, one) for one in allow_patterns)]
        for path in wanted:
            shutil.copyfile(path, folder / path.name)
        self.fetched.append(sorted(path.name for path in wanted))
        return str(folder)

    def commit_of(self, name: str, revision: str | None) -> str:
        self.asked.append((name, revision))
        response = httpx2.Response(404, request=httpx2.Request("GET", "https://hub.invalid"))
        if self.away:
            raise httpx2.ConnectError("no route to host")
        if (name, None) not in self.commits:
            raise RepositoryNotFoundError("404", response=response)
        if (name, revision) not in self.commits:
            raise RevisionNotFoundError("404", response=response)
        return self.commits[name, revision]


def hub_in_place(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.snapshot_download)
    return made
