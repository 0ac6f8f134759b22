"""A home that was moved or copied is a home of its own: nothing is written to the old place, and nothing of it is needed."""

import logging
import os
import shutil
from pathlib import Path

import psutil
import pytest

from tasks.record.manifest import Input, Manifest
from tasks.registry import aliases, moved
from tasks.registry import versions as registry
from tasks.registry.moved import places_in_store, settle_home
from tasks.registry.records import read_record, record_file
from tasks.registry.store import here, inside
from tasks.registry.tracking import connect, sync
from tasks.services.records import ServiceRecord, alive, write_record
from tests.kit.registered_stages import begun_stage, die, finished_training, new_version, registered, run_in_child
from tests.kit.served_models import registered_classifier

MODEL = "demo-topic"


def everything(home: Path) -> dict[str, tuple[int, int, bytes]]:
    """Modification time, mode and bytes of every file, and of every folder its time."""
    found = {}
    for path in sorted(home.rglob("*")):
        status = path.stat()
        found[str(path)] = (status.st_mtime_ns, status.st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def copied(home: Path) -> Path:
    copy = home.parent / "copy"
    shutil.copytree(home, copy, copy_function=shutil.copy2)
    return copy


def test_a_copy_registers_promotes_and_ships_without_a_write_to_the_old_home(home, monkeypatch, caplog):
    import mlflow

    first = registered_classifier(home, MODEL)
    stage = begun_stage(home, "later", seed=3)
    sync(home, stage)
    before = everything(home)
    copy = copied(home)
    monkeypatch.setenv("PRETUNE_HOME", str(copy))

    caplog.clear()
    with caplog.at_level(logging.INFO, "pretune"):
        connect(copy)
    told = next(record.message for record in caplog.records if record.name == "pretune")
    assert told.startswith(f"this home is in {copy} and was in {home}: ")
    later = type(stage)(copy / stage.path.relative_to(home))
    new = new_version(later, finished_training(later), model=MODEL, label="candidate", aliases=("candidate",))
    second = registry.register(copy, new)
    sync(copy, later)
    digest = second.digest
    decision = Manifest(kind="evaluate", request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)},
                        details={"decision": "promote", "champion": 1})  # fmt: skip
    aliases.promote(copy, MODEL, 2, decision)

    assert everything(home) == before
    versions = registry.versions(copy, MODEL)
    assert all(Path(version.path).is_relative_to(copy) and registry.verify_version(version) for version in versions)
    assert (Path(versions[0].tags["stage"]), versions[0].digest) == (
        copy / "finetunes/classified-topic" / ("0" * 12) / "finetune",
        first.digest,
    )
    shutil.rmtree(home)
    rows = mlflow.pyfunc.load_model(f"models:/{MODEL}/1").predict(["the cat"])
    assert rows["label"][0] in ("cat", "dog", "owl")
    assert [version.version for version in registry.versions(copy, MODEL)] == [1, 2]


def test_a_home_that_did_not_move_is_left_alone(home):
    registered(home, 1)
    alike = home.parent / "link"
    alike.symlink_to(home)
    settle_home(home)
    assert places_in_store(home) == [] and places_in_store(alike) == []
    database = home / "mlflow" / "mlflow.db"
    before = database.stat().st_mtime_ns
    settle_home(home)
    settle_home(alike)
    assert database.stat().st_mtime_ns == before


def test_a_location_that_a_person_chose_stays(home):
    registered(home, 1)
    client = connect(home)
    mine = client.create_experiment("mine", artifact_location="file:///elsewhere/of/mine")
    copy = copied(home)
    settle_home(copy)
    assert connect(copy).get_experiment(mine).artifact_location == "file:///elsewhere/of/mine"
    assert places_in_store(copy) == []


def test_records_name_folders_relative_to_the_home(home):
    version = registered(home, 1)[0]
    key = f"{MODEL}@{version.digest}"
    assert str(home) not in record_file(home, key).read_text().replace("README", "")
    record = read_record(home, key)
    assert Path(record.stage) == home / "runs" / "run-0" / "02-pretrain"
    assert record.tags["path"] == version.path


def test_paths_of_an_earlier_place_lead_into_this_home(home):
    registered(home, 1)
    copy = copied(home)
    settle_home(copy)
    assert here(copy, home / "runs" / "x") == copy / "runs" / "x"
    assert here(copy, "runs/x") == copy / "runs" / "x"
    assert here(copy, "/elsewhere/x") == Path("/elsewhere/x")
    assert (inside(copy, copy / "runs"), inside(copy, "/elsewhere")) == ("runs", "/elsewhere")


def test_the_server_of_the_old_home_is_not_the_copys(home):
    (home / "services").mkdir()
    write_record(home, ServiceRecord(name="mlflow", pid=os.getpid(), create_time=psutil.Process().create_time(), port=1))
    copy = copied(home)
    assert alive(home, "mlflow") is not None
    assert alive(copy, "mlflow") is None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_it_is_rewritten_the_next_one_does_it(home, monkeypatch, moment):
    registered(home, 1)
    copy = copied(home)
    real = moved.rewrite

    def rewrite_and_die(*arguments):
        if moment == "after":
            real(*arguments)
        die()

    with monkeypatch.context() as patch:
        patch.setattr(moved, "rewrite", rewrite_and_die)
        assert run_in_child(lambda: settle_home(copy)) == -9
    settle_home(copy)
    assert places_in_store(copy) == [] and here(copy, home / "runs") == copy / "runs"
