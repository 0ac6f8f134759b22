"""The words for registered models, through the command that a person types."""

import json
import subprocess
import sys

import pytest

from flows.__main__ import main
from tasks.record.manifest import Manifest
from tasks.registry import aliases
from tasks.registry.tracking import connect
from tests.kit.registered_stages import new_home, registered

MODEL = "demo-topic"


@pytest.fixture
def two(home):
    """A home in which version 2 is champion, after version 1."""
    new_home(home.parent)
    made = registered(home, 2)
    for number in (1, 2):
        aliases.force_promotion(home, MODEL, number, reason=f"reason {number}", by="ann")
    return made


def said(capsys, *arguments: str, code: int = 0) -> list[str]:
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    return (captured.err if code == 2 else captured.out).splitlines()


def test_a_forced_promotion_needs_a_reason_and_is_recorded_with_it_and_the_user(two, home, capsys, monkeypatch):
    monkeypatch.setattr("flows.registry.getpass.getuser", lambda: "eve")
    for words, sentence in (
        (["--force"], "pretune: --force is given without --reason; say with --reason TEXT why no decision is waited for"),
        (["--force", "--reason", " "], "pretune: --force is given without --reason; say with --reason TEXT why no decision"),
        (["--reason", "x"], "pretune: --reason is given without --force; the reason of a promotion is the gate's decision"),
    ):
        assert said(capsys, "promote", MODEL, "1", *words, code=2)[0].startswith(sentence)
    assert "which the version was made with; restore it, or refresh" in said(capsys, "promote", MODEL, "1", code=2)[-1]
    (line,) = said(capsys, "promote", MODEL, "1", "--force", "--reason", "the gate is broken")
    assert line.endswith("champion: version 2 -> version 1 by eve, forced: the gate is broken")
    assert aliases.history(home, MODEL)[-2].forced


def test_a_damaged_version_is_not_promoted_by_force_either(two, home, capsys):
    from pathlib import Path

    weights = Path(two[0].path) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert "it is damaged" in said(capsys, "promote", MODEL, "1", "--force", "--reason", "x", code=2)[0]


def test_rollback_goes_back_to_the_one_before_or_to_the_named_one(two, capsys):
    assert "version 9 is no champion before version 2; there are: 1" in said(capsys, "rollback", MODEL, "--to", "9", code=2)[0]
    (line,) = said(capsys, "rollback", MODEL, "--to", "1", "--reason", "worse in use")
    assert "champion: version 2 -> version 1 by " in line and line.endswith(": worse in use")
    assert said(capsys, "rollback", MODEL, code=2) == [
        "pretune: demo-topic had no champion before version 1; there is nothing to roll back to, promote a version"
    ]


def test_history_says_who_held_what_when_why_and_by_which_blessing(two, home, capsys):
    digest = registered(home, 3)[2].digest
    from tasks.record.manifest import Input

    decision = Manifest(kind="evaluate", request_digest="r", inputs={"candidate": Input(path="/x", digest=digest)},
                        details={"decision": "promote", "champion": 2, "reasons": ["better"]})  # fmt: skip
    aliases.promote(home, MODEL, 3, decision, by="bob")
    lines = said(capsys, "history", MODEL)
    assert [line.split(" ", 1)[1] for line in lines] == [
        "champion: nobody -> version 1 by ann, forced: reason 1",
        "champion: version 1 -> version 2 by ann, forced: reason 2",
        "previous: nobody -> version 1 by ann: replaced as champion by version 2",
        f"champion: version 2 -> version 3 by bob: better [blessing {decision.digest[:12]}]",
        "previous: version 1 -> version 2 by bob: replaced as champion by version 3",
    ]
    shown = json.loads("\n".join(said(capsys, "history", MODEL, "--json")))
    assert (shown[3]["blessing"], shown[3]["forced"], shown[3]["to_version"]) == (decision.digest, False, 3)
    message = f"pretune: no alias of 'nothing' was ever moved in {home}; models with a history: demo-topic"
    assert said(capsys, "history", "nothing", code=2) == [message]


def test_history_asks_no_server_and_loads_nothing_heavy(two):
    program = (
        "import sys; from flows.__main__ import main; code = main(sys.argv[1:]); "
        "print([m for m in ('prefect', 'mlflow', 'torch') if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, "history", MODEL], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


def test_repair_says_what_differs_and_puts_it_right_when_asked(two, home, capsys):
    assert said(capsys, "registry", "repair") == ["MLflow has what the records of this home have"]
    connect(home).delete_model_version(MODEL, "2")
    lines = said(capsys, "registry", "repair", "--model", MODEL, code=1)
    assert lines[0] == "demo-topic: version 2 (candidate) was deleted in MLflow; is registered again"
    assert lines[-1] == "Nothing was changed; to put it right, add --apply"
    assert said(capsys, "registry", "repair", "--apply") == [
        "demo-topic: version 2 (candidate) was deleted in MLflow; done: is registered again, as version 3",
        "demo-topic: champion is held by nobody in MLflow and by version 2 in the record; done: goes back to version 3",
    ]
    assert said(capsys, "registry", "repair") == ["MLflow has what the records of this home have"]
