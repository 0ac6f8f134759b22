"""The servers and the worker as a person starts them: closed to strangers, refusing nonsense, running flows, ending cleanly."""

import json
import re
import time
from pathlib import Path

import httpx
import pytest

from tasks.record.layout import RunLayout
from tasks.record.lock import owner
from tests.kit.servers import Services, free_ports, pretune, processes_of, tail, tiny_parameters

OPEN_PREFECT_ROUTES = {"/health", "/ready"}
OPEN_MLFLOW_ROUTES = {"/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"}
ANY_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def config(tmp_path):
    return tiny_parameters(tmp_path / "in")


def test_without_credentials_every_route_of_prefect_but_health_is_closed(services):
    with services.prefect() as client:
        routes = client.get("/openapi.json").json()["paths"]
    asked, opened = 0, set()
    with httpx.Client(base_url=f"{services.prefect_url}/api", timeout=60) as stranger:
        for path, operations in routes.items():
            for method in operations:
                asked += 1
                if stranger.request(method.upper(), re.sub(r"\{[^}]+\}", ANY_ID, path)).status_code != 401:
                    opened.add(path)
        assert stranger.get("/flows/count", auth=("admin", "wrong")).status_code in (401, 405)
        assert stranger.post("/flows/count", auth=("admin", "wrong")).status_code == 401

    assert asked > 150
    assert opened == OPEN_PREFECT_ROUTES


def test_without_credentials_every_route_of_mlflow_but_health_is_closed(services):
    from mlflow.server import app

    asked, opened = 0, set()
    with httpx.Client(base_url=services.mlflow_url, timeout=60) as stranger:
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith("/static-files/"):
                continue
            for method in rule.methods - {"OPTIONS", "HEAD"}:
                asked += 1
                if stranger.request(method, re.sub(r"<[^>]+>", "1", rule.rule)).status_code != 401:
                    opened.add(rule.rule)
        assert stranger.get("/", auth=("admin", "wrong")).status_code == 401

    assert asked > 100
    assert opened == OPEN_MLFLOW_ROUTES


def test_pages_of_other_sites_and_other_host_names_are_refused(services):
    evil = {"Origin": "http://evil.example"}
    with services.prefect() as client:
        assert "access-control-allow-origin" not in client.post("/flows/count", headers=evil).headers
    with services.mlflow() as client:
        assert client.get("/experiments/search", headers={"Host": "evil.example"}).status_code == 403


def test_secrets_and_databases_are_readable_by_their_owner_only(services):
    secrets = [
        "services/credentials.json",
        "services/prefect.json",
        "services/mlflow_auth.db",
        "prefect/prefect.db",
        "mlflow/mlflow.db",
    ]
    assert {name: oct((services.home / name).stat().st_mode & 0o077) for name in secrets} == dict.fromkeys(secrets, "0o0")


def test_a_second_up_says_that_it_is_up_and_starts_nothing(services):
    before = {process.pid for process in processes_of(services.home)}

    done = pretune(services.home, "up")

    assert done.returncode == 0
    assert "pretune is up already" in done.stdout
    assert services.prefect_url in done.stdout and services.mlflow_url in done.stdout
    assert {process.pid for process in processes_of(services.home)} == before


def test_every_flow_of_every_preset_has_a_form_that_is_filled_in(services):
    with services.prefect() as client:
        found = client.post("/deployments/filter", json={"limit": 100}).json()
        flows = {flow["id"]: flow["name"] for flow in client.post("/flows/filter", json={}).json()}
    names = {f"{flows[deployment['flow_id']]}/{deployment['name']}": deployment for deployment in found}

    assert {f"{flow}/demo" for flow in ("pipeline", "prepare", "pretrain")} <= names.keys()
    assert {"refresh/demo-topic", "refresh/demo-chat", "evaluate/any version", "promote/any version"} <= names.keys()
    demo = names["pipeline/demo"]
    assert demo["entrypoint"] == "flows.pipeline.pipeline"
    assert demo["parameters"]["name"] == "demo"
    assert demo["parameters"]["config"]["data"]["source"] == "sample"
    topic = names["refresh/demo-topic"]
    assert topic["parameters"]["settings"]["base"] == "run:demo"
    assert [one["schedule"]["cron"] for one in topic["schedules"]] == ["0 3 * * 1"]


@pytest.mark.parametrize(
    ("section", "change", "reason"),
    [
        ("pretrain", {"learning_rate": 7}, "7 is greater than the maximum of 1"),
        ("pretrain", {"sequence_length": 1}, "1 is less than the minimum of 8"),
        ("pretrain", {"lr": 0.1}, "'lr' was unexpected"),
        ("launch", {"device": "tpu"}, "'tpu' is not one of"),
        ("model", {"hidden_size": "wide"}, "'wide' is not of type 'integer'"),
    ],
)
def test_bad_parameters_are_refused_by_the_server(services, config, section, change, reason):
    config[section] |= change

    answer = services.trigger("pipeline/demo", config=config, name="bad")

    assert answer.status_code in (409, 422)
    assert reason in answer.text
    assert f"config.{section}" in answer.text


def test_a_bad_name_and_an_unknown_parameter_are_refused_by_the_server(services, config):
    assert services.trigger("pipeline/demo", config=config, name="Bad Name").status_code in (409, 422)
    assert services.trigger("pipeline/demo", config=config, name="r", colour="red").status_code in (409, 422)


