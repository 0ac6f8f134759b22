"""A preparation's text by content: every source, evaluation set and earlier data set, wherever they lie."""

from pathlib import Path

import pytest

from tasks.config.data import DataConfig
from tasks.data.inputs.text import earlier_datasets, passed_over_sentences, text_identity
from tasks.record.errors import DataError
from tests.kit.datasets import written_dataset, written_examples


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def configured(folder: Path, first: str = "one", second: str = "two", quiz: str = '{"text": "q"}') -> DataConfig:
    folder.mkdir()
    mixture = [{"name": "more", "source": "text", "path": written(folder / "b.txt", second)}]
    evaluations = [{"name": "quiz", "path": written(folder / "quiz.jsonl", quiz)}]
    return DataConfig(
        source="text", path=written(folder / "a.txt", first), mixture=mixture, decontamination={"evaluations": evaluations}
    )


def test_sources_and_evaluation_sets_are_known_by_content(tmp_path: Path) -> None:
    found = text_identity(tmp_path, configured(tmp_path / "x"))
    assert [source["bytes"] for source in found["sources"]] == [3, 3]
    assert [one["files"] for one in found["evaluations"]] == [1]
    assert text_identity(tmp_path, configured(tmp_path / "y")) == found
    for name, changed in (("first", "1ne"), ("second", "2wo"), ("quiz", '{"text": "r"}')):
        assert text_identity(tmp_path, configured(tmp_path / name, **{name: changed})) != found


def test_the_order_of_the_sources_counts(tmp_path: Path) -> None:
    one = text_identity(tmp_path, configured(tmp_path / "x"))
    other = text_identity(tmp_path, configured(tmp_path / "y", "two", "one"))
    assert one["sources"] == other["sources"][::-1] != other["sources"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("a.txt", "data.path"),
        ("b.txt", "data.mixture[more].path"),
        ("quiz.jsonl", "data.decontamination.evaluations[quiz].path"),
    ],
)
def test_what_is_missing_is_named_with_its_setting(tmp_path: Path, name: str, field: str) -> None:
    data = configured(tmp_path / "x")
    (tmp_path / "x" / name).unlink()
    with pytest.raises(DataError) as found:
        text_identity(tmp_path, data)
    assert str(found.value).startswith(f"{field}='{tmp_path / 'x' / name}' does not exist")


def test_what_is_passed_over_is_said_of_every_source(tmp_path: Path) -> None:
    data = configured(tmp_path / "x")
    assert passed_over_sentences(data) == []
    folder = data.model_copy(update={"path": str(tmp_path / "x")})
    (sentence,) = passed_over_sentences(folder)
    assert sentence.startswith(f"data.path='{tmp_path / 'x'}': not read: quiz.jsonl (its ending is none of this source's")
    mixed = DataConfig(mixture=[{"name": "more", "source": "jsonl", "path": str(tmp_path / "x")}])
    assert passed_over_sentences(mixed)[0].startswith(f"data.mixture[more].path='{tmp_path / 'x'}': not read: a.txt, b.txt (")


def test_an_earlier_data_set_is_found_by_folder_or_name(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_text("text")
    made = written_dataset(tmp_path, "earlier", ["one", "two"], ["three"], {"f": file})
    for given in (made.path, Path(made.path).name):
        assert earlier_datasets(tmp_path, DataConfig(duplicates={"against": [given]})) == {"against-00": made}
    assert earlier_datasets(tmp_path, DataConfig()) == {}


def test_what_is_no_finished_data_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "f.txt"
    file.write_text("text")
    examples = written_examples(tmp_path, "examples", ["one"], ["two"], file)
    for given in ("nothing", examples.path):
        with pytest.raises(DataError) as found:
            earlier_datasets(tmp_path, DataConfig(duplicates={"against": [given]}))
        assert str(found.value) == (
            f"data.duplicates.against={given!r} is no finished data set, as a folder or below {tmp_path / 'datasets'}; "
            "name the folder of one"
        )


@pytest.mark.parametrize(
    ("quality", "sentence"),
    [
        ({"languages": ["en", "xx"]}, "data.quality.languages has 'xx', which cannot be identified; there are "),
        (
            {"filters": ["c4"], "thresholds": {"c4.min_sentence": 2}},
            "data.quality.thresholds has 'c4.min_sentence', which is not known, did you mean 'c4.min_sentences'?",
        ),
    ],
)
def test_quality_settings_that_cannot_be_meant_are_refused_before_anything_is_read(
    tmp_path: Path, quality: dict, sentence: str
) -> None:
    with pytest.raises(DataError) as found:
        text_identity(tmp_path, DataConfig(quality=quality))
    assert str(found.value).startswith(sentence)
