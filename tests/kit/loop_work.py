"""Work for the loops of a Prefect server, posted as its clients would, and how to see that each loop has done its own."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import prefect.logging

LOOPS = {
    *("schedule_deployments", "schedule_recent_deployments", "monitor_late_runs", "monitor_expired_pauses"),
    *("ensure_cancelling_timeout_checks", "monitor_cancelled_flow_runs", "monitor_subflow_runs", "monitor_worker_health"),
    *("monitor_expired_leases", "reconcile_cleanup_delivery", "schedule_event_vacuum_tasks"),
    "evaluate_proactive_triggers_periodic",
}
"""Functions of Prefect's server that run for ever, each at its own interval."""
RARE_LOOPS = {"schedule_event_vacuum_tasks"}
"""Once when the server starts, then every hour."""
LEASE_SECONDS = 60
"""The shortest that the server grants."""


def let_loops_be_heard(prefect_home: Path) -> None:
    """Have the server write a line for each turn of a loop, with Prefect's own logging file and one logger more."""
    prefect_home.mkdir(parents=True)
    settings = shutil.copy(Path(prefect.logging.__file__).with_name("logging.yml"), prefect_home / "logging.yml")
    text = settings.read_text()
    assert text.count("\nloggers:\n") == 1
    settings.write_text(text.replace("\nloggers:\n", "\nloggers:\n  docket:\n    level: INFO\n"))


def turns(log: str) -> Counter[str]:
    """How often each loop came to its end, well or badly."""
    return Counter(re.findall(r"docket\.dependencies - ↫ \[[^\]]*\] (\w+)\(", log))


def give_work(client: httpx.Client) -> dict[str, Callable[[], bool]]:
    """Make something to do for each loop that has an effect; returns how to see that it was done."""
    post(client, "/work_pools/", name="nobody", type="process")
    flow = post(client, "/flows/", name="left")["id"]
    return (
        {
            "monitor_late_runs": late_run(client, flow),
            "monitor_expired_pauses": expired_pause(client, flow),
            "monitor_worker_health": lost_worker(client),
            "monitor_expired_leases": expired_lease(client),
        }
        | cancelled_parent(client, flow)
        | automations(client, flow)
    )


def late_run(client: httpx.Client, flow: str) -> Callable[[], bool]:
    """A run of a deployment that no worker looks after."""
    deployment = post(client, "/deployments/", name="late", flow_id=flow, work_pool_name="nobody")["id"]
    run = post(client, f"/deployments/{deployment}/create_flow_run")["id"]
    return lambda: get(client, f"/flow_runs/{run}")["state"]["name"] == "Late"


def expired_pause(client: httpx.Client, flow: str) -> Callable[[], bool]:
    run = post(client, "/flow_runs/", flow_id=flow)["id"]
    set_state(client, run, type="PAUSED", name="Paused", state_details={"pause_timeout": "2020-01-01T00:00:00Z"})
    return lambda: get(client, f"/flow_runs/{run}")["state"]["message"] == "The flow was paused and never resumed."


def lost_worker(client: httpx.Client) -> Callable[[], bool]:
    """A worker that says once that it lives, and never again."""
    post(client, "/work_pools/nobody/workers/heartbeat", name="lost", heartbeat_interval_seconds=1)
    return lambda: [one["status"] for one in post(client, "/work_pools/nobody/workers/filter")] == ["OFFLINE"]


def expired_lease(client: httpx.Client) -> Callable[[], bool]:
    post(client, "/v2/concurrency_limits/", name="lease", limit=1)
    post(client, "/v2/concurrency_limits/increment-with-lease", names=["lease"], slots=1, lease_duration=LEASE_SECONDS)
    assert get(client, "/v2/concurrency_limits/lease")["active_slots"] == 1
    return lambda: get(client, "/v2/concurrency_limits/lease")["active_slots"] == 0


def cancelled_parent(client: httpx.Client, flow: str) -> dict[str, Callable[[], bool]]:
    """A cancelled run, of which a task and a flow below that task say that they run."""
    running = {"type": "RUNNING", "name": "Running"}
    parent = post(client, "/flow_runs/", flow_id=flow, state=running)["id"]
    task = post(client, "/task_runs/", flow_run_id=parent, task_key="left", dynamic_key="0", state=running)["id"]
    below = post(client, "/flow_runs/", flow_id=flow, parent_task_run_id=task, state=running)["id"]
    set_state(client, parent, type="CANCELLED", name="Cancelled")
    return {
        "monitor_cancelled_flow_runs": lambda: get(client, f"/task_runs/{task}")["state"]["type"] == "CANCELLED",
        "monitor_subflow_runs": lambda: get(client, f"/flow_runs/{below}")["state"]["type"] == "CANCELLED",
    }


def automations(client: httpx.Client, flow: str) -> dict[str, Callable[[], bool]]:
    """One that acts on an event, one that acts since an event stays away; both go through events, triggers and actions."""
    run = post(client, "/flow_runs/", flow_id=flow)["id"]
    completed = {"posture": "Reactive", "expect": ["prefect.flow-run.Completed"], "within": 0}
    triggers = {
        "reactive trigger": completed | {"match": {"prefect.resource.id": f"prefect.flow-run.{run}"}},
        "evaluate_proactive_triggers_periodic": {"posture": "Proactive", "expect": ["left.never"], "within": 10},
    }
    held = {name: post(client, "/deployments/", name=name, flow_id=flow, paused=True)["id"] for name in triggers}
    for name, trigger in triggers.items():
        action = {"type": "resume-deployment", "deployment_id": held[name]}
        post(client, "/automations/", name=name, trigger={"type": "event", "threshold": 1} | trigger, actions=[action])
    set_state(client, run, type="COMPLETED", name="Completed")
    return {name: lambda one=one: not get(client, f"/deployments/{one}")["paused"] for name, one in held.items()}


def set_state(client: httpx.Client, run: str, **state: Any) -> None:
    assert post(client, f"/flow_runs/{run}/set_state", state=state, force=True)["status"] == "ACCEPT"


def post(client: httpx.Client, path: str, **values: Any) -> Any:
    return answered(client.post(path, json=values))


def get(client: httpx.Client, path: str) -> Any:
    return answered(client.get(path))


def answered(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None
