import sys

import pytest

from flows.report import markdown_report, own_command, read_finetune_report, read_report, table_report, text_report
from tasks.record.files import write_json
from tasks.record.journal import Journal
from tasks.record.layout import FinetuneLayout, RunLayout
from tasks.record.manifest import Manifest
from tasks.record.outcomes import Outcome, note_outcome
from tests.kit.finished_runs import config_on_files, finish_pretraining, finish_refresh, tuned


@pytest.fixture
def config(tmp_path):
    return config_on_files(tmp_path / "in")


@pytest.fixture
def finished(home, config):
    _, base = finish_pretraining(home, config, "r")
    finish_refresh(home, tuned(config), base)
    journal = Journal(home / "registry" / "aliases.jsonl", 0)
    for number, (model, alias, version) in enumerate(
        [("tiny", "pretraining", 1), ("tiny", "pretrained", 2), ("tiny-animals", "champion", 1)]
    ):
        move = {"model": model, "alias": alias, "from_version": None, "to_version": version, "reason": "", "by": "", "time": ""}
        journal.append("done", id=str(number), moves=[move])
    journal.close()
    return home


def test_the_report_says_all_that_the_run_came_to(finished, config):
    lines = [" ".join(line.split()) for line in text_report(read_report(config, "r", finished)).splitlines()]

    assert "verdict converged: the next round is worth 0.001" in lines
    assert "bits/byte 3.9000 before, 2.1000 after" in lines
    for line in (
        "fine-tuned accuracy 0.8100",
        "majority accuracy 0.5000",
        "TF-IDF accuracy 0.7700",
        "random init accuracy 0.7000",
    ):
        assert line in lines
    assert "gate promote (there was no champion)" in lines
    assert "outcome Promoted v1: accuracy 0.8100, the first champion" in lines
    assert "tiny 2 pretrained pretrained" in lines
    assert "tiny-animals 1 candidate champion" in lines
    assert "Once upon a time" in lines
    assert lines[-1].startswith("Next: ") and "pretune up" in lines[-1]


def test_an_alias_is_shown_at_the_version_that_holds_it_now(finished, config):
    journal = Journal(finished / "registry" / "aliases.jsonl", 0)
    move = {
        "model": "tiny-animals",
        "alias": "champion",
        "from_version": 1,
        "to_version": 9,
        "reason": "",
        "by": "",
        "time": "",
    }
    journal.append("done", id="later", moves=[move])
    journal.close()

    versions = {(v.model, v.version): v.aliases for v in read_report(config, "r", finished).versions}

    assert versions["tiny-animals", 1] == ()


def test_a_fine_tune_that_stands_alone_has_a_report_of_its_own(finished, config):
    report = read_finetune_report(tuned(config), finished)
    lines = [" ".join(line.split()) for line in text_report(report).splitlines()]

    assert lines[0] == "Fine-tune tiny-animals (classification)"
    assert "outcome Promoted v1: accuracy 0.8100, the first champion" in lines
    assert "tiny-animals 1 candidate champion" in lines
    assert not any(line.startswith(("verdict", "tiny 2")) for line in lines)


def test_the_report_is_about_the_last_attempt_and_how_it_was_judged(finished, config):
    layout = FinetuneLayout(finished, "tiny-animals")
    note_outcome(layout, Outcome(came="Skipped", message="unchanged", attempt=layout.attempts[0].path.name))

    assert [one.decision for one in read_report(config, "r", finished).finetunes] == ["promote"]

    note_outcome(layout, Outcome(came="Rejected", message="v2: no", attempt="0" * 12, version=2, evaluation="evaluate-gone"))
    assert read_report(config, "r", finished).finetunes == (), "its folder is gone, and another attempt is not meant"


def test_a_run_that_has_only_begun_has_a_short_report(home, config):
    report = read_report(config, "r", home)

    assert (report.verdict, report.finetunes, report.versions) == (None, (), ())
    assert "verdict" not in text_report(report)


def test_prefect_gets_the_same_numbers(finished, config):
    report = read_report(config, "r", finished)

    assert "## Fine-tune tiny-animals: promote, there was no champion" in markdown_report(report)
    assert "| tiny-animals | 1 | candidate | champion |" in markdown_report(report)
    assert {"stage": "tiny-animals", "metric": "candidate_accuracy", "value": 0.81} in table_report(report)


def test_the_report_says_how_fast_training_was_and_what_it_held(finished, config):
    stage = RunLayout(finished, "r").pretrain()
    performance = {
        "tokens_per_second": 10471.0, "mfu": 0.4123, "peak_memory_bytes": 3 << 29, "data_loading_share": 0.012,
        "checkpoint_stall_seconds": 3.25, "goodput": 0.9345,
    }  # fmt: skip
    manifest = Manifest.read(stage.manifest)
    digest = manifest.digest
    manifest.environment["performance"] = performance
    write_json(stage.manifest, manifest)
    assert Manifest.read(stage.manifest).digest == digest, "how fast it was is no part of what was made"

    report = read_report(config, "r", finished)
    lines = [" ".join(line.split()) for line in text_report(report).splitlines()]

    assert "speed 10,471 tokens/s in the last steps, MFU 41.2%" in lines
    assert "memory 1.50 GiB at most on a rank" in lines
    assert "time 93.5% went into steps that count (goodput), 1.2% of a step waited for data, checkpoints took 3.2 s" in lines
    assert "- memory: 1.50 GiB at most on a rank" in markdown_report(report)
    assert {"stage": "performance", "metric": "mfu", "value": 0.4123} in table_report(report)


def test_what_was_not_measured_is_not_reported(finished, config):
    text = text_report(read_report(config, "r", finished))
    assert all(word not in text for word in ("speed", "memory", "goodput", "None"))


def test_the_next_command_can_be_typed_as_it_is(tmp_path, monkeypatch):
    command = tmp_path / ".venv" / "bin" / "pretune"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    assert own_command() == ".venv/bin/pretune"

    monkeypatch.chdir("/")
    assert own_command() == str(command).removeprefix("/")

    monkeypatch.setenv("PATH", str(command.parent))
    assert own_command() == "pretune"
