"""The hub as far as data sets are asked for: names, revisions, and the commits that these are at."""

import httpx2
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import DatasetInfo

FIRST, SECOND, TAGGED = "1" * 40, "2" * 40, "a" * 40


class Hub:
    """Answers as the hub does; a test moves `commits`, reads what was `asked`, and takes it `away`."""

    def __init__(self) -> None:
        self.commits = {("someone/texts", None): FIRST, ("someone/texts", "v1"): TAGGED, ("other/texts", None): FIRST}
        self.asked: list[tuple[str, str | None]] = []
        self.away = False

    def dataset_info(self, name: str, *, revision: str | None = None, timeout: float | None = None) -> DatasetInfo:
        self.asked.append((name, revision))
        response = httpx2.Response(404, request=httpx2.Request("GET", "https://hub.invalid"))
        if self.away:
            raise httpx2.ConnectError("no route to host")
        if (name, None) not in self.commits:
            raise RepositoryNotFoundError("404", response=response)
        if (name, revision) not in self.commits:
            raise RevisionNotFoundError("404", response=response)
        return DatasetInfo(id=name, sha=self.commits[name, revision])


def hub_in_place(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    return made
