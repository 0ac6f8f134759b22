"""Starting, joining and following a stage, through a real supervisor and a real preparation process."""

import time
from pathlib import Path

import pytest

from tasks.launch.stage import follow, outcome, request_stop, start_or_attach
from tasks.record.errors import DataError, IntegrityError, RequestChangedError, StageError, StoppedError
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout
from tasks.record.lock import hold, owner
from tasks.record.manifest import Manifest, Request, verify, write_manifest
from tasks.record.progress import Progress
from tasks.stages.work import Work, prepare_work
from tests.kit.runs import run_to_end, tiny_config, write_text

REQUEST = Request(kind="pretrain", identity={"pretrain": {"seed": 0}})


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "02-pretrain")


def preparation(tmp_path: Path, content: bytes | None = None) -> Work:
    text = write_text(tmp_path / "words.txt", documents=60)
    if content is not None:
        text.write_bytes(content)
    return prepare_work(tmp_path / "home", tiny_config(text))


def test_a_stage_is_followed_to_its_manifest_and_then_costs_nothing(tmp_path: Path) -> None:
    work = preparation(tmp_path)
    seen: list[Progress] = []
    start_or_attach(work.stage, work.request, {"flow_run_id": None, "api_url": None})
    manifest = follow(work.stage, seen.append, poll_seconds=0.05)
    verify(work.stage.path, manifest)
    assert manifest.request_digest == work.request.digest
    assert seen[-1].fraction == 1.0
    assert read_json(work.stage.orchestrator) == {"flow_run_id": None, "api_url": None}
    begun = work.stage.journal.read_bytes()
    assert run_to_end(work).manifest == manifest
    assert work.stage.journal.read_bytes() == begun


def test_a_users_mistake_comes_back_as_it_was_raised_and_can_be_mended(tmp_path: Path) -> None:
    work = preparation(tmp_path, b"fine\n\n\nbroken \xff\xfe text\n")
    for _ in range(2):
        with pytest.raises(DataError, match="UTF-8"):
            run_to_end(work)
    assert owner(work.stage) is None
    assert not work.stage.manifest.exists()


@pytest.mark.parametrize(
    ("error", "cls"), [("DataError", DataError), ("IntegrityError", IntegrityError), ("KeyError", StageError)]
)
def test_the_class_of_an_error_survives_its_file(stage: StageLayout, error: str, cls: type[Exception]) -> None:
    write_json(stage.error, {"error": error, "message": "x=1 is wrong; mend it"})
    stage.stop.touch()
    with pytest.raises(cls, match="x=1 is wrong; mend it") as found:
        follow(stage, lambda progress: None)
    assert type(found.value) is cls


def test_a_stop_and_a_killed_supervisor_are_told_apart(stage: StageLayout) -> None:
    stage.path.mkdir()
    assert type(outcome(stage)) is StageError
    assert "its supervisor was killed; run the same command to continue" in str(outcome(stage))
    request_stop(stage)
    assert type(outcome(stage)) is StoppedError
    assert "run the same command to continue" in str(outcome(stage))


def test_a_stop_is_asked_only_of_what_has_begun_and_is_not_done(stage: StageLayout) -> None:
    request_stop(stage)
    assert not stage.path.exists()
    stage.path.mkdir()
    write_manifest(stage.path, Manifest(kind="pretrain", request_digest="r"))
    request_stop(stage)
    assert not stage.stop.exists()


def test_another_request_is_refused_before_anything_is_touched(stage: StageLayout) -> None:
    write_json(stage.request, REQUEST)
    before = stage.request.read_bytes()
    with pytest.raises(RequestChangedError, match=r"pretrain\.seed was 0 and is now 1"):
        start_or_attach(stage, Request(kind="pretrain", identity={"pretrain": {"seed": 1}}))
    assert stage.request.read_bytes() == before
    assert sorted(p.name for p in stage.path.iterdir()) == ["request.json"]


def test_a_live_owner_is_joined_and_its_request_and_stop_are_left_alone(stage: StageLayout) -> None:
    write_json(stage.request, REQUEST)
    stage.stop.touch()
    with hold(stage):
        moved = REQUEST.model_copy(update={"execution": {"launch": {"num_processes": 8}}})
        start_or_attach(stage, moved, {"flow_run_id": "new", "api_url": "http://127.0.0.1"})
        assert read_json(stage.request)["execution"] == {}
        assert stage.stop.exists()
        assert read_json(stage.orchestrator)["flow_run_id"] == "new", "the newest flow run is the one whose cancel counts"
        assert not (stage.path / "logs").exists()


def test_a_stage_begun_elsewhere_goes_on_with_the_new_way_of_running(tmp_path: Path) -> None:
    work = preparation(tmp_path)
    moved = work.request.model_copy(update={"execution": work.request.execution | {"data_path": "/gone.txt"}})
    write_json(work.stage.request, moved)
    write_json(work.stage.error, {"error": "DataError", "message": "an old mistake"})
    work.stage.stop.touch()
    run_to_end(work)
    assert read_json(work.stage.request)["execution"] == work.request.execution
    assert not work.stage.error.exists() and not work.stage.stop.exists()


def test_a_stop_before_the_end_of_a_preparation_leaves_no_manifest(tmp_path: Path) -> None:
    work = preparation(tmp_path)
    start_or_attach(work.stage, work.request)
    request_stop(work.stage)
    try:
        manifest = follow(work.stage, lambda progress: None, poll_seconds=0.02)
    except StoppedError:
        assert not work.stage.manifest.exists()
    else:
        assert manifest == run_to_end(work).manifest, "it was faster than the stop"
    assert run_to_end(work).manifest.metrics["train_documents"] > 0


def test_following_waits_for_the_owner(stage: StageLayout) -> None:
    """A manifest is not looked for only once: it may come between two looks."""
    polls = []

    def look(progress: Progress) -> None:
        polls.append(time.monotonic())
        if len(polls) == 3:
            write_manifest(stage.path, Manifest(kind="pretrain", request_digest="r"))

    with hold(stage):
        assert follow(stage, look, poll_seconds=0.01).kind == "pretrain"
    assert len(polls) == 3
