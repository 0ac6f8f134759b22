"""`pretune verify` as a person and as a script sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import main
from flows.verify import text_proof, use_text
from tasks.audit.stage import SourceUse
from tasks.audit.verify import verify_run
from tasks.record.layout import REPOSITORY, StageLayout
from tests.kit.told_runs import change_lines, told_run


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageLayout:
    monkeypatch.setenv("PRETUNE_HOME", str(tmp_path))
    return told_run(tmp_path)


def test_what_was_proved_is_said_in_sentences(stage: StageLayout, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Run run: everything holds"
    assert lines[2] == "02-pretrain"
    assert lines[3].startswith(
        "  holds: steps 1 to 12 consumed exactly the sequences that (seed, step) name, with the tokens of the files: "
        "6,144 tokens, each of the "
    )
    assert lines[4] == "  holds: 2 attempts, 2 steps undone by an interruption or a rollback, and each step counts once"
    assert lines[5].startswith(
        "  holds: the hash chain over (step, samples, tokens, loss) is the same in the journal, 2 checkpoints and the "
        "manifest: "
    )
    assert lines[6].endswith(
        "of inputs, 2 checkpoints, 0 milestones and the finished model have the SHA-256 that they were made with"
    )
    assert lines[8].startswith("Not proved: ")


def test_what_does_not_hold_is_said_instead(stage: StageLayout, capsys: pytest.CaptureFixture) -> None:
    change_lines(stage, lambda line: None if (line["kind"], line["step"]) == ("step", 8) else line)
    (stage.path / "curve.png").write_bytes(b"A picture")
    assert main(["verify", "run"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("Run run: NOT everything holds")
    assert "  FAILS: step 8 is missing in the journal\n" in said
    assert "curve.png has SHA-256" in said
    assert "holds: steps" not in said and "holds: the hash chain" not in said and "SHA-256 that they" not in said


def test_a_journal_that_is_gone_is_a_failure(stage: StageLayout, capsys: pytest.CaptureFixture) -> None:
    stage.journal.unlink()
    assert main(["verify", "run"]) == 1
    assert "journal" in capsys.readouterr().out.split("FAILS: ")[1]


def test_a_training_that_goes_on_is_proved_so_far(stage: StageLayout, tmp_path: Path) -> None:
    stage.manifest.unlink()
    said = text_proof(verify_run(tmp_path, "run"))
    assert "02-pretrain, which is not done, so far\n" in said
    assert "is the same in the journal, 2 checkpoints: " in said


def test_a_script_gets_everything_as_json_and_the_exit_code(stage: StageLayout, capsys: pytest.CaptureFixture) -> None:
    assert main(["verify", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proved"] is True
    assert (found["stages"][0]["steps"], found["stages"][0]["file_failures"]) == (12, [])
    assert main(["verify", "nobody"]) == 2
    assert capsys.readouterr().err == "pretune: run 'nobody' does not exist; there are: run\n"


def test_counts_are_said_as_people_say_them() -> None:
    assert (
        use_text(SourceUse(source="", samples=8960, fewest=3, most=4), "sequences")
        == "each of the 8,960 sequences 3 to 4 times"
    )
    once = SourceUse(source="web", samples=5, fewest=1, most=1)
    assert use_text(once, "sequences") == "each of the 5 sequences of web 1 time"


def test_the_command_loads_no_library_of_machine_learning(stage: StageLayout, tmp_path: Path) -> None:
    code = (
        "import sys; from flows.__main__ import main; assert main(['verify', 'run']) == 0; "
        "print(sorted({'torch', 'transformers', 'prefect', 'mlflow', 'datasets'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY, env=os.environ | {"PRETUNE_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
