"""The stages of a run that are proved, and the runs of which nothing can be."""

from pathlib import Path

import pytest

from tasks.audit.verify import verify_run
from tasks.record.errors import ConfigError
from tasks.record.files import write_json
from tasks.record.layout import FinetuneLayout, RunLayout, StageLayout
from tasks.record.manifest import Request
from tests.kit.told_runs import change_request, told_run


def test_a_run_is_proved_if_all_its_trainings_are(tmp_path: Path) -> None:
    stage = told_run(tmp_path)
    evaluation = StageLayout(RunLayout(tmp_path, "run").path / "03-evaluate")
    write_json(evaluation.request, Request(kind="evaluate", identity={}))
    proof = verify_run(tmp_path, "run")
    assert [(one.stage, one.kind) for one in proof.stages] == [("02-pretrain", "pretrain")]
    assert proof.proved
    change_request(stage, seed=3)
    assert not verify_run(tmp_path, "run").proved


def test_a_run_that_is_not_there_or_has_not_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        verify_run(tmp_path, "lost")
    assert str(error.value) == "run 'lost' does not exist; there are: none"
    write_json(RunLayout(tmp_path, "new").pretrain().request, Request(kind="pretrain", identity={}))
    with pytest.raises(ConfigError, match=r"run 'lost' does not exist; there are: new$"):
        verify_run(tmp_path, "lost")
    write_json(FinetuneLayout(tmp_path, "tuned").attempt("a").candidate.request, Request(kind="finetune", identity={}))
    with pytest.raises(ConfigError, match=r"run 'lost' does not exist; there are: new, tuned$"):
        verify_run(tmp_path, "lost")
    with pytest.raises(ConfigError, match="run 'new' has not trained anything yet, so there is nothing to verify"):
        verify_run(tmp_path, "new")
