"""Who does the parts under Prefect, what a task's end means, and what a mistake leaves behind."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.filesystems import LocalFileSystem
from prefect.futures import PrefectConcurrentFuture
from prefect.results import ResultStore
from prefect.states import State, exception_to_failed_state, return_value_to_state
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.config.data import PreparationConfig
from tasks.orchestration import parts as preparation_run
from tasks.orchestration.parts import ended, refuse, task_runner
from tasks.record.errors import ConfigError, DataError, DiskFullError, PretuneError, StageError, StoppedError
from tasks.record.files import read_json, write_json
from tasks.record.layout import StageLayout
from tasks.record.parts import Part, WorkLayout
from tasks.stages.work import check_cluster


def test_processes_on_this_machine_are_as_many_as_asked_for_or_cpus() -> None:
    runner = task_runner(PreparationConfig(num_processes=3))
    assert isinstance(runner, ThreadPoolTaskRunner)
    assert runner._max_workers == 3
    assert task_runner(PreparationConfig())._max_workers == len(preparation_run.os.sched_getaffinity(0))


def test_without_ray_its_address_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.stages.work.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as found:
        check_cluster(PreparationConfig(ray_address="ray://host:10001"))
    check_cluster(PreparationConfig())
    assert str(found.value) == (
        "preparation.ray_address='ray://host:10001' needs Ray, which is not installed; "
        "install it with `pip install 'pretune[ray]'` or leave the address empty"
    )


def test_with_ray_its_cluster_does_the_parts() -> None:
    ray = pytest.importorskip("prefect_ray", reason="prefect-ray is not installed")
    assert isinstance(task_runner(PreparationConfig(ray_address="ray://host:10001")), ray.RayTaskRunner)


async def succeeded() -> State:
    return await return_value_to_state(None, ResultStore(result_storage=LocalFileSystem()))


async def failed(error: Exception) -> State:
    return await exception_to_failed_state(error)


def test_a_task_that_runs_has_not_ended_and_one_that_failed_gives_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation_run, "POLL_SECONDS", 0.01)
    wrapped: Future = Future()
    future = PrefectConcurrentFuture(task_run_id=uuid4(), wrapped_future=wrapped)
    assert ended(future) is None
    wrapped.set_result(asyncio.run(succeeded()))
    assert ended(future) == (None,)
    error = DataError("row 7 is bad; mend it")
    wrapped = Future()
    wrapped.set_result(asyncio.run(failed(error)))
    assert ended(PrefectConcurrentFuture(task_run_id=uuid4(), wrapped_future=wrapped)) == (error,)


@pytest.fixture
def work(tmp_path: Path) -> WorkLayout:
    work = WorkLayout(StageLayout(tmp_path / "data"))
    write_json(work.folder(Part("plan", 0)) / "result.json", {"parts": []})
    return work


@pytest.mark.parametrize(
    ("error", "recorded", "kept"),
    [
        (DataError("row 7 is bad; mend it"), True, False),
        (ConfigError("x=1 is wrong; set it back"), True, False),
        (DiskFullError("the disk is full; make space"), True, True),
        (StageError("ended with exit code 1; its log is there"), False, True),
        (StoppedError("was asked to stop"), False, True),
    ],
)
def test_a_mistake_is_recorded_and_its_work_removed_unless_it_can_go_on(
    work: WorkLayout, error: PretuneError, recorded: bool, kept: bool
) -> None:
    refuse(work.stage, error)
    assert work.stage.error.exists() is recorded
    assert work.folder(Part("plan", 0)).exists() is kept
    if recorded:
        assert read_json(work.stage.error) == {"error": type(error).__name__, "message": str(error)}
