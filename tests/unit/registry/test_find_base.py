"""What the base of a fine-tune means: a result of this home, or a stage that takes it in."""

from pathlib import Path

import pytest

from tasks.config.finetuning import FinetuneFile
from tasks.record.errors import ConfigError, DataError, MissingBaseError
from tasks.record.files import write_json
from tasks.record.layout import RunLayout, bases_folder, begun_stages
from tasks.record.manifest import Manifest, write_manifest
from tasks.registry.find_base import find_base
from tasks.stages.work import Result, Work
from tests.kit.bases import written_base
from tests.kit.stages import run


def found(home: Path, text: str) -> Result | Work:
    return find_base(home, FinetuneFile(name="a", base=text))


def test_a_run_is_its_finished_pretraining(home: Path) -> None:
    stage = RunLayout(home, "demo").pretrain()
    written = write_manifest(stage.path, Manifest(kind="pretrain", request_digest="r", step=5))
    assert found(home, "run:demo") == Result(stage, written)


def test_a_run_without_one_is_no_base(home: Path) -> None:
    with pytest.raises(MissingBaseError) as error:
        found(home, "run:demo")
    assert str(error.value) == (
        "base='run:demo': there is no run 'demo', and so no pre-trained model of it; no run of this home has one yet"
    )
    write_manifest(RunLayout(home, "other").pretrain().path, Manifest(kind="pretrain", request_digest="r"))
    RunLayout(home, "begun").path.mkdir()
    with pytest.raises(ConfigError, match=r"no pre-trained model of it; runs with one are: other$"):
        found(home, "run:demo")
    with pytest.raises(MissingBaseError) as unfinished:
        found(home, "run:begun")
    assert str(unfinished.value) == ("base='run:begun': run 'begun' has no finished pre-training; let it come to its end first")


def test_other_forms_are_read_as_what_they_are(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model 'demo' is registered in this home"):
        found(home, "models:/demo@champion")
    with pytest.raises(ConfigError, match=r"base='demo' does not say what it is"):
        found(home, "demo")
    with pytest.raises(DataError, match=r"base='\./demo' does not exist"):
        found(home, "./demo")


def test_a_folder_is_taken_in_once_for_all_runs(home: Path, tmp_path: Path) -> None:
    folder = written_base(tmp_path / "Given Model")
    work = found(home, str(folder))
    assert isinstance(work, Work) and work.result() is None
    assert work.stage.path.parent == bases_folder(home) and work.stage.path.name.startswith("given-model-")
    made = run(work)
    again = found(home, str(folder.rename(tmp_path / "given-model")))
    assert isinstance(again, Work) and again.request.digest == work.request.digest
    assert again.result() == made
    assert work.stage in begun_stages(home)
    write_json(folder.with_name("given-model") / "generation_config.json", {"eos_token_id": 1})
    other = found(home, str(tmp_path / "given-model"))
    assert isinstance(other, Work) and other.stage != work.stage
