"""What a person can set about the text: the order of the sources, names that are safe, settings that are frozen."""

import pytest
from pydantic import ValidationError

from tasks.config.data import DataConfig, PreparationConfig
from tasks.config.presets import load_config, parse_config
from tasks.record.errors import ConfigError

NOVELS = {"name": "novels", "source": "text", "path": "novels"}
WIKI = {"name": "wiki", "source": "mediawiki", "path": "dump.xml.bz2"}


def test_sources_are_read_in_the_order_in_which_they_are_given() -> None:
    data = DataConfig(name="first", mixture=[NOVELS, WIKI])
    assert data.source_names == ("first", "novels", "wiki")
    assert [source.source for source in data.sources] == ["sample", "text", "mediawiki"]
    assert DataConfig().sources == (DataConfig(),)


@pytest.mark.parametrize(
    ("values", "field", "rule"),
    [
        ({"mixture": [{"name": "a"}, {"name": "Big"}]}, "data.mixture", "use small letters"),
        ({"weight": 0}, "data.weight", "greater than 0"),
        ({"max_epochs": -1}, "data.max_epochs", "greater than 0"),
        ({"max_documents": 0}, "data.max_documents", "greater than or equal to 1"),
        ({"part_megabytes": 0}, "data.part_megabytes", "greater than or equal to 1"),
        ({"duplicates": {"similarity": 1.0}}, "data.duplicates.similarity", "less than 1"),
        ({"duplicates": {"similarity": 0.4}}, "data.duplicates.similarity", "greater than or equal to 0.5"),
        ({"decontamination": {"ngram": 2}}, "data.decontamination.ngram", "greater than or equal to 3"),
        ({"decontamination": {"action": "warn"}}, "data.decontamination.action", "'drop' or 'fail'"),
        ({"decontamination": {"evaluations": [{"name": "../x", "path": "x"}]}}, "data.decontamination", "use small letters"),
        ({"quality": {"filters": ["gopher"]}}, "data.quality.filters", "'gopher_quality'"),
        ({"limits": {"max_expansion": 1.0}}, "data.limits.max_expansion", "greater than 1"),
        ({"limits": {"on_bad_input": "skip"}}, "data.limits.on_bad_input", "'fail' or 'quarantine'"),
        ({"delimiter": ";"}, "data.delimiter", "has no effect with data.source='sample', being about CSV; remove it"),
        ({"source": "csv", "path": "x", "delimiter": ";;"}, "data.delimiter", "is not one character that can stand between"),
        ({"source": "csv", "path": "x", "columns": ["a"]}, "data.columns", "set data.header=false or remove the names"),
        (
            {"mixture": [{"name": "m", "source": "jsonl", "path": "x", "header": False}]},
            "data.mixture[m].header",
            "has no effect with data.mixture[m].source='jsonl'",
        ),
        (
            {"decontamination": {"evaluations": [{"name": "q", "path": "x", "delimiter": ";"}]}},
            "data.decontamination.evaluations[q].delimiter",
            "has no effect with",
        ),
    ],
)
def test_bounds_name_field_and_rule(values: dict, field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_config({"data": values})
    assert str(found.value).startswith(field)
    assert rule in str(found.value)


def test_the_settings_are_reached_from_the_command_line() -> None:
    config = load_config(
        [], ['data.quality.languages=["en", "de"]', "data.duplicates.near=false", "preparation.num_processes=3"]
    )
    assert config.data.quality.languages == ("en", "de")
    assert config.data.duplicates.near is False
    assert config.preparation == PreparationConfig(num_processes=3)


def test_sections_are_frozen_and_unknown_names_refused() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DataConfig().quality.fix_unicode = True
    with pytest.raises(ConfigError, match=r"^data\.quality\.filter"):
        parse_config({"data": {"quality": {"filter": []}}})
