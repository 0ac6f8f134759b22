"""A model by the name that a person gives it, and its files as a folder of their own."""

from pathlib import Path

import pytest

from tasks.record.errors import ConfigError, DataError, IntegrityError
from tasks.record.files import file_sha256
from tasks.record.layout import StageLayout
from tasks.registry.aliases import move_alias
from tasks.registry.tracking import connect
from tasks.registry.use import export_version, find_version, is_classifier, trained_length, verify_version, was_taught_to_answer
from tests.kit.asked_models import MAX_LENGTH, registered_model
from tests.kit.registered_stages import registered


def test_a_version_is_found_by_alias_by_number_and_as_the_champion(home: Path) -> None:
    registered(home, 2)
    move_alias(home, "demo-topic", "champion", 2, None, "it is better", "a test")
    move_alias(home, "demo-topic", "candidate", 1, None, "it is there", "a test")
    asked = ("demo-topic", "demo-topic@champion", "demo-topic@candidate", "demo-topic/1", "models:/demo-topic/2")
    assert [find_version(home, text).version for text in asked] == [2, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "demo topic",
            "MODEL='demo topic' names no registered model; write NAME@ALIAS, NAME/VERSION, or NAME for its champion",
        ),
        ("demo-topic/x", "MODEL='demo-topic/x' names no registered model; write NAME@ALIAS"),
        ("demo-topics", "MODEL='demo-topics' is not registered; registered models: demo-topic"),
        ("demo-topic/7", "MODEL='demo-topic/7' has no version 7; there are: 1, 2"),
        (
            "demo-topic",
            "MODEL='demo-topic': no version of demo-topic is its champion; aliases that are held: "
            "demo-topic@candidate (version 1)",
        ),
        ("demo-topic@best", "no version of demo-topic is its best; aliases that are held: demo-topic@candidate (version 1)"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(home: Path, text: str, sentence: str) -> None:
    registered(home, 2)
    move_alias(home, "demo-topic", "candidate", 1, None, "it is there", "a test")
    with pytest.raises(ConfigError) as found:
        find_version(home, text)
    assert sentence in str(found.value)


def test_without_an_alias_the_versions_are_named(home: Path) -> None:
    registered(home, 2)
    with pytest.raises(ConfigError, match="is its champion; no alias is held, versions: 1, 2"):
        find_version(home, "demo-topic")


def test_a_home_without_models_says_so_and_gets_no_database(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(
        ConfigError, match=r"is not registered, as nothing is in .*empty; make a model with `pretune run` first"
    ):
        find_version(empty, "demo-topic")
    assert not empty.exists()


def test_what_a_model_is_and_reads_is_told_by_its_training(home: Path) -> None:
    topic, chat = registered_model(home), registered_model(home, "instruction", "demo-chat")
    kinds = [(is_classifier(made), was_taught_to_answer(made)) for made in map(verify_version, (topic, chat))]
    assert kinds == [(True, False), (False, True)]
    assert trained_length(topic) == MAX_LENGTH
    StageLayout(Path(topic.tags["stage"])).request.unlink()
    assert trained_length(topic) is None


def test_an_export_is_a_copy_that_plain_transformers_loads(home: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    version = registered_model(home)
    manifest = export_version(version, tmp_path / "out" / "model")
    made, source = tmp_path / "out" / "model", Path(version.path)
    names = {Path(entry.path).name for entry in manifest.files}
    assert {path.name for path in made.iterdir()} == names | {"README.md", "manifest.json"}
    for path in made.iterdir():
        assert file_sha256(path) == file_sha256(source / path.name)
        assert path.stat().st_nlink == 1, "a link would let whoever writes to it change the registered model"
    model = AutoModelForSequenceClassification.from_pretrained(made, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(made, local_files_only=True)
    assert model(**tokenizer("the quick fox", return_tensors="pt")).logits.shape == (1, 3)


def test_an_export_goes_into_a_new_or_empty_folder_only(home: Path, tmp_path: Path) -> None:
    (version,) = registered(home, 1)
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    empty.mkdir()
    with pytest.raises(DataError, match=r"DIR='.*full' is not empty; name a folder that is new or empty"):
        export_version(version, full)
    with pytest.raises(DataError, match=r"DIR='.*file' is a file"):
        export_version(version, file)
    assert (full / "mine").read_text() == file.read_text() == "mine"
    export_version(version, empty)
    assert (empty / "model.safetensors").exists()


def test_damaged_files_are_not_exported_and_leave_nothing(home: Path, tmp_path: Path) -> None:
    (version,) = registered(home, 1)
    weights = Path(version.path) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_text(weights.read_text().replace("model", "mOdel"))
    with pytest.raises(IntegrityError, match=r"model.safetensors has SHA-256"):
        export_version(version, tmp_path / "out" / "model")
    assert not (tmp_path / "out").exists()


def test_an_alias_that_was_taken_away_in_mlflow_can_be_given_back(home: Path) -> None:
    registered(home, 1)
    move_alias(home, "demo-topic", "champion", 1, None, "it is good", "a test")
    connect(home).delete_registered_model_alias("demo-topic", "champion")
    with pytest.raises(ConfigError) as found:
        find_version(home, "demo-topic")
    assert str(found.value).endswith(
        "is its champion; no alias is held, versions: 1; it was taken away in MLflow, "
        "`pretune registry repair --model demo-topic --apply` gives it back"
    )