def test_a_mistake_across_fields_fails_the_run_with_our_sentence(services, config):
    config["pretrain"]["sequence_length"] = 512

    state = services.wait(services.trigger("prepare/demo", config=config, name="cross").json()["id"])

    assert state["type"] == "FAILED"
    assert (
        "pretrain.sequence_length=512 is longer than model.max_position_embeddings=64; set it to at most 64" in state["message"]
    )


@pytest.fixture
def form_run(services, config) -> dict:
    """A flow run from the form that has ended: the browser's, where its tests went before, or one posted here."""
    with services.prefect() as client:
        runs = client.post("/flow_runs/filter", json={"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).json()
        for run in runs:
            if run["deployment_id"] and run["parameters"].get("name") in ("clicked", "form"):
                return run
        run_id = services.trigger("pipeline/demo", config=config, name="form").json()["id"]
        state = services.wait(run_id)
        assert state["type"] == "COMPLETED", f"{state['message']}\n{tail(services.home)}"
        return client.get(f"/flow_runs/{run_id}").json()


def test_a_run_from_the_form_completes_and_its_models_are_registered(services, form_run):
    run_id, name = form_run["id"], form_run["parameters"]["name"]
    models = form_run["parameters"]["config"]["registry"]["model_name"]
    version = services.alias(models, "pretrained")
    assert {tag["key"]: tag["value"] for tag in version["tags"]}["prefect_flow_run_id"]
    assert services.alias(f"{models}-animals", "champion")["version"] == "1"
    with services.prefect() as client:
        artifacts = client.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run_id]}}}).json()
        logs = client.post("/logs/filter", json={"limit": 200}).json()
    kinds = {(artifact["type"], artifact["key"]): artifact for artifact in artifacts}
    assert kinds["progress", f"{name}-02-pretrain"]["data"] == 100.0
    assert "step" in kinds["progress", f"{name}-02-pretrain"]["description"]
    report = kinds["markdown", f"report-{name}"]["data"]
    assert "## Registered versions" in report
    assert f"{services.mlflow_url}/#/models/{models}?workflowType=machine_learning" in report
    assert "candidate_accuracy" in kinds["table", f"report-{name}-numbers"]["data"]
    assert any(log["message"].startswith("02-pretrain") and "step" in log["message"] for log in logs)


def test_the_same_run_again_skips_everything_and_registers_nothing(services, form_run):
    with services.mlflow() as client:
        before = client.get("/model-versions/search").json()["model_versions"]
    journal = RunLayout(services.home, form_run["parameters"]["name"]).pretrain().journal
    written = journal.stat().st_mtime_ns

    run_id = services.trigger("pipeline/demo", **form_run["parameters"]).json()["id"]
    state = services.wait(run_id)

    assert state["type"] == "COMPLETED", state["message"]
    assert journal.stat().st_mtime_ns == written
    with services.mlflow() as client:
        assert client.get("/model-versions/search").json()["model_versions"] == before
    with services.prefect() as client:
        tasks = client.post("/task_runs/filter", json={"task_runs": {"name": {"like_": "pre-train"}}}).json()
    assert min(task["total_run_time"] for task in tasks) < 1.0


def test_a_cancelled_run_stops_its_training_at_a_step_boundary(services, config):
    config["pretrain"]["train_tokens"] = 64_000_000
    stage = RunLayout(services.home, "long").pretrain()
    run_id = services.trigger("pipeline/demo", config=config, name="long").json()["id"]
    wait_for_steps(services, stage, run_id)

    with services.prefect() as client:
        answer = client.post(f"/flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING", "name": "Cancelling"}})
        assert answer.json()["status"] == "ACCEPT"

    assert services.wait(run_id)["type"] == "CANCELLED"
    wait_until_free(stage)
    last = json.loads(stage.journal.read_text().splitlines()[-1])
    assert stage.checkpoints.joinpath(f"step_{last['step']:08d}", "manifest.json").exists()


def test_down_stops_trainings_and_leaves_no_process_and_no_listening_port(services, config):
    config["pretrain"]["train_tokens"] = 64_000_000
    config["pretrain"]["seed"] = 1
    stage = RunLayout(services.home, "left").pretrain()
    wait_for_steps(services, stage, services.trigger("pipeline/demo", config=config, name="left").json()["id"])

    done = pretune(services.home, "down")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ended: worker, mlflow, prefect")
    assert [" ".join(process.cmdline()) for process in processes_of(services.home)] == []
    assert not any((services.home / "services" / f"{name}.json").exists() for name in ("prefect", "mlflow", "worker"))
    for url in (services.prefect_url, services.mlflow_url):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert list(stage.checkpoints.glob("step_*/manifest.json"))


def wait_for_steps(services: Services, stage, run_id: str) -> None:
    """Until the ranks have trained a few steps."""
    deadline = time.monotonic() + 300
    while not (stage.journal.exists() and '"kind": "step"' in stage.journal.read_text()):
        assert time.monotonic() < deadline, tail(services.home)
        assert services.state(run_id)["type"] not in ("FAILED", "CRASHED"), tail(services.home)
        time.sleep(0.2)


def wait_until_free(stage) -> None:
    deadline = time.monotonic() + 150
    while owner(stage) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_taken_port_is_refused_in_one_sentence(tmp_path):
    import socket

    (port,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = pretune(Path(tmp_path), "up", "--prefect-port", str(port))

    assert done.returncode == 2
    assert f"--prefect-port={port} is used by another program" in done.stderr
    assert processes_of(Path(tmp_path)) == []
