"""Whether the Prefect flow run that waits for a stage was cancelled, asked from the supervisor.

Prefect's own cancellation signals the flow's process, which may be dead, and is lost for good when the server was away for a
moment. The supervisor asks the server itself, so a cancel always reaches the ranks.
"""

import base64
import os

import httpx

from tasks.record.files import read_json
from tasks.record.layout import StageLayout

ASK_EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0


class CancellationWatch:
    """Asks at most every five seconds; a server that is away means 'not cancelled'."""

    def __init__(self, stage: StageLayout) -> None:
        self.stage, self._next = stage, 0.0

    def cancelled(self, now: float) -> bool:
        if now < self._next or not self.stage.orchestrator.exists():
            return False
        self._next = now + ASK_EVERY_SECONDS
        run = read_json(self.stage.orchestrator)
        if not run.get("api_url") or not run.get("flow_run_id"):
            return False
        return flow_run_state(run["api_url"], run["flow_run_id"]) in ("CANCELLING", "CANCELLED")


def flow_run_state(api_url: str, flow_run_id: str) -> str | None:
    """The state type of a flow run, or None if the server does not say."""
    headers = {}
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    try:
        answer = httpx.get(f"{api_url.rstrip('/')}/flow_runs/{flow_run_id}", headers=headers, timeout=TIMEOUT_SECONDS)
        said = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return said.get("state_type") if isinstance(said, dict) else None
