"""compose.yaml, as compose would read it: nothing without a health check, a pin, a password of its own, or off loopback."""

import configparser
import re
from pathlib import Path
from unittest import mock

import pytest
import yaml
from mlflow import environment_variables as mlflow_settings
from prefect.settings import Settings
from prefect.settings.legacy import _get_settings_fields
from sqlalchemy.engine import make_url

from flows.deployments import register_deployments
from tasks.record import layout
from tasks.services.environment import WORK_POOL

DOCKER = Path(__file__).resolve().parents[3] / "docker"
TEXT = (DOCKER / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
GPU_SERVICES = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
ONE_SHOT = {
    name
    for service in SERVICES.values()
    for name, wait in service.get("depends_on", {}).items()
    if wait["condition"] == "service_completed_successfully"
}
OURS = {name for name, service in SERVICES.items() if "build" in service}
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|AUTH_STRING")
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?+][^}]*)?\}")


def environment(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def test_the_services_of_a_team_are_there():
    assert set(SERVICES) == {"postgres", "s3", "bucket", "prefect", "mlflow", "deployments", "worker"}
    assert {"bucket", "deployments"} == ONE_SHOT


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_ends_by_itself(name):
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no", "a service that others wait for to complete must not be started again"
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_what_they_need_to_be_healthy(name):
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert wait["condition"] == expected, f"{name} waits for {other} to be started only"


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_built_here_or_pinned(name):
    image = SERVICES[name]["image"]
    tag = image.rpartition(":")[2]
    if name in OURS:
        assert image == "pretune:cpu"
        assert SERVICES[name]["build"]["target"] == "cpu"
    else:
        assert re.match(r"\d+\.\d+", tag), f"{image} is not pinned to a release"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_loopback_only(name):
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert str(port).startswith("127.0.0.1:"), f"{name} opens {port} to the network"


def test_only_the_two_user_interfaces_are_open_at_all():
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"prefect", "mlflow"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_has_a_default(name):
    for key, value in environment(name).items():
        if SECRET.search(key):
            found = VARIABLE.search(value)
            assert found, f"{name}.{key} is written into the file"
            assert (found[2] or "").startswith(":?"), f"{name}.{key} does not stop compose when {found[1]} is missing"


def test_the_example_lists_exactly_the_variables_without_default_and_gives_none_a_value():
    lines = [line for line in (DOCKER / ".env.example").read_text().splitlines() if line and not line.startswith("#")]
    assert all(line.endswith("=") for line in lines)
    required = {name for name, rule in VARIABLE.findall(TEXT) if rule.startswith(":?")}
    assert {line.removesuffix("=") for line in lines} == required


def test_only_mlflow_and_the_bucket_reach_the_store_whose_inner_ports_ask_for_no_key():
    assert {name for name, service in SERVICES.items() if "objects" in service["networks"]} == {"s3", "bucket", "mlflow"}
    assert COMPOSE["networks"]["objects"]["internal"]
    assert COMPOSE["networks"]["databases"]["internal"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_reach_each_other_over_a_common_network(name):
    addresses = {match for value in environment(name).values() for match in re.findall(r"http://([a-z0-9]+):", value)}
    addresses |= {environment(name)[key] for key in environment(name) if key.endswith("DATABASE_HOST")}
    for other in addresses & set(SERVICES) - {name}:
        assert set(SERVICES[name]["networks"]) & set(SERVICES[other]["networks"]), f"{name} cannot reach {other}"


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_run_without_privileges(name):
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


@pytest.mark.parametrize("name", SERVICES)
def test_memory_is_limited_and_volumes_are_declared(name):
    assert SERVICES[name]["deploy"]["resources"]["limits"]["memory"]
    for volume in SERVICES[name].get("volumes", []):
        source = volume.partition(":")[0]
        assert source in COMPOSE["volumes"] or (DOCKER / source).is_file(), f"{name} mounts {source}, which nobody declares"


@pytest.mark.parametrize("name", sorted(OURS))
def test_settings_of_prefect_and_mlflow_exist(name):
    prefect = set(_get_settings_fields(Settings))
    for key in environment(name):
        if key.startswith("PREFECT_"):
            assert key in prefect, f"Prefect has no setting {key}"
        if key.startswith("MLFLOW_"):
            assert hasattr(mlflow_settings, key), f"MLflow has no setting {key}"


def test_the_worker_listens_to_the_pool_that_deployments_name():
    command = SERVICES["worker"]["command"]
    assert command[command.index("--pool") + 1] == WORK_POOL


def test_the_deployments_are_made_for_the_home_of_the_image(capsys):
    made = mock.create_autospec(register_deployments, return_value=["refresh/demo-topic"])
    with mock.patch("flows.deployments.register_deployments", made):
        exec(SERVICES["deployments"]["command"][-1], {})
    made.assert_called_once_with(layout.home())
    assert capsys.readouterr().out == "refresh/demo-topic\n"


def test_mlflow_and_the_worker_share_the_home_under_the_name_that_the_image_gives_it():
    assert SERVICES["worker"]["volumes"] == ["home:/var/lib/pretune"]
    assert SERVICES["mlflow"]["volumes"] == ["home:/var/lib/pretune:ro"]
    assert "PRETUNE_HOME=/var/lib/pretune" in (DOCKER / "Dockerfile").read_text()


def test_databases_are_those_that_the_init_script_makes():
    made = set(re.findall(r"CREATE DATABASE (\w+)", (DOCKER / "postgres-init.sql").read_text()))
    auth = configparser.ConfigParser()
    auth.read(DOCKER / "mlflow_auth.ini")
    store = next(part.partition("=")[2] for part in SERVICES["mlflow"]["command"] if part.startswith("--backend-store-uri"))
    urls = [make_url(store), make_url(auth["mlflow"]["database_uri"])]
    assert {url.database for url in urls} | {environment("prefect")["PREFECT_SERVER_DATABASE_NAME"]} == made
    for url in urls:
        assert (url.host, url.username, url.password) == ("postgres", environment("postgres")["POSTGRES_USER"], None)
        assert url.get_dialect().driver == "psycopg"
    assert auth["mlflow"]["default_permission"] == "NO_PERMISSIONS"


def test_gpus_are_given_to_the_worker_alone_and_to_the_cuda_image():
    assert set(GPU_SERVICES) == {"worker"}
    worker = GPU_SERVICES["worker"]
    assert (worker["image"], worker["build"]["target"]) == ("pretune:cuda", "cuda")
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
