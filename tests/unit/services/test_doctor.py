import subprocess
import sys

import psutil

from tasks.services import doctor as service_doctor
from tasks.services.doctor import check_home, check_packages, check_sample, check_services
from tasks.services.records import ServiceRecord, credentials, write_record


def test_a_version_that_was_not_tested_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(service_doctor, "REPOSITORY", tmp_path)
    assert "constraints.txt is missing" in next(check_packages())

    (tmp_path / "constraints.txt").write_text(
        f"# tested\npsutil==1.2.3\nnot-installed-here==9\npytest=={installed('pytest')}\n"
    )

    (problem,) = check_packages()
    assert problem.startswith(f"psutil is {psutil.__version__} and was tested as 1.2.3; run: {sys.executable} -m pip install")


def installed(name):
    import importlib.metadata

    return importlib.metadata.version(name)


def test_secrets_that_others_can_read_are_named(tmp_path):
    credentials(tmp_path)
    assert list(check_home(tmp_path)) == []

    (tmp_path / "services" / "credentials.json").chmod(0o644)

    (problem,) = check_home(tmp_path)
    assert "credentials.json can be read by others (mode 644); run: chmod 600" in problem


def test_too_little_room_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(service_doctor, "MIN_FREE_BYTES", 10**18)
    (problem,) = check_home(tmp_path / "not" / "there" / "yet")
    assert "GB are free at" in problem and not (tmp_path / "not").exists()


def test_a_service_that_died_is_named(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    record = ServiceRecord(name="mlflow", pid=process.pid, create_time=1.0, port=5000)
    process.wait()
    write_record(tmp_path, record)

    (problem,) = check_services(tmp_path)

    assert "the mlflow service has ended by itself" in problem and "mlflow.log" in problem


def test_a_missing_sample_is_named(monkeypatch):
    monkeypatch.setattr(service_doctor, "SAMPLE_DISTRIBUTION", "no-such-distribution")
    (problem,) = check_sample()
    assert "the embedded sample is not installed" in problem and "pip install 'no-such-distribution==0.0.7'" in problem
