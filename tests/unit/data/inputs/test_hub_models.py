"""A model on the hub: its commit is asked once, what cannot be a base is refused before its weights are fetched."""

from pathlib import Path

import pytest

from tasks.config.base import parse_base
from tasks.config.finetuning import FinetuneFile
from tasks.data.inputs.bases import Source
from tasks.data.inputs.hub_models import hub_source, read_pins
from tasks.record.errors import DataError, IntegrityError
from tasks.record.files import read_json
from tasks.registry.find_base import find_base
from tasks.stages.work import Work
from tests.kit.bases import changed, written_base
from tests.kit.hub import FIRST, SECOND, TAGGED, Hub, hub_in_place
from tests.kit.stages import run

NAME = "someone/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = hub_in_place(monkeypatch)
    made.commits = {(NAME, None): FIRST, (NAME, "v1"): TAGGED}
    made.files, made.cache = {NAME: written_base(tmp_path / "on the hub")}, tmp_path / "cache"
    return made


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    return tmp_path / "run" / "bases.json"


def source(pins: Path, text: str = NAME) -> Source:
    return hub_source(parse_base(text), pins)


def refusal(pins: Path, text: str = NAME) -> str:
    with pytest.raises(DataError) as error:
        source(pins, text)
    assert not pins.exists(), "nothing is written down of what is refused"
    return str(error.value)


def test_the_commit_is_asked_once_and_then_read(hub: Hub, pins: Path) -> None:
    first = source(pins)
    assert first == Source({"kind": "hub", "name": NAME, "commit": FIRST}, "apache-2.0")
    hub.commits[NAME, None] = SECOND
    assert source(pins) == first
    assert source(pins, f"{NAME}@v1").identity["commit"] == TAGGED
    hub.away = True
    assert source(pins) == first
    assert hub.asked == [(NAME, None), (NAME, "v1")]
    assert not any(name.endswith(".safetensors") for names in hub.fetched for name in names), "no weights"
    assert [one["commit"] for one in read_json(pins)["models"]] == [FIRST, TAGGED]


def test_what_cannot_be_a_base_is_refused_before_it_is_fetched(hub: Hub, pins: Path) -> None:
    changed(hub.files[NAME], "config.json", auto_map={"AutoModel": "x.Y"})
    assert "its config.json names code of its own (auto_map)" in refusal(pins)
    (hub.files[NAME] / "model.safetensors").rename(hub.files[NAME] / "pytorch_model.bin")
    assert "has its weights as a pickle (pytorch_model.bin)" in refusal(pins)


@pytest.mark.parametrize(
    ("away", "text", "sentence"),
    [
        (False, f"{NAME}@v9", f"base='{NAME}@v9': 'v9' is no commit, tag or branch of '{NAME}' on the hub; mend it"),
        (False, "no/body",
         "base='no/body' is no model on the hub; mend the name, or begin the path of a folder with / or ./"),
        (True, NAME, f"base='{NAME}': the hub cannot be reached (no route to host); go online or give a local folder"),
    ],
)  # fmt: skip
def test_what_the_hub_does_not_have_is_said(hub: Hub, pins: Path, away: bool, text: str, sentence: str) -> None:
    hub.away = away
    assert refusal(pins, text) == sentence


def test_a_folder_of_that_name_is_not_taken_for_it(
    hub: Hub, pins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir(parents=True)
    assert refusal(pins) == (
        f"base='{NAME}' is an id on the hub as it is written, and a folder lies there too; for that write './...'"
    )


def test_offline_the_cache_is_asked(pins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert refusal(pins) == (
        f"base='{NAME}' is not in the Hugging Face cache, and HF_HUB_OFFLINE is set; download it first or give a local folder"
    )
    cached = tmp_path / "hub" / "models--someone--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(FIRST)
    written_base(cached / "snapshots" / FIRST)
    assert source(pins).identity["commit"] == FIRST


def test_nothing_outside_of_the_data_root_is_asked_for(hub: Hub, pins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETUNE_DATA_ROOT", "/data:hf://models/other")
    assert f"hf://models/{NAME} is a path that leaves the data root" in refusal(pins)
    assert hub.asked == []


def test_pins_that_cannot_be_read_are_named(pins: Path) -> None:
    pins.parent.mkdir()
    pins.write_text('{"models": 5}')
    with pytest.raises(
        IntegrityError, match=r"bases\.json cannot be read \(.*\); restore it, or remove it to ask the hub again"
    ):
        read_pins(pins)


def test_the_stage_fetches_the_weights_of_the_commit(hub: Hub, pins: Path, home: Path) -> None:
    work = find_base(home, FinetuneFile(name="a", base=NAME))
    assert isinstance(work, Work) and work.request.execution["path"] is None
    made = run(work)
    assert "model.safetensors" in hub.fetched[-1]
    assert (made.stage.export / "model.safetensors").samefile(hub.cache / FIRST / "model.safetensors")
    assert (made.manifest.details["kind"], made.manifest.details["licence"]) == ("hub", "apache-2.0")
    again = find_base(home, FinetuneFile(name="a", base=NAME))
    assert isinstance(again, Work) and again.result() == made
