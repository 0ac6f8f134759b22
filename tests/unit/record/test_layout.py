"""Where things lie: the folders that design.md promises, and nothing outside of the home."""

from pathlib import Path

import pytest

from tasks.record import layout
from tasks.record.layout import (
    REPOSITORY,
    FinetuneLayout,
    RunLayout,
    StageLayout,
    attempt_of,
    begun_stages,
    dataset_stage,
    home,
    services_folder,
    step_folder,
)


def test_home_is_the_variable_or_a_folder_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path / "a" / ".." / "b"))
    assert home() == tmp_path.resolve() / "b"
    for unset in ("", None):
        monkeypatch.delenv("PRETUNE_HOME", raising=False)
        if unset is not None:
            monkeypatch.setenv("PRETUNE_HOME", unset)
        assert home() == REPOSITORY / ".pretune"
    assert (REPOSITORY / "pyproject.toml").is_file()


def test_home_of_a_wheel_is_among_the_users_data_wherever_one_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layout, "REPOSITORY", tmp_path / "site-packages")
    for name in ("PRETUNE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "user" / ".local" / "share" / "pretune"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "pretune"
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path / "chosen"))
    assert home() == tmp_path / "chosen"


def test_every_stage_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run, tuning = RunLayout(tmp_path, "demo"), FinetuneLayout(tmp_path, "demo-topic")
    attempt = tuning.attempt("0123456789abcdef")
    stages = [run.pretrain(), attempt.candidate, attempt.random_init, attempt.evaluation("fedcba9876543210")]
    names = [stage.path.relative_to(tmp_path).as_posix() for stage in stages]
    assert names == [
        "runs/demo/02-pretrain", "finetunes/demo-topic/0123456789ab/finetune", "finetunes/demo-topic/0123456789ab/random-init",
        "finetunes/demo-topic/0123456789ab/evaluate-fedcba987654",
    ]  # fmt: skip
    assert attempt_of(attempt.candidate) == attempt_of(attempt.random_init) == attempt
    assert run.config == tmp_path / "runs" / "demo" / "config.json"
    files = {tuning.settings, tuning.inputs, tuning.lock, tuning.outcomes, attempt.path}
    assert len(files) == 5 and {file.parent for file in files} == {tuning.path}


def test_attempts_are_those_that_were_begun_and_evaluations_those_that_are_done(tmp_path: Path) -> None:
    tuning = FinetuneLayout(tmp_path, "demo-topic")
    begun, empty = tuning.attempt("1" * 64), tuning.attempt("2" * 64)
    for stage in (begun.candidate, begun.evaluation("a"), begun.evaluation("b"), empty.candidate):
        stage.path.mkdir(parents=True)
    begun.candidate.request.write_text("{}")
    begun.evaluation("b").request.write_text("{}")
    begun.evaluation("a").manifest.write_text("{}")
    assert tuning.attempts == [begun]
    assert begun.evaluations == [begun.evaluation("a")]


def test_the_files_of_a_stage_are_all_different_and_inside_of_it(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path)
    files = [
        stage.request, stage.manifest, stage.journal, stage.lock, stage.error, stage.stop, stage.orchestrator,
        stage.registration, stage.checkpoints, stage.milestones, stage.export, stage.logs(1), stage.logs(2),
        stage.part_log("extract-0"), stage.supervisor_log, stage.mirror_log,
    ]  # fmt: skip
    assert len(set(files)) == len(files)
    assert all(file.is_relative_to(tmp_path) for file in files)


def test_a_data_set_is_shared_between_runs_and_named_by_its_digest(tmp_path: Path) -> None:
    assert dataset_stage(tmp_path, "text", "0123456789abcdef").path == tmp_path / "datasets" / "text-0123456789ab"


def test_begun_stages_are_those_with_a_request_prepared_data_first(tmp_path: Path) -> None:
    begun = [dataset_stage(tmp_path, "text", "a" * 64), FinetuneLayout(tmp_path, "r-topic").attempt("b" * 64).candidate]
    for stage in (*begun, StageLayout(services_folder(tmp_path) / "prefect")):
        stage.path.mkdir(parents=True)
        stage.request.write_text("{}")
    RunLayout(tmp_path, "r").pretrain().path.mkdir(parents=True)

    assert begun_stages(tmp_path) == begun


def test_step_folders_sort_as_their_steps_do() -> None:
    steps = [0, 9, 10, 99, 100, 12_345, 99_999_999]
    assert sorted(map(step_folder, steps)) == [step_folder(step) for step in steps]
    assert step_folder(1000) == "step_00001000"
