import subprocess
import sys

import psutil
import pytest

from tasks.record.errors import LockedError
from tasks.services.records import (
    ServiceRecord,
    alive,
    credentials,
    credentials_file,
    recorded,
    services_folder,
    services_lock,
    write_record,
)


@pytest.fixture
def process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def record_of(process, **changes):
    values = {"name": "mlflow", "pid": process.pid, "create_time": psutil.Process(process.pid).create_time(), "port": 5000}
    return ServiceRecord(**values | changes)


def test_a_record_is_true_while_its_process_lives(tmp_path, process):
    write_record(tmp_path, record_of(process))
    assert alive(tmp_path, "mlflow").url == "http://127.0.0.1:5000"
    assert alive(tmp_path, "prefect") is None

    process.kill()
    process.wait()

    assert alive(tmp_path, "mlflow") is None
    assert recorded(tmp_path, "mlflow").pid == process.pid


def test_a_process_that_has_the_number_of_an_earlier_one_is_not_taken_for_it(tmp_path, process):
    write_record(tmp_path, record_of(process, create_time=psutil.Process(process.pid).create_time() - 100))

    assert alive(tmp_path, "mlflow") is None


def test_credentials_are_made_once_and_only_their_owner_reads_them(tmp_path):
    first, second = credentials(tmp_path), credentials(tmp_path)

    assert first == second
    assert len({first.prefect_password, first.mlflow_password, first.mlflow_secret_key}) == 3
    assert min(len(first.prefect_password), len(first.mlflow_password)) >= 20
    assert credentials_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert services_folder(tmp_path).stat().st_mode & 0o777 == 0o700
    assert credentials(tmp_path / "other") != first


def test_two_commands_do_not_start_services_at_once(tmp_path):
    with services_lock(tmp_path), pytest.raises(LockedError, match="another `pretune up`"), services_lock(tmp_path):
        pytest.fail("the lock was taken twice")
    with services_lock(tmp_path):
        pass
