"""What a person can set about labelled examples: no setting without effect, and what a test set is made of."""

import pytest

from tasks.config.examples import ExamplesConfig
from tasks.config.presets import load_config, parse_config
from tasks.record.errors import ConfigError

FILES = {"source": "csv", "path": "train.csv"}


def test_the_test_set_is_a_share_unless_it_is_a_file() -> None:
    assert ExamplesConfig().test_share == 0.05
    assert ExamplesConfig(test_fraction=0.2).test_share == 0.2
    assert ExamplesConfig(**FILES, test_path="test.csv").test_share is None


def test_what_was_set_can_be_read_back_from_its_dump() -> None:
    for values in ({"test_fraction": 0.1}, FILES | {"test_path": "test.csv"}, FILES | {"header": False, "columns": ["a", "b"]}):
        given = ExamplesConfig.model_validate(values)
        assert ExamplesConfig.model_validate(given.model_dump(mode="json")) == given


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            FILES | {"test_path": "test.csv", "test_fraction": 0.05},
            "examples.test_fraction=0.05 has no effect with examples.test_path='test.csv', which is the test set; remove one "
            "of the two",
        ),
        (
            {"test_path": "test.csv"},
            "examples.test_path='test.csv' has no effect with examples.source='sample'; remove it, or set examples.source and "
            "examples.path",
        ),
        (
            {"source": "jsonl", "path": "a.jsonl", "delimiter": ";"},
            "examples.delimiter=';' has no effect with examples.source='jsonl', being about CSV; remove it",
        ),
        (
            {"source": "parquet", "path": "a.parquet", "header": False},
            "examples.header=False has no effect with examples.source='parquet', being about CSV; remove it",
        ),
        (
            FILES | {"columns": ["text", "label"]},
            "examples.columns=['text', 'label'] has no effect with examples.header=true, as the first line names the columns; "
            "set examples.header=false or remove the names",
        ),
        (
            FILES | {"header": False, "columns": ["text", "label", "text"]},
            "examples.columns=['text', 'label', 'text'] has 'text' twice; give each column a name of its own",
        ),
        (
            FILES | {"delimiter": "\\t"},
            "examples.delimiter='\\\\t' is not one character that can stand between fields; give one such as ';' or \"\\t\" "
            "(in double quotes, a tab)",
        ),
        (FILES | {"delimiter": '"'}, "examples.delimiter='\"' is not one character"),
        ({"labels": ["only"]}, "examples.labels=['only'] has 1 label, and classification needs at least 2; name them all"),
        ({"labels": ["a", "b", "a"]}, "examples.labels=['a', 'b', 'a'] has 'a' twice; name each label once"),
        ({"labels": ["a", " b"]}, "examples.labels=['a', ' b'] has ' b', which no row can have, as space around a label is"),
        ({"min_test_examples": 0}, "finetune[0].examples.min_test_examples"),
        ({"on_conflict": "last"}, "finetune[0].examples.on_conflict"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_config({"finetune": [{"examples": values}]})
    assert message in str(found.value).replace(".0.", "[0].")


def test_a_tab_can_be_given_on_the_command_line() -> None:
    config = load_config([], ['finetune=[{examples={source="csv", path="a.txt", delimiter="\\t"}}]'])
    assert config.finetune[0].examples.delimiter == "\t"
