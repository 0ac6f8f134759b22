"""The words that use a registered model, from the command to its exit code."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from flows.__main__ import main
from flows.using import child, example
from tasks.registry.versions import Version
from tests.kit.asked_models import LABELS, registered_model
from tests.kit.registered_stages import new_home, registered
from tests.kit.servers import free_ports, pretune


@pytest.fixture
def topic(home: Path) -> Version:
    return registered_model(new_home(home.parent))


@pytest.fixture
def chat_model(home: Path) -> Version:
    return registered_model(new_home(home.parent), "instruction", "demo-chat")


def refusal(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What a refused command says; nothing was started for it."""
    assert main(list(arguments)) == 2
    out, said = capsys.readouterr()
    assert out == "" and said.startswith("pretune: ") and "Traceback" not in said and len(said.splitlines()) == 1
    return said


def texts(folder: Path) -> str:
    (folder / "in.txt").write_text("the fox\nthe dog sleeps\n")
    return str(folder / "in.txt")


@pytest.mark.process
def test_texts_get_labels_and_only_what_was_asked_for_is_printed(topic: Version, home: Path, tmp_path: Path) -> None:
    done = pretune(home, "predict", "demo-topic@champion", texts(tmp_path), "--top", "1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["the fox", "the dog sleeps"]
    assert all(list(row["probabilities"].items()) == [(row["label"], row["probability"])] for row in rows)
    assert done.stderr.startswith("2 texts answered in ") and len(done.stderr.splitlines()) == 1


@pytest.mark.process
def test_a_conversation_goes_through_a_pipe(chat_model: Version) -> None:
    command = [sys.executable, "-m", "flows", "chat", "demo-chat", "--temperature=0", "--max-new-tokens=8"]
    done = subprocess.run(command, input="the fox\n/new\nthe fox\n/quit\n", capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout[: len(done.stdout) // 2], done.stdout[len(done.stdout) // 2 :]
    assert first == second and first.strip()


def test_what_is_wrong_is_said_before_anything_is_started(
    topic: Version, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = texts(tmp_path)
    assert "FILE='/nowhere.txt' does not exist" in refusal(capsys, "predict", "demo-topic", "/nowhere.txt")
    assert "MODEL='demo-topics' is not registered; registered models: demo-topic" in refusal(
        capsys, "predict", "demo-topics", file
    )
    assert "no version of demo-topic is its best" in refusal(capsys, "chat", "demo-topic@best")
    assert "has no version 9; there are: 1" in refusal(capsys, "serve", "demo-topic/9")
    assert "--top=0 is less than 1" in refusal(capsys, "predict", "demo-topic", file, "--top=0")
    assert "--temperature=1.0 has no effect on demo-topic/1, which gives labels" in refusal(
        capsys, "predict", "demo-topic", file, "--temperature=1"
    )
    assert f"--output='{tmp_path}' is a folder; name a file" in refusal(
        capsys, "predict", "demo-topic", file, "--output", str(tmp_path)
    )
    assert "MODEL='demo-topic' (demo-topic/1) is a classifier; use `pretune predict demo-topic FILE`" in refusal(
        capsys, "chat", "demo-topic"
    )
    assert "--port=70000 is not a port" in refusal(capsys, "serve", "demo-topic", "--port=70000")
    assert f"DIR='{tmp_path}' is not empty" in refusal(capsys, "export", "demo-topic", str(tmp_path))


def test_an_option_for_labels_has_no_effect_on_answers(
    chat_model: Version, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    said = refusal(capsys, "predict", "demo-chat", texts(tmp_path), "--top=2")
    assert "--top=2 has no effect on demo-chat/1, which answers prompts; leave it out" in said


def test_a_registry_that_is_away_is_another_exit_code(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert main(["predict", "demo-topic", texts(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert said.startswith("pretune: MLflow at http://127.0.0.1:") and "try again when it answers" in said


def test_damaged_weights_are_not_asked(topic: Version, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights = Path(topic.path) / "model.safetensors"
    weights.chmod(0o644)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors has SHA-256" in refusal(capsys, "predict", "demo-topic", texts(tmp_path))


def test_an_export_says_what_it_is(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (version,) = registered(new_home(home.parent), 1)
    assert main(["export", "demo-topic/1", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"demo-topic version 1 ({version.digest[:12]}) is in {tmp_path / 'out'}\n"
    assert (tmp_path / "out" / "config.json").exists()


def test_a_child_gets_what_was_given_and_no_text_is_taken_for_an_option() -> None:
    command = child("chat", "-folder", system="--x", seed=0, top=None, chat=True, other=False)
    assert command[1:] == ["-m", "tasks.training.chat", "--system=--x", "--seed=0", "--chat", "--", "-folder"]


def served(home: Path, model: str) -> tuple[str, dict, int]:
    """What `pretune serve` prints, what its own curl line answers, and how it ends by Ctrl-C."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "flows", "serve", model, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = "".join(running.stdout.readline() for _ in range(3))
        try:
            line = said.splitlines()[-1]
            answer = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120).stdout
        finally:
            running.send_signal(signal.SIGINT)
            code = running.wait(60)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.ConnectError:
            return said, json.loads(answer), code
    raise AssertionError("the server outlives its command")


@pytest.mark.process
def test_a_model_that_answers_is_served_until_ctrl_c(chat_model: Version, home: Path) -> None:
    pytest.importorskip("openai", reason="the extra `serve` is not installed")
    said, answer, code = served(home, "demo-chat")
    assert said.startswith("demo-chat/1 is at http://127.0.0.1:") and code == 0
    assert answer["choices"][0]["message"]["content"].strip()


@pytest.mark.soak
def test_a_classifier_is_served_until_ctrl_c(topic: Version, home: Path) -> None:
    said, answer, code = served(home, "demo-topic")
    assert said.startswith("demo-topic/1 is at http://127.0.0.1:") and code == 0
    assert answer["predictions"][0]["label"] in LABELS


def test_without_its_extra_a_server_for_answers_is_refused(
    chat_model: Version, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs openai" in refusal(capsys, "serve", "demo-chat")


def test_the_example_of_a_server_is_a_line_for_a_shell() -> None:
    assert example("http://127.0.0.1:1", classifier=True).startswith("curl -s http://127.0.0.1:1/predict -H ")
