"""A person with a browser: log in, open the form, start a run, see its progress, find the model."""

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.kit.servers import RUN_SECONDS, Services, tail, tiny_parameters

CHROMIUM = os.environ.get("PRETUNE_TEST_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
SLOW_MILLISECONDS = 60_000
BLANK = "about:blank"
"""Nothing is drawn here while a run is waited for: its page has a timeline that is drawn many times a second."""

pytestmark = [
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"{CHROMIUM} is not installed; on Debian: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def log_in(page, services: Services) -> None:
    page.set_default_timeout(SLOW_MILLISECONDS)
    page.goto(f"{services.prefect_url}/v2/")
    field = page.get_by_placeholder("admin:pass")
    field.fill(f"{services.credentials['user']}:{services.credentials['prefect_password']}")
    page.get_by_role("button", name="Login").click()
    page.wait_for_url("**/dashboard**")


def test_a_wrong_password_does_not_open_the_page(services, chromium):
    page = chromium.new_page()
    page.set_default_timeout(SLOW_MILLISECONDS)
    page.goto(f"{services.prefect_url}/v2/")
    page.get_by_placeholder("admin:pass").fill("admin:wrong")
    page.get_by_role("button", name="Login").click()
    page.get_by_text(re.compile("invalid|failed|incorrect", re.IGNORECASE)).first.wait_for()
    assert "/login" in page.url
    page.close()


@pytest.fixture
def demo(services):
    """The deployment of the demo, whose form is filled in with a tiny configuration for the time of a test."""
    config = tiny_parameters(services.home / "clicked-input")
    config["registry"]["model_name"] = "clicked"
    with services.prefect() as client:
        found = client.get("/deployments/name/pipeline/demo").json()
        address = f"/deployments/{found['id']}"
        client.patch(address, json={"parameters": {"config": config, "name": "demo"}}).raise_for_status()
        yield found
        client.patch(address, json={"parameters": found["parameters"]}).raise_for_status()


def test_a_run_is_started_from_its_form_and_its_model_is_found(services, chromium, demo, tmp_path):
    page = chromium.new_page(viewport={"width": 1400, "height": 1200})
    log_in(page, services)

    page.goto(f"{services.prefect_url}/v2/deployments/deployment/{demo['id']}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    page.get_by_text("Tokens per training sequence; at most model.max_position_embeddings.").wait_for()
    name = page.locator("textarea").last
    assert name.input_value() == "demo"
    name.fill("clicked")
    page.screenshot(path=tmp_path / "form.png")
    page.get_by_role("button", name="Submit").click()
    run_id = started_run(services)

    page.goto(BLANK)
    wait_for_artifact(services, run_id, "clicked-02-pretrain")
    run_page = f"{services.prefect_url}/v2/runs/flow-run/{run_id}?tab=Artifacts"
    page.goto(run_page)
    page.get_by_text("clicked-02-pretrain", exact=True).first.wait_for()
    page.get_by_text(re.compile(r"02-pretrain +\d+%")).first.wait_for()
    page.screenshot(path=tmp_path / "progress.png")
    page.goto(BLANK)
    state = services.wait(run_id)
    assert state["type"] == "COMPLETED", f"{state['message']}\n{tail(services.home)}"
    page.goto(run_page)
    page.get_by_text("report-clicked", exact=True).first.wait_for()
    page.get_by_text("Completed").first.wait_for()
    page.screenshot(path=tmp_path / "report.png")
    page.close()


def started_run(services: Services) -> str:
    """The id of the run that the form has made."""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        with services.prefect() as client:
            for found in client.post("/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_DESC"}).json():
                if found["parameters"].get("name") == "clicked" and found["deployment_id"]:
                    return found["id"]
        time.sleep(0.2)
    raise AssertionError("the form made no run")


def wait_for_artifact(services: Services, run_id: str, key: str) -> None:
    """The page shows artifacts as they were when it was loaded, so it is loaded when there is one."""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        with services.prefect() as client:
            if key in [
                a["key"]
                for a in client.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run_id]}}}).json()
            ]:
                return
        time.sleep(0.2)
    raise AssertionError(f"no artifact {key}: {tail(services.home)}")


def test_the_registered_model_is_found_in_mlflow(services, chromium, tmp_path):
    login = {"username": services.credentials["user"], "password": services.credentials["mlflow_password"]}
    context = chromium.new_context(http_credentials=login, viewport={"width": 1400, "height": 1200})
    page = context.new_page()
    page.set_default_timeout(SLOW_MILLISECONDS)

    page.goto(f"{services.mlflow_url}/#/models?workflowType=machine_learning")
    page.get_by_text("clicked-animals", exact=True).first.wait_for()
    page.goto(f"{services.mlflow_url}/#/models/clicked?workflowType=machine_learning")
    page.get_by_text(re.compile("pretrained")).first.wait_for()
    version = services.alias("clicked", "pretrained")["version"]
    page.goto(f"{services.mlflow_url}/#/models/clicked/versions/{version}?workflowType=machine_learning")
    page.get_by_text("A pre-trained model that was not found to have converged").first.wait_for()
    link = page.get_by_role("link", name="clicked/02-pretrain").first
    link.wait_for()
    assert link.is_visible()
    page.screenshot(path=tmp_path / "model.png")
    context.close()
