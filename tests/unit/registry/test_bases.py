"""A registered version as a base: found in the records, by alias and number, as long as what made it is the same."""

import shutil
from pathlib import Path

import pytest

from tasks.config.base import parse_base
from tasks.record.errors import ConfigError, IntegrityError, TrackingError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout
from tasks.registry import versions as registry
from tasks.registry.bases import registered_base
from tasks.registry.compared import candidate_of
from tasks.stages.work import Result
from tests.kit.registered_stages import begun_stage, finished_training, new_version


@pytest.fixture
def registered(home: Path) -> list[Result]:
    """Versions 1 and 2 of demo-base; the second has the alias."""
    made = []
    for name, seed in (("one", 0), ("two", 1)):
        stage = begun_stage(home, name, seed)
        manifest = finished_training(stage, metrics={"heldout_loss": 2.0 + seed})
        registry.register(home, new_version(stage, manifest))
        made.append(Result(stage, manifest))
    return made


def found(home: Path, text: str) -> Result:
    return registered_base(home, parse_base(text), "finetune[a].base")


def test_version_and_alias_lead_to_the_stage_that_made_it(home: Path, registered: list[Result]) -> None:
    for number, made in enumerate(registered, 1):
        result = found(home, f"models:/demo-base/{number}")
        assert (result.stage.path, result.input.digest) == (made.stage.path.resolve(), made.input.digest)
    assert found(home, "models:/demo-base@pretrained").input.digest == registered[1].input.digest


def test_mlflow_is_not_asked(home: Path, registered: list[Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.registry.tracking.connect", None)
    monkeypatch.setattr("tasks.registry.versions.connect", None)
    assert found(home, "models:/demo-base@pretrained").input.digest == registered[1].input.digest


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("models:/other/1", "no model 'other' is registered in this home; there are: demo-base"),
        ("models:/demo-base/3", "demo-base has no version 3; there are: 1, 2"),
        ("models:/demo-base@champion", "demo-base has no alias 'champion'; there are: pretrained (version 2)"),
    ],
)
def test_what_is_not_registered_is_said_with_what_is(home: Path, registered: list[Result], text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        found(home, text)
    assert str(error.value) == f"finetune[a].base={text!r}: {sentence}"


def test_in_a_new_home_nothing_is_registered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        found(tmp_path, "models:/demo/1")
    assert str(error.value) == (
        "finetune[a].base='models:/demo/1': no model 'demo' is registered in this home, where nothing is registered yet"
    )


def test_a_stage_that_is_gone_or_another_by_now_is_no_base(home: Path, registered: list[Result]) -> None:
    first, second = registered
    write_json(first.stage.manifest, first.manifest.model_copy(update={"step": 99}))
    with pytest.raises(IntegrityError) as error:
        found(home, "models:/demo-base/1")
    start = f"finetune[a].base='models:/demo-base/1': version 1 was made by {first.stage.path.resolve()}, which holds another"
    assert str(error.value).startswith(start)
    shutil.rmtree(RunLayout(home, "two").path)
    with pytest.raises(IntegrityError) as error:
        found(home, "models:/demo-base/2")
    said = str(error.value)
    assert "which is not there any more; restore it, or take in the registry's own copy with base='" in said
    copy = Path(said.rpartition("base='")[2].removesuffix("'"))
    assert (copy / "model.safetensors").is_file(), "the remedy is there"
    assert second.manifest.digest != first.manifest.digest


def test_where_the_registry_is_away_nobody_says_that_nothing_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    questions = (
        lambda: registered_base(tmp_path, parse_base("models:/demo@champion")),
        lambda: candidate_of(tmp_path, "demo", 1),
    )
    for ask in questions:
        with pytest.raises(TrackingError) as found:
            ask()
        assert str(found.value) == (
            "MLflow at http://127.0.0.1:1 does not answer (Connection refused); start it, or correct MLFLOW_TRACKING_URI"
        )
