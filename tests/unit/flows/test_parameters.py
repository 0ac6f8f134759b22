"""What a flow does before its first stage: it asks what is left, and writes down configuration and commits."""

import pytest

from flows import parameters
from flows.parameters import open_run
from tasks.config.config import Config
from tasks.config.presets import parse_config
from tasks.record.errors import DataError, RequestChangedError
from tasks.record.files import read_json
from tasks.record.layout import RunLayout
from tasks.stages.work import prepare_work
from tests.kit.finished_runs import config_on_files, finish_pretraining, tiny_values
from tests.kit.hub import FIRST, SECOND, Hub, hub_in_place


@pytest.fixture
def hub(monkeypatch) -> Hub:
    return hub_in_place(monkeypatch)


@pytest.fixture
def on_the_hub(tmp_path) -> Config:
    config_on_files(tmp_path / "in")
    values = tiny_values(tmp_path / "in")
    values["data"] |= {"source": "huggingface", "path": "someone/texts"}
    return parse_config(values)


def test_the_run_has_its_configuration_as_it_was_given(home, tmp_path):
    config = config_on_files(tmp_path / "in")
    assert open_run(config, "r") == config
    assert read_json(RunLayout(home, "r").config) == config.model_dump(mode="json")


def test_a_run_on_the_hub_goes_on_when_the_hub_moves_or_is_away(home, on_the_hub, hub):
    begun = open_run(on_the_hub, "r")
    finish_pretraining(home, begun, "r")
    hub.commits["someone/texts", None] = SECOND
    assert open_run(on_the_hub, "r") == begun
    hub.away = True
    assert open_run(on_the_hub, "r") == begun
    assert prepare_work(home, begun).request.identity["source"]["sources"][0]["revision"] == FIRST
    assert len(hub.asked) == 1
    assert read_json(RunLayout(home, "r").config)["data"]["huggingface_revision"] is None, "what was set, not what it means"


def test_a_run_without_its_file_is_refused_as_for_any_changed_input(home, on_the_hub, hub):
    finish_pretraining(home, open_run(on_the_hub, "r"), "r")
    RunLayout(home, "r").inputs.unlink()
    hub.commits["someone/texts", None] = SECOND
    prepared = on_the_hub.data.model_copy(update={"huggingface_revision": SECOND})
    finish_pretraining(home, on_the_hub.model_copy(update={"data": prepared}), "another")
    with pytest.raises(RequestChangedError, match=r"02-pretrain was run with another request: input\.dataset"):
        open_run(on_the_hub, "r")


def test_a_refused_run_writes_nothing(home, on_the_hub, hub, tmp_path):
    (tmp_path / "in" / "animals.jsonl").unlink()
    with pytest.raises(DataError, match=r"animals\.jsonl"):
        open_run(on_the_hub, "r")
    assert hub.asked == [("someone/texts", None)]
    assert not (home / "runs").exists()


def test_a_flow_inside_of_another_one_asks_only_where_the_configuration_is_another(home, tmp_path, monkeypatch):
    config = config_on_files(tmp_path / "in")
    assert not parameters.inside_of_a_flow()
    monkeypatch.setattr(parameters, "inside_of_a_flow", lambda: True)
    planned = []
    monkeypatch.setattr(parameters, "plan_run", lambda config, name, home: planned.append(config))
    for given in (config, config, config.model_copy(update={"description": "another"})):
        open_run(given, "r")
    assert [one.description for one in planned] == ["", "another"]
