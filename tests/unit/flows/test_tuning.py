"""The words about fine-tunes without a server: what they refuse, what they show, what is kept for the next `up`."""

import json
from pathlib import Path

import pytest

from flows.__main__ import main
from flows.deployed import deployed
from tasks.config.presets import load_finetune
from tasks.record.layout import FinetuneLayout
from tests.kit.finished_runs import config_on_files, finish_pretraining, finish_refresh

SCHEDULES = """
[[schedule]]
cron = "0 3 * * 1"
timezone = "Europe/Berlin"

[[schedule]]
every_minutes = 90
settings = ["epochs=1", "gate.level=0.01"]
"""


@pytest.fixture
def file(home: Path, tmp_path: Path) -> Path:
    """A fine-tune's own file, on the examples of a tiny run."""
    config_on_files(tmp_path / "in")
    path = tmp_path / "banking.toml"
    examples = json.dumps(str(tmp_path / "in" / "animals.jsonl"))
    path.write_text(
        'name = "banking"\nbase = "run:r"\nepochs = 2\n[launch]\nnum_processes = 1\n'
        f'[examples]\nsource = "jsonl"\npath = {examples}\n[gate]\nabove_random_init = "off"\n{SCHEDULES}'
    )
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.strip().splitlines()[-1]


def test_a_finished_fine_tune_is_reported_without_a_server(
    home: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, base = finish_pretraining(home, config_on_files(tmp_path / "in"), "r")
    finish_refresh(home, load_finetune(str(file)), base)
    assert main(["finetune", str(file)]) == 0
    said = capsys.readouterr().out
    assert "Fine-tune banking (classification)" in said and "Promoted v1: accuracy 0.8100" in said
    assert main(["finetune", str(file), "--dry-run", "--set", "epochs=3"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Fine-tune banking in {FinetuneLayout(home, 'banking').path}\n")
    assert [line.split()[:4] for line in said.splitlines() if "fine-tune banking" in line] == [
        ["fine-tune", "banking", "to", "do"]
    ]
    assert not (home / "prefect").exists()


def test_a_mistake_in_a_file_is_one_sentence_and_leaves_nothing(
    home: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "base='run:r': there is no run 'r'" in refused(capsys, "finetune", str(file))
    assert "did you mean 'epochs'?" in refused(capsys, "finetune", str(file), "--set", "epoch=3")
    assert "gone.toml' is no file; give the TOML file of a fine-tune" in refused(capsys, "deploy", "gone.toml")
    assert "deploy was given no file; name the TOML files of fine-tunes, or --list" in refused(capsys, "deploy")
    assert "'nobody' is not deployed; deployed are: none" in refused(capsys, "deploy", "--remove", "nobody")
    assert not (home / "finetunes").exists() and not (home / "deployed").exists()


def test_what_is_deployed_without_a_server_is_kept_listed_and_removed(
    home: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", str(file)]) == 0
    said = capsys.readouterr()
    schedules = "cron 0 3 * * 1 (Europe/Berlin); every 90 minutes (UTC) with epochs=1, gate.level=0.01"
    assert said.out.splitlines()[0] == f"deployed refresh/banking: {schedules}"
    assert said.out.splitlines()[1].startswith("no server runs here: it takes effect with `")
    assert deployed(home) == {"banking": load_finetune(str(file))}
    assert main(["deploy", "--list"]) == 0
    assert capsys.readouterr().out.split(maxsplit=1) == ["banking", f"{schedules}\n"]
    assert main(["deploy", "--remove", str(file)]) == 0
    assert capsys.readouterr().out == "removed refresh/banking; what it made is kept\n"
    assert deployed(home) == {}
