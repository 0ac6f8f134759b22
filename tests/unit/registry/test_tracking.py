"""One MLflow run per stage, which follows the journal, tells the truth about its end, and loses nothing."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.record.errors import TrackingError
from tasks.record.files import write_json
from tasks.record.journal import Journal
from tasks.record.layout import REPOSITORY, FinetuneLayout, RunLayout, StageLayout, dataset_stage
from tasks.record.manifest import Input, Request, read_request
from tasks.registry import tracking
from tasks.registry import versions as registry
from tasks.registry.store import artifact_folder, database_file, read_registration, run_and_experiment, tracking_uri
from tasks.registry.tracking import connect, journal_metrics, sync
from tests.kit.registered_stages import (
    begun_stage,
    die,
    finished_training,
    new_version,
    points,
    run_in_child,
    run_of,
    write_steps,
)


@pytest.fixture
def stage(home):
    return begun_stage(home)


def test_run_has_the_journals_points_identity_tags_and_data(home, stage):
    write_json(dataset_manifest_folder(home) / "manifest.json", dataset_manifest())
    run_id = sync(home, stage)
    run = run_of(home, run_id)
    assert points(home, run_id, "loss") == [(step, pytest.approx(4.0 - step / 10)) for step in range(1, 11)]
    assert points(home, run_id, "heldout_loss") == [(5, 3.75), (10, 3.5)]
    assert points(home, run_id, "accuracy") == [(5, 0.25), (10, 0.25)]
    assert set(run.data.metrics) == {
        "loss", "learning_rate", "grad_norm", "tokens_per_second", "tokens_seen",
        "heldout_loss", "bits_per_byte", "train_loss", "accuracy",
    }  # fmt: skip
    first = json.loads(stage.journal.read_text().splitlines()[0])
    assert min(m.timestamp for m in connect(home).get_metric_history(run_id, "loss")) == round(first["time"] * 1000)
    assert run.data.params == {
        "kind": "pretrain", "model.hidden_size": "64", "model.extra": "{}", "pretrain.seed": "0",
        "pretrain.milestone_every_steps": "null", "input.dataset": "d" * 64,
    }  # fmt: skip
    assert run.data.tags["execution.launch.num_processes"] == "2"
    assert run.data.tags["pretune.stage"] == "runs/demo/02-pretrain"
    assert (run.info.run_name, run.info.status) == ("demo/02-pretrain", "RUNNING")
    data = run.inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest, data.source_type) == ("sample-1234", "d" * 36, "local")
    assert json.loads(data.profile) == {"documents": 7}
    experiment = connect(home).get_experiment(run.info.experiment_id)
    assert (experiment.name, experiment.artifact_location) == ("pretune", artifact_folder(home).as_uri())


def test_a_step_ships_all_that_is_measured_and_none_of_the_bookkeeping():
    measured = {
        "loss": 3.0, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens_seen": 512, "tokens_per_second": 10.0, "mfu": 0.4,
        "peak_memory_bytes": 1 << 30, "data_loading_share": 0.01, "checkpoint_stall_seconds": 2.5, "goodput": 0.9,
    }  # fmt: skip
    line = {
        "kind": "step",
        "time": 1.0,
        "attempt": 1,
        "step": 7,
        "max_steps": 9,
        "seconds_left": 3.0,
        "chain": "ab",
        **measured,
    }
    assert {metric.key: metric.value for metric in journal_metrics(line)} == measured


def dataset_manifest_folder(home: Path) -> Path:
    return home / "datasets" / "sample-1234"


def dataset_manifest() -> dict[str, object]:
    return {"kind": "prepare", "request_digest": "x", "metrics": {"documents": 7}}


def test_syncing_again_ships_only_what_is_new(home, stage):
    run_id = sync(home, stage)
    write_steps(stage, range(11, 13))
    assert sync(home, stage) == run_id
    assert [step for step, _ in points(home, run_id, "loss")] == list(range(1, 13))
    assert read_registration(home, stage).shipped_bytes == stage.journal.stat().st_size


def test_lost_registration_is_found_by_key_and_no_point_is_doubled(home, stage):
    run_id = sync(home, stage)
    stage.registration.unlink()
    write_json(RunLayout(home, "demo").config, {"registry": {"model_name": "elsewhere"}})
    assert sync(home, stage) == run_id
    stage.registration.write_text("{")
    assert sync(home, stage) == run_id
    assert len(points(home, run_id, "loss")) == 10
    assert len(run_of(home, run_id).inputs.dataset_inputs) == 1


def test_torn_line_is_shipped_once_it_is_whole(home, stage):
    line = json.dumps({"kind": "step", "time": 1.0, "attempt": 1, "step": 99, "loss": 1.0}).encode() + b"\n"
    with stage.journal.open("ab") as file:
        file.write(line[:20])
    run_id = sync(home, stage)
    assert len(points(home, run_id, "loss")) == 10
    with stage.journal.open("ab") as file:
        file.write(line[20:])
    sync(home, stage)
    assert points(home, run_id, "loss")[-1] == (99, 1.0)


def test_journal_longer_than_a_chunk_is_shipped_whole(home, stage, monkeypatch):
    monkeypatch.setattr(tracking, "CHUNK_BYTES", 700)
    monkeypatch.setattr(tracking, "METRICS_PER_BATCH", 3)
    run_id = sync(home, stage)
    assert len(points(home, run_id, "loss")) == 10
    assert len(points(home, run_id, "heldout_loss")) == 2


def test_loss_that_is_not_finite_is_shown_as_nan(home, stage):
    journal = Journal(stage.journal, 1)
    journal.append("step", step=11, loss=math.nan, grad_norm=math.inf, tokens_seen=1100)
    journal.close()
    run_id = sync(home, stage)
    sync(home, stage)
    assert math.isnan(points(home, run_id, "loss")[-1][1])
    assert math.isnan(points(home, run_id, "grad_norm")[-1][1])


def test_failed_run_is_set_running_by_a_resume_and_finished_by_the_manifest(home, stage):
    run_id = sync(home, stage, status="FAILED")
    assert run_of(home, run_id).info.status == "FAILED"
    assert run_of(home, run_id).info.end_time is not None
    assert sync(home, stage) == run_id
    assert run_of(home, run_id).info.status == "RUNNING"
    manifest = finished_training(stage, {"heldout_loss": 3.25, "num_parameters": 12, "sharpness": None}, markdown="# Page")
    assert sync(home, stage, status="KILLED") == run_id
    run = run_of(home, run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["num_parameters"] == 12
    assert run.data.metrics["heldout_loss"] == 3.25
    assert run.data.tags["manifest_digest"] == manifest.digest
    assert run.data.tags["mlflow.note.content"] == "# Page"


@pytest.mark.parametrize(("left", "status"), [("error", "FAILED"), ("stop", "KILLED"), (None, "RUNNING")])
def test_status_of_an_unfinished_stage_is_what_its_folder_says(home, stage, left, status):
    if left:
        getattr(stage, left).write_text("{}")
    assert run_of(home, sync(home, stage)).info.status == status


def executed(stage: StageLayout, **execution: Any) -> None:
    """Ask for the same as before, to be executed in another way."""
    write_json(stage.request, read_request(stage).model_copy(update={"execution": execution}))


def test_a_tag_says_how_the_stage_is_executed_now_and_what_is_not_known_has_none(home, stage):
    executed(stage, launch={"num_processes": 2, "profile_step": None}, parallel={"replicate": 2}, champion=None)
    found = run_of(home, sync(home, stage)).data.tags
    assert execution(found) == {"launch.num_processes": "2", "parallel.replicate": "2"}
    executed(stage, launch={"num_processes": 4, "profile_step": None}, parallel={"replicate": None})
    found = run_of(home, sync(home, stage)).data.tags
    assert execution(found) == {"launch.num_processes": "4"}
    assert not {"null", "None", "NaN"} & set(found.values())


def execution(tags: dict[str, str]) -> dict[str, str]:
    return {key.removeprefix("execution."): value for key, value in tags.items() if key.startswith("execution.")}


def test_a_run_leads_to_the_flow_run_that_it_was_trained_for_whoever_made_it_in_mlflow(home, stage):
    tags = run_of(home, sync(home, stage)).data.tags
    assert not [key for key in tags if key.startswith("prefect")], "no flow ever waited for it"
    write_json(stage.orchestrator, {"flow_run_id": "f-1", "api_url": "http://p/api", "pages": "http://p/v2", "run": "demo"})
    finished_training(stage)
    assert tracking.follow(home, stage, os.getppid()) == 0, "as the supervisor's child does"
    tags = run_of(home, sync(home, stage)).data.tags
    assert (tags["prefect_flow_run_id"], tags["prefect_url"]) == ("f-1", "http://p/v2/runs/flow-run/f-1")


def test_verdict_of_the_journal_becomes_tags(home, stage):
    journal = Journal(stage.journal, 1)
    journal.append("verdict", step=10, verdict="converged", reason="the next round promises 0.001")
    journal.close()
    tags = run_of(home, sync(home, stage)).data.tags
    assert (tags["verdict"], tags["verdict_reason"]) == ("converged", "the next round promises 0.001")


def test_finished_stage_answers_without_mlflow(home, stage):
    finished_training(stage)
    run_id = sync(home, stage)
    code = (
        "import sys; from pathlib import Path; from tasks.registry.tracking import sync\n"
        "from tasks.record.layout import StageLayout\n"
        "print(sync(Path(sys.argv[1]), StageLayout(Path(sys.argv[2]))), 'mlflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code, home, stage.path], capture_output=True, text=True, cwd=REPOSITORY)
    assert found.stdout.split() == [run_id, "False"], found.stderr


def test_finished_stage_is_shipped_again_where_the_database_is_gone(home, stage):
    finished_training(stage)
    first = sync(home, stage)
    connect(home).delete_run(first)
    stage.registration.unlink()
    second = sync(home, stage)
    assert second != first
    assert len(points(home, second, "loss")) == 10


def test_deleted_run_is_replaced_and_filled(home, stage):
    first = sync(home, stage)
    connect(home).delete_run(first)
    second = sync(home, stage)
    assert second != first
    assert len(points(home, second, "loss")) == 10


def test_identity_of_any_size_fits_the_limits(home):
    stage = RunLayout(home, "wide").pretrain()
    identity = {"data": {f"key {n}!?": n for n in range(250)} | {"long": "x" * 10_000, "k" * 400: 1}}
    write_json(stage.request, Request(kind="pretrain", identity=identity))
    params = run_of(home, sync(home, stage)).data.params
    assert len(params) == 253
    assert params["data.key 7__"] == "7"
    assert len(params["data.long"]) == 6000


def test_processes_that_sync_at_once_make_one_run(home, stage):
    children = [os.fork() for _ in range(1)]
    if children[0] == 0:
        try:
            sync(home, stage)
        finally:
            os._exit(0)
    run_id = sync(home, stage)
    os.waitpid(children[0], 0)
    experiment = connect(home).get_experiment_by_name("pretune").experiment_id
    assert [run.info.run_id for run in connect(home).search_runs([experiment])] == [run_id]
    assert len(points(home, run_id, "loss")) == 10


def test_killed_before_the_offset_is_written_ships_twice_and_shows_once(home, stage, monkeypatch):
    real = tracking.write_json

    def die_at_the_offset(path, value):
        if value.shipped_bytes:
            os._exit(9)
        real(path, value)

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "write_json", die_at_the_offset)
        assert run_in_child(partial(sync, home, stage)) == 9
    run_id = sync(home, stage)
    assert len(points(home, run_id, "loss")) == 10
    experiment = connect(home).get_experiment_by_name("pretune").experiment_id
    assert len(connect(home).search_runs([experiment])) == 1


def test_damaged_database_is_named(home, stage):
    database_file(home).write_text("no database")
    with pytest.raises(
        TrackingError, match=r"MLflow at sqlite:///.*mlflow\.db failed while connecting .*file is not a database"
    ):
        sync(home, stage)


def test_experiment_that_was_deleted_is_named(home, stage):
    client = connect(home)
    client.delete_experiment(client.create_experiment("pretune"))
    with pytest.raises(
        TrackingError, match="experiment='pretune' was deleted in MLflow; restore it there, or give another name"
    ):
        sync(home, stage)


def test_database_is_private_and_made_once_by_processes_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "new"
    code = (
        "import sys; from pathlib import Path; from tasks.registry.tracking import initialise\n"
        "print(initialise(Path(sys.argv[1])))"
    )
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", code, home],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
        for _ in range(2)
    ]
    for process in starts:
        assert process.communicate(timeout=120)[0].strip() == f"sqlite:///{database_file(home)}"
        assert process.returncode == 0
    assert database_file(home).stat().st_mode & 0o777 == 0o600
    assert artifact_folder(home).stat().st_mode & 0o777 == 0o700
    assert (home / "mlflow").stat().st_mode & 0o777 == 0o700
    stage = begun_stage(home)
    registry.register(home, new_version(stage, finished_training(stage)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_database_whose_maker_was_killed_is_made_again(tmp_path, monkeypatch):
    from mlflow.store.db import utils

    home = tmp_path / "home"
    with monkeypatch.context() as patch:
        patch.setattr(utils, "_upgrade_db", lambda engine: die())
        assert run_in_child(partial(tracking.initialise, home)) == -9
    assert not database_file(home).exists()
    run_id = sync(home, begun_stage(home))
    assert len(points(home, run_id, "loss")) == 10
    assert not list(database_file(home).parent.glob("unfinished*"))
    default = connect(home).get_experiment_by_name("Default")
    assert default.artifact_location.startswith(artifact_folder(home).as_uri())


def test_user_given_address_wins_and_ours_does_not_leak_into_the_environment(home, stage, monkeypatch):
    sync(home, stage)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert tracking_uri(home) == f"sqlite:///{database_file(home)}"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:1")
    assert tracking_uri(home) == "http://elsewhere:1"
    assert read_registration(home, stage) is None


def test_run_and_experiment_come_from_the_place_and_the_configuration(home, stage):
    assert run_and_experiment(home, stage) == ("demo/02-pretrain", "pretune")
    write_json(RunLayout(home, "demo").config, {"registry": {"model_name": "wiki"}})
    assert run_and_experiment(home, stage) == ("demo/02-pretrain", "wiki")
    assert run_and_experiment(home, dataset_stage(home, "sample", "a" * 64))[0] == "datasets/sample-aaaaaaaaaaaa"


def test_inputs_that_are_models_are_no_datasets(home):
    stage = FinetuneLayout(home, "tune-topic").attempt("0" * 64).candidate
    inputs = {"base": Input(path="/b", digest="b" * 64), "examples": Input(path="/e/topic-1", digest="e" * 64)}
    write_json(stage.request, Request(kind="finetune", identity={}, inputs=inputs))
    run = run_of(home, sync(home, stage))
    assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["topic-1"]
    assert run.data.params["input.base"] == "b" * 64
