"""The items of evaluation sets, from every kind of file, and what is wrong with them."""

import pyarrow
import pyarrow.parquet
import pytest

from tasks.config.data import DecontaminationConfig
from tasks.data.evaluation_sets import read_evaluations
from tasks.record.errors import DataError


def read(*evaluations: dict) -> dict[str, list[str]]:
    return read_evaluations(DecontaminationConfig(evaluations=evaluations))


def test_columns_together_are_an_item(jsonl, tmp_path):
    path = str(jsonl([{"q": "Who?", "a": "Me."}, {"q": "What?", "a": ""}]))
    (tmp_path / "rows.csv").write_text("q,a\nWho?,Me.\nWhat?,\n")
    pyarrow.parquet.write_table(pyarrow.table({"q": ["Who?", "What?"], "a": ["Me.", ""]}), tmp_path / "rows.parquet")
    given = {"jsonl": path, "csv": str(tmp_path / "rows.csv"), "parquet": str(tmp_path / "rows.parquet")}
    found = read(*({"name": kind, "source": kind, "path": at, "text_columns": ["q", "a"]} for kind, at in given.items()))
    assert found == {kind: ["Who?\nMe.", "What?\n"] for kind in given}


def test_a_csv_set_may_have_another_delimiter(tmp_path):
    (tmp_path / "rows.csv").write_text("id;text\n1;Who, me?\n")
    one = {"name": "quiz", "source": "csv", "path": str(tmp_path / "rows.csv")}
    assert read(one | {"delimiter": ";"}) == {"quiz": ["Who, me?"]}
    with pytest.raises(DataError, match=r'; set data\.decontamination\.evaluations\[quiz\]\.delimiter=";"$'):
        read(one)


def test_of_text_every_document_is_an_item(tmp_path):
    (tmp_path / "one.txt").write_text("first\n\n\n\nsecond\n")
    (found,) = read({"name": "plain", "source": "text", "path": str(tmp_path / "one.txt")}).values()
    assert [item.strip() for item in found] == ["first", "second"]


def test_no_sets_are_no_items():
    assert read() == {}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "x"}, {"text": 7}], "line 2 column 'text' is int 7"),
        ([{"question": "x"}], "column 'text' is not in"),
    ],
)
def test_an_item_without_text_is_refused(jsonl, rows, words):
    path = str(jsonl(rows))
    with pytest.raises(DataError) as found:
        read({"name": "quiz", "path": path})
    assert path in str(found.value)
    assert words in str(found.value)


def test_a_set_that_is_not_there_is_named_with_its_setting(tmp_path):
    with pytest.raises(DataError, match=r"^data\.decontamination\.evaluations\[quiz\]\.path="):
        read({"name": "quiz", "path": str(tmp_path / "nothing.jsonl")})
