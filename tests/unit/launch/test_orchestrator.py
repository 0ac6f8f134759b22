"""The supervisor asks a server; whatever the server says or does not say, only a cancelled run stops training."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tasks.launch.orchestrator import ASK_EVERY_SECONDS, CancellationWatch, flow_run_state
from tasks.record.files import write_json
from tasks.record.layout import StageLayout


class Server(HTTPServer):
    """Answers every GET with `status` and `body`, and keeps what it was asked."""

    status, body = 200, b"{}"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def watch(folder: Path, server_url: str) -> CancellationWatch:
    stage = StageLayout(folder)
    write_json(stage.orchestrator, {"flow_run_id": "run-1", "api_url": server_url})
    return CancellationWatch(stage)


@pytest.mark.parametrize(
    ("state", "cancelled"),
    [
        ("CANCELLING", True),
        ("CANCELLED", True),
        ("RUNNING", False),
        ("CRASHED", False),
        ("FAILED", False),
        ("COMPLETED", False),
    ],
)
def test_only_a_cancelled_run_stops_the_ranks(server: Server, tmp_path: Path, state: str, cancelled: bool) -> None:
    server.body = json.dumps({"state_type": state}).encode()
    assert watch(tmp_path, server.url).cancelled(0.0) is cancelled
    assert server.asked == [("/api/flow_runs/run-1", None)]


@pytest.mark.parametrize("status", [401, 403, 404, 500, 307])
def test_a_refusal_is_no_cancellation(server: Server, tmp_path: Path, status: int) -> None:
    server.status, server.body = status, b'{"state_type": "CANCELLED"}'
    assert flow_run_state(server.url, "run-1") is None
    assert not watch(tmp_path, server.url).cancelled(0.0)


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"null", b'"CANCELLED"', b"\xff", b"{}"])
def test_an_answer_that_says_nothing_is_no_cancellation(server: Server, body: bytes) -> None:
    server.body = body
    assert flow_run_state(server.url, "run-1") is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "not a url", "http://[broken", "ftp://127.0.0.1/api"])
def test_a_server_that_is_away_is_no_cancellation(url: str) -> None:
    assert flow_run_state(url, "run-1") is None


def test_the_password_of_the_server_is_given(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:pass word")
    flow_run_state(server.url + "/", "run-1")
    assert server.asked == [("/api/flow_runs/run-1", "Basic " + base64.b64encode(b"admin:pass word").decode())]


def test_it_asks_at_most_every_five_seconds(server: Server, tmp_path: Path) -> None:
    server.body = b'{"state_type": "CANCELLED"}'
    asks = watch(tmp_path, server.url)
    assert asks.cancelled(100.0)
    assert not asks.cancelled(100.0 + ASK_EVERY_SECONDS - 0.1)
    assert len(server.asked) == 1
    assert asks.cancelled(100.0 + ASK_EVERY_SECONDS)


def test_a_stage_that_no_flow_waits_for_asks_nobody(server: Server, tmp_path: Path) -> None:
    assert not CancellationWatch(StageLayout(tmp_path)).cancelled(0.0)
    write_json(tmp_path / "orchestrator.json", {"flow_run_id": None, "api_url": server.url})
    assert not CancellationWatch(StageLayout(tmp_path)).cancelled(0.0)
    assert server.asked == []
