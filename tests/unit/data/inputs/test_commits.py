"""Which commits a run reads of data sets on the hub: asked for once, kept, and read again wherever the hub is by then."""

import json
import threading
from pathlib import Path

import pytest

from tasks.config.config import Config
from tasks.config.presets import parse_config
from tasks.data.inputs.commits import commit_of, keep_commits, pinned
from tasks.data.inputs.request import prepare_settings
from tasks.data.inputs.text import text_identity
from tasks.record.errors import DataError, IntegrityError
from tasks.record.files import read_json
from tasks.record.layout import RunLayout
from tasks.stages.work import prepare_work
from tests.kit.hub import FIRST, SECOND, TAGGED, Hub, hub_in_place


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return hub_in_place(monkeypatch)


@pytest.fixture
def run(home: Path) -> RunLayout:
    return RunLayout(home, "r")


def configured(revision: str | None = None, *more: str, path: str = "someone/texts") -> Config:
    mixture = [{"name": f"more-{n}", "source": "huggingface", "path": name} for n, name in enumerate(more)]
    data = {"source": "huggingface", "path": path, "huggingface_revision": revision, "mixture": mixture}
    return parse_config({"data": data})


def revisions(config: Config) -> list[str | None]:
    return [source.huggingface_revision for source in config.data.sources]


def begun(run: RunLayout, config: Config) -> Config:
    return keep_commits(run, config, pinned(run, config))


def test_a_run_that_has_begun_stays_at_its_commit_when_the_hub_moves_or_is_away(hub: Hub, run: RunLayout) -> None:
    assert revisions(begun(run, configured())) == [FIRST]
    hub.commits["someone/texts", None] = SECOND
    assert revisions(pinned(run, configured())) == [FIRST]
    assert revisions(pinned(RunLayout(run.home, "another"), configured())) == [SECOND]
    hub.away = True
    assert revisions(begun(run, configured())) == [FIRST]
    assert hub.asked == [("someone/texts", None)] * 2
    kept = [{"name": "someone/texts", "asked": None, "commit": FIRST}]
    assert read_json(run.inputs) == {"huggingface": kept}


def test_what_is_prepared_is_known_without_the_hub(hub: Hub, run: RunLayout) -> None:
    request = prepare_work(run.home, pinned(run, configured())).request
    hub.away = True
    assert text_identity(run.home, prepare_settings(request)[0]) == request.identity["source"]


def test_asking_alone_writes_nothing(hub: Hub, run: RunLayout) -> None:
    config = configured()
    assert revisions(pinned(run, config)) == [FIRST]
    assert revisions(config) == [None]
    assert not run.path.exists()


def test_a_tag_is_the_commit_that_it_was_when_the_run_began(hub: Hub, run: RunLayout) -> None:
    assert revisions(begun(run, configured("v1"))) == [TAGGED]
    hub.commits["someone/texts", "v1"] = SECOND
    assert revisions(pinned(run, configured("v1"))) == [TAGGED]


def test_each_data_set_and_revision_is_asked_for_once_and_found_again(hub: Hub, run: RunLayout) -> None:
    both = begun(run, configured(None, "someone/texts", "other/texts"))
    assert revisions(both) == [FIRST, FIRST, FIRST]
    assert hub.asked == [("someone/texts", None), ("other/texts", None)]
    begun(run, configured("v1"))
    hub.commits = {}
    assert revisions(pinned(run, configured())) == [FIRST]
    assert revisions(pinned(run, configured("v1"))) == [TAGGED]


def test_of_two_flows_the_first_to_write_decides(hub: Hub, run: RunLayout) -> None:
    config = configured()
    early = pinned(run, config)
    hub.commits["someone/texts", None] = SECOND
    late = pinned(run, config)
    assert revisions(keep_commits(run, config, late)) == [SECOND]
    assert revisions(keep_commits(run, config, early)) == [SECOND]


def test_flows_that_write_at_once_all_end_with_the_same(hub: Hub, run: RunLayout) -> None:
    config, found = configured(), []
    settled = []
    for commit in (FIRST, SECOND) * 4:
        hub.commits["someone/texts", None] = commit
        settled.append(pinned(run, config))
    threads = [threading.Thread(target=lambda one=one: found.append(keep_commits(run, config, one))) for one in settled]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({tuple(revisions(one)) for one in found}) == 1
    assert len(read_json(run.inputs)["huggingface"]) == 1


def test_local_text_needs_no_file_and_no_hub(hub: Hub, run: RunLayout, tmp_path: Path) -> None:
    for values in ({}, {"source": "text", "path": "a.txt"}, {"source": "huggingface", "path": str(tmp_path)}):
        config = parse_config({"data": values})
        assert begun(run, config) is config
    assert hub.asked == []
    assert not run.path.exists()


def test_a_file_that_cannot_be_read_is_named(hub: Hub, run: RunLayout) -> None:
    run.path.mkdir(parents=True)
    run.inputs.write_text(json.dumps({"huggingface": [{"name": 5}]}))
    with pytest.raises(
        IntegrityError, match=r"inputs\.json cannot be read \(.*\); restore it, or remove it to ask the hub again"
    ):
        pinned(run, configured())


@pytest.mark.parametrize(
    ("away", "given", "sentence"),
    [
        (False, configured("v9"),
         "data.huggingface_revision='v9' is no commit, tag or branch of 'someone/texts' on the hub; mend it, or leave it empty "
         "for the newest commit"),
        (False, configured(None, "no/body"),
         "data.mixture[more-0].path='no/body' is neither a local folder nor a data set on the hub; mend the path or the name"),
        (True, configured(),
         "data.path='someone/texts' is no local folder and the hub cannot be reached (no route to host); go online or give a "
         "local folder"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_have_is_said(hub: Hub, run: RunLayout, away: bool, given: Config, sentence: str) -> None:
    hub.away = away
    with pytest.raises(DataError) as found:
        pinned(run, given)
    assert str(found.value) == sentence


def test_a_hub_that_cannot_be_reached_is_said(run: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"'someone/texts' is no local folder and the hub cannot be reached \(.*\); go online"):
        pinned(run, configured())


def test_offline_the_cache_is_asked(tmp_path: Path, run: RunLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(DataError, match=r"'someone/texts' is neither a local folder nor in the Hugging Face cache"):
        pinned(run, configured())
    cached = tmp_path / "hub" / "datasets--someone--texts"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(FIRST)
    (cached / "snapshots" / FIRST).mkdir(parents=True)
    assert revisions(pinned(run, configured())) == revisions(pinned(run, configured(FIRST))) == [FIRST]
    with pytest.raises(DataError, match=r"'someone/texts' at data\.huggingface_revision='v1' is neither a local folder nor in"):
        pinned(run, configured("v1"))
    with pytest.raises(DataError, match=r"'\./gone/folder/deep' is neither a local folder"):
        pinned(run, configured(path="./gone/folder/deep"))


def test_the_hub_is_not_asked_for_what_lies_outside_of_the_data_root(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRETUNE_DATA_ROOT", f"{tmp_path}:hf://datasets/someone/else")
    with pytest.raises(DataError, match=r"hf://datasets/someone/texts is a path that leaves the data root"):
        commit_of("someone/texts", None)
    assert hub.asked == []
