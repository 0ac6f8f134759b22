"""What `pretune lineage --withdrawn` prints, and what `--retrain` starts and does not."""

import json

import pytest

from flows import withdrawal as asked
from flows.__main__ import main
from flows.deployed import keep_deployed
from flows.withdrawal import Retrained, allowed, retrained, settings_of, text_retrained, text_withdrawal
from tasks.audit.lineage import Lineage, VersionUse
from tasks.audit.withdrawal import Redo, Withdrawal
from tasks.config.finetuning import FinetuneFile
from tasks.record.errors import DataError
from tasks.record.files import read_json, write_json
from tasks.record.layout import FinetuneLayout
from tasks.record.outcomes import Outcome, note_outcome

HELD = (VersionUse(model="topic", version=2, label="candidate", aliases=("champion",)),)
LINEAGE = Lineage(asked="source", given="a.txt", digest="f" * 64, num_datasets=3, datasets=(), notes=())


def listed(*redo: Redo) -> Withdrawal:
    return Withdrawal(asked="source", given="a.txt", digest="f" * 64, redo=redo, only_measured=("runs/b/02",), notes=("x",))


def settings(**changes: object) -> FinetuneFile:
    values = {"name": "topic", "base": "run:demo", "examples": {"source": "jsonl", "path": "/labels"}}
    return FinetuneFile.model_validate(values | changes)


@pytest.fixture
def kept(home):
    """The settings of the last refresh of `topic`."""
    path = FinetuneLayout(home, "topic").settings
    write_json(path, settings(min_new_examples=5))
    return path


def test_the_list_is_numbered_and_says_how_each_is_made_again():
    text = text_withdrawal(
        listed(
            Redo(kind="prepare", name="datasets/d-1", folders=("datasets/d-1",), why=("holds it as zoo: a.txt",)),
            Redo(kind="base", name="bases/m-1", folders=("bases/m-1",), why=("holds it as model.safetensors",)),
            Redo(kind="pretrain", name="runs/a/02", folders=("runs/a/02",), why=("trained on d-1",), how="run demo --name a-2"),
            Redo(kind="pretrain", name="runs/c/02", folders=("runs/c/02",), why=("trained on d-1",), done=False),
            Redo(kind="finetune", name="topic", folders=("f",), why=("starts from runs/a/02",), versions=HELD),
        ),
        LINEAGE,
    )
    lines = [line.strip() for line in text.splitlines() if line]
    assert lines[0].startswith("File a.txt (SHA-256 ffffffffffff) is in none of the 3 finished data sets.")
    assert [line for line in lines if line[0].isdigit()] == [
        "1. data set datasets/d-1",
        "2. base bases/m-1",
        "3. pre-training runs/a/02",
        "4. pre-training runs/c/02  (not finished)",
        "5. fine-tune topic",
    ]
    again = [line for line in lines if line.startswith("again")]
    assert again[0] == "again: by the pre-training that is given it, once the file is gone from where it is read"
    assert again[1] == "again: set another base in the file of the fine-tune"
    assert again[2].startswith("again, once the file is gone from where it is read: ")
    assert again[2].endswith("pretune run demo --name a-2")
    assert again[3] == "again: no preset gives its settings any more; they are in the config.json of its run"
    assert again[4] == "again: --retrain does it, once its data and its base no longer contain it"
    assert "registered: topic version 2 (candidate)  <- champion" in lines
    assert lines[-2:] == [
        "runs/b/02 was only measured on it: its weights do not contain it, its numbers come from it.", "Note: x",
    ]  # fmt: skip


def test_what_was_done_names_champions_that_still_contain_it():
    redo = Redo(kind="finetune", name="topic", folders=("f",), why=(), versions=HELD)
    rejected = Retrained(name="topic", started=True, said="Rejected: v3: worse")
    done = [rejected, Retrained(name="b", started=False, said="it is there")]
    assert text_retrained(done, listed(redo)).splitlines() == [
        "topic: Rejected: v3: worse",
        "b: nothing was started: it is there",
        "topic version 2 is still the champion and contains it",
    ]
    assert text_retrained([], listed()) == "No fine-tune contains it."


def test_settings_are_those_that_are_deployed_before_those_of_the_last_refresh(home, kept):
    assert settings_of("topic") == settings(min_new_examples=5)
    keep_deployed(home, settings(epochs=7))
    assert settings_of("topic") == settings(epochs=7)
    assert settings_of("nowhere") is None


def test_without_settings_nothing_is_started(home):
    said = retrained("nowhere", LINEAGE)
    assert said == Retrained(name="nowhere", started=False, said="its settings were not kept; refresh it by its file")


def test_what_stands_in_the_way_is_said_and_nothing_is_started(home, kept, monkeypatch):
    monkeypatch.setattr(asked, "hindrance", lambda home, settings, lineage: "it is still there")
    monkeypatch.setattr(asked, "refresh_now", lambda settings: pytest.fail("started"))
    assert retrained("topic", LINEAGE) == Retrained(name="topic", started=False, said="it is still there")


def test_a_refresh_may_have_fewer_examples_this_once(home, kept, monkeypatch):
    """The settings that are kept stay those of the person."""
    before, given = read_json(kept), []

    def refresh_now(settings: FinetuneFile) -> None:
        given.append(settings)
        write_json(kept, settings)
        note_outcome(FinetuneLayout(home, "topic"), Outcome(came="Promoted", message="v3: better"))

    monkeypatch.setattr(asked, "hindrance", lambda home, settings, lineage: "")
    monkeypatch.setattr(asked, "only_it_is_missing", lambda home, settings, lineage: True)
    monkeypatch.setattr(asked, "refresh_now", refresh_now)
    assert retrained("topic", LINEAGE) == Retrained(name="topic", started=True, said="Promoted v3: better")
    assert (given[0].min_new_examples, given[0].max_shrinkage) == (0, 1.0)
    assert read_json(kept) == before


def test_where_other_files_went_away_too_the_guard_stays(home, monkeypatch):
    monkeypatch.setattr(asked, "only_it_is_missing", lambda home, settings, lineage: False)
    assert allowed(settings(), LINEAGE) == {"min_new_examples": 0}


def test_a_refresh_that_fails_is_said(home, kept, monkeypatch):
    def refresh_now(settings: FinetuneFile) -> None:
        raise DataError("examples of topic are 2 and were 9")

    monkeypatch.setattr(asked, "hindrance", lambda home, settings, lineage: "")
    monkeypatch.setattr(asked, "only_it_is_missing", lambda home, settings, lineage: False)
    monkeypatch.setattr(asked, "refresh_now", refresh_now)
    said = retrained("topic", LINEAGE)
    assert said == Retrained(name="topic", started=True, said="ended without a model: examples of topic are 2 and were 9")


def test_the_command_lists_and_retrains(home, tmp_path, capsys):
    assert main(["lineage", "--withdrawn", "0" * 64]) == 0
    assert capsys.readouterr().out == f"File {'0' * 64} is in none of the 0 finished data sets.\n"
    assert main(["lineage", "--source", "0" * 64, "--withdrawn", "--retrain", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["digest"], shown["redo"], shown["retrained"]) == ("0" * 64, [], [])
    (tmp_path / "page").write_text("a text")
    assert main(["lineage", "--document", str(tmp_path / "page"), "--withdrawn", "--retrain"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "No fine-tune contains it."
