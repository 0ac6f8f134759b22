"""Where things lie: the folders that design.md promises, and nothing outside of the home."""

from pathlib import Path

import pytest

from tasks.record import layout
from tasks.record.layout import (
    REPOSITORY,
    RunLayout,
    StageLayout,
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


def test_every_stage_of_a_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    run = RunLayout(tmp_path, "demo")
    stages = [run.pretrain(), run.finetune("topic"), run.random_init("topic"), run.evaluate("topic"), run.promote("topic")]
    names = [stage.path.relative_to(tmp_path).as_posix() for stage in stages]
    assert names == [
        "runs/demo/02-pretrain", "runs/demo/03-finetune-topic", "runs/demo/03-random-init-topic",
        "runs/demo/04-evaluate-topic", "runs/demo/05-promote-topic",
    ]  # fmt: skip
    assert run.finetune("chat").path not in {stage.path for stage in stages}
    assert run.config == tmp_path / "runs" / "demo" / "config.json"


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
    begun = [dataset_stage(tmp_path, "text", "a" * 64), RunLayout(tmp_path, "r").finetune("topic")]
    for stage in (*begun, StageLayout(services_folder(tmp_path) / "prefect")):
        stage.path.mkdir(parents=True)
        stage.request.write_text("{}")
    RunLayout(tmp_path, "r").pretrain().path.mkdir()

    assert begun_stages(tmp_path) == begun


def test_step_folders_sort_as_their_steps_do() -> None:
    steps = [0, 9, 10, 99, 100, 12_345, 99_999_999]
    assert sorted(map(step_folder, steps)) == [step_folder(step) for step in steps]
    assert step_folder(1000) == "step_00001000"
