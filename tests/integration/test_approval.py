"""A person is asked in the browser's form, or at the command line; what they say, or do not say, is what comes of a candidate.

One stack of servers, which alert to a listener in this process.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import read_outcomes
from tasks.registry.records import history
from tests.kit.finished_runs import tiny_values, write_inputs
from tests.kit.servers import RUN_SECONDS, Services, pretune, processes_of, running, tail, tiny_parameters

WAITING = "Waiting for approval"
TEN_SECONDS = 10 / 86400
NEVER_PASSES = {"min_score": 1.0}


@pytest.fixture(scope="module")
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A listener's address, and the JSON bodies that it was sent."""
    bodies: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/secret-path", bodies
    server.shutdown()


@pytest.fixture
def asking(services: Services, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Deploys a fine-tune that asks before it promotes, and gives the parameters of its flow."""
    if not (services.home / "runs" / "asked" / "02-pretrain" / "manifest.json").exists():
        config = tiny_parameters(services.home / "asked-input")
        state = services.wait(services.trigger("pretrain/demo", config=config, name="asked").json()["id"])
        assert state["type"] == "COMPLETED", tail(services.home)

    def deploy(name: str, **gate: Any) -> dict[str, Any]:
        return deployed(services, tmp_path, name, gate)

    return deploy


def deployed(services: Services, folder: Path, name: str, gate: dict[str, Any]) -> dict[str, Any]:
    write_inputs(services.home / "asked-input")
    values = tiny_values(services.home / "asked-input")["finetune"][0] | {"name": name, "base": "run:asked"}
    values["gate"] |= {"approval": "required"} | gate
    tables = {key: values.pop(key) for key in ("examples", "gate")} | {"launch": {"num_processes": 1}}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    for table, fields in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    (folder / f"{name}.toml").write_text("\n".join(lines))
    done = pretune(services.home, "deploy", str(folder / f"{name}.toml"))
    assert done.returncode == 0, done.stderr
    with services.prefect() as client:
        return client.get(f"/deployments/name/refresh/{name}").json()["parameters"]


def until(condition: Callable[[], Any], services: Services, seconds: float = RUN_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, tail(services.home)
        time.sleep(0.3)
    return found


def waiting(services: Services, name: str, parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A refresh that came to its question: its id and state."""
    run = services.trigger(f"refresh/{name}", **parameters).json()["id"]
    until(lambda: services.state(run)["type"] in ("PAUSED", "FAILED", "COMPLETED", "CRASHED"), services)
    state = services.state(run)
    assert state["name"] == WAITING, f"{state['name']}: {state['message']}\n{tail(services.home)}"
    return run, state


def resume(services: Services, run: str, **given: Any) -> dict[str, Any]:
    with services.prefect() as client:
        return client.post(f"/flow_runs/{run}/resume", json={"run_input": given}).json()


def outcomes(services: Services, name: str) -> list[Any]:
    return read_outcomes(FinetuneLayout(services.home, name))


def test_alerts_are_set_and_tried(services, received):
    url, bodies = received

    done = pretune(services.home, "alerts", "--webhook", url, "--test")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "sent a message to the webhook at 127.0.0.1\n"
    assert bodies == [{"text": "pretune can reach you: this is a test of its alerts", "what": "test"}]
    assert (services.home / "services" / "alerts.json").stat().st_mode & 0o777 == 0o600


def test_what_is_approved_in_the_form_is_promoted_and_says_by_whom(services, received, asking):
    parameters = asking("patient", approvers=["anna", "ben"])

    run, state = waiting(services, "patient", parameters)

    assert state["state_details"]["pause_reschedule"] is True
    assert f"{services.prefect_url}/v2/runs/flow-run/{run}" in state["message"] and "Resume" in state["message"]
    assert services.alias("patient", "champion") is None
    until(lambda: not worker_processes(services), services, 60)
    skipped = services.wait(services.trigger("refresh/patient", **parameters).json()["id"])
    assert skipped["name"] == "Skipped" and skipped["message"].startswith("v1 waits for approval since 20")

    assert resume(services, run, decision="approve", by="eve", reason="")["status"] == "REJECT"
    assert resume(services, run, decision="approve", by="anna", reason="reads well")["status"] == "ACCEPT"
    state = services.wait(run)

    assert state["name"] == "Promoted" and state["message"].endswith("; approved by anna: reads well"), tail(services.home)
    assert services.alias("patient", "champion")["version"] == "1"
    move = next(one for one in history(services.home, "patient") if one.alias == "champion")
    assert (move.by, move.reason) == ("anna", "approved by anna: reads well")
    asked, promoted = (one for one in outcomes(services, "patient") if one.came != "Skipped")
    assert (asked.came, promoted.came, promoted.by, promoted.reason) == (WAITING, "Promoted", "anna", "reads well")
    attempt = FinetuneLayout(services.home, "patient").path / promoted.attempt
    kept = json.loads((attempt / promoted.evaluation / "approval.json").read_text())
    assert (kept["decision"], kept["by"], kept["reason"]) == ("approved", "anna", "reads well")
    alert = until(lambda: next((one for one in received[1] if one.get("state") == WAITING), None), services, 60)
    assert alert["what"] == "waits for approval" and alert["flow_run"].startswith("patient 20")
    assert alert["url"] == f"{services.prefect_url}/v2/runs/flow-run/{run}"
    assert alert["message"] == asked.message and alert["flow_run"] in alert["text"]


def worker_processes(services: Services) -> list[str]:
    """Flow runs that the worker executes now."""
    found = []
    for process in processes_of(services.home):
        with suppress(psutil.NoSuchProcess):  # a zombie too: it has ended since it was listed
            found.append(" ".join(process.cmdline()))
    return [line for line in found if "prefect.engine" in line]


def test_what_is_refused_at_the_command_line_is_not_promoted(services, received, asking):
    run, _ = waiting(services, "refused", asking("refused"))

    done = pretune(services.home, "refuse", "refused", "1", "--by", "ben", "--reason", "too short answers")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused v1: refused by ben: too short answers\nRefused v1: refused by ben: too short answers\n"
    state = services.wait(run)
    assert (state["name"], state["message"]) == ("Refused", "v1: refused by ben: too short answers")
    assert services.alias("refused", "champion") is None
    again = pretune(services.home, "approve", "refused", "1")
    assert again.returncode == 2
    assert "refused v1 does not wait for approval; it came to: Refused v1: refused by ben: too short answers" in again.stderr


def test_who_gets_no_answer_in_time_ends_as_expired(services, received, asking):
    run, _ = waiting(services, "hasty", asking("hasty", approval_days=TEN_SECONDS))

    state = services.wait(run)

    assert (state["type"], state["name"], state["message"]) == ("COMPLETED", "Expired", "v1: nobody answered in time")
    assert [one.came for one in outcomes(services, "hasty")] == [WAITING, "Expired"]
    assert services.alias("hasty", "champion") is None


@pytest.mark.soak
def test_a_question_whose_run_was_cancelled_is_asked_again(services, asking):
    parameters = asking("dropped")
    run, _ = waiting(services, "dropped", parameters)
    with services.prefect() as client:
        client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLED"}}).raise_for_status()

    again, _ = waiting(services, "dropped", parameters)

    assert resume(services, again, decision="approve", by="ben")["status"] == "ACCEPT"
    assert services.wait(again)["name"] == "Promoted"
    assert [(one.came, one.flow_run_id) for one in outcomes(services, "dropped")] == [
        (WAITING, run), (WAITING, again), ("Promoted", again),
    ]  # fmt: skip


@pytest.mark.soak
def test_what_is_approved_while_no_server_runs_is_found_by_the_run_that_waits(services, asking, tmp_path):
    run, _ = waiting(services, "deserted", asking("deserted", approvers=["anna", "ben"]))
    before = automations(services)
    deployed(services, tmp_path, "deserted", {"approvers": ["anna", "ben"]})
    pretune(services.home, "down")

    done = pretune(services.home, "approve", "deserted", "1", "--by", "anna")

    assert (done.returncode, done.stdout) == (0, "Promoted v1: approved by anna\n"), done.stderr
    again = running(services.home)
    assert automations(again) == before  # changed ones would have forgotten who waits
    assert again.alias("deserted", "champion")["version"] == "1"
    assert resume(again, run, decision="refuse", by="ben", reason="too late")["status"] == "ACCEPT"
    state = again.wait(run)
    assert (state["name"], state["message"]) == ("Promoted", "v1: approved by anna")
    assert [(one.came, one.by) for one in outcomes(again, "deserted")] == [(WAITING, None), ("Promoted", "anna")]


def automations(services: Services) -> dict[str, tuple[str, str]]:
    """Those that remember something, which are ours: identity, and when it was changed last, by name."""
    with services.prefect() as client:
        found = client.post("/automations/filter", json={}).json()
    return {one["name"]: (one["id"], one["updated"]) for one in found if one["name"].startswith("pretune")}


def test_what_is_rejected_or_fails_is_told_too(services, received, asking):
    parameters = asking("poor", **NEVER_PASSES)

    rejected = services.trigger("refresh/poor", **parameters).json()["id"]
    failed = services.trigger("evaluate/any version", model="patient", version=77).json()["id"]

    assert services.wait(rejected)["name"] == "Rejected"
    assert services.wait(failed)["name"] == "Failed"
    for run, what in ((rejected, "promoted nothing"), (failed, "failed")):
        told = until(lambda: next((b for b in received[1] if run in b.get("url", "")), None), services, 60)  # noqa: B023
        assert told["what"] == what, told


def test_alerts_that_are_off_leave_nothing_behind(services):
    done = pretune(services.home, "alerts", "--off")

    assert done.returncode == 0, done.stderr
    with services.prefect() as client:
        left = [one["name"] for one in client.post("/automations/filter", json={}).json()]
        blocks = client.post("/block_documents/filter", json={}).json()
    assert not [name for name in left if name.startswith("pretune alert")]
    assert not [block for block in blocks if block["name"] == "pretune-alerts"]
    assert not (services.home / "services" / "alerts.json").exists()
