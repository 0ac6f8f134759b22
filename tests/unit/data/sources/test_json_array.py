"""A file that is one JSON array: its elements one by one, their places, and where it breaks."""

import gzip
import json
import tracemalloc

import pytest

from tasks.data.sources.read import read_rows
from tasks.data.sources.rows import Column
from tasks.data.sources.streams import Limits, Meter
from tasks.record.errors import DataError
from tests.kit.reading import read_all

TEXTS = ["plain", 'quotes " and \\ and \\" too', "brackets ]}[{, in a string", "line\nend", "é 中 😀", ""]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("around", [("", ""), ("\n  ", "\n\n"), ("\ufeff", "")])
def test_an_array_gives_what_lines_give(tmp_path, indent, around):
    rows = [{"n": [n, {"deep": []}], "text": text} for n, text in enumerate(TEXTS)]
    for ascii_only in (True, False):
        content = around[0] + json.dumps(rows, indent=indent, ensure_ascii=ascii_only) + around[1]
        (tmp_path / "a.json").write_text(content)
        found = read_all("jsonl", tmp_path / "a.json")
        assert found.texts == TEXTS
        assert found.documents[2].where == "a.json item 3"


def test_it_may_be_packed_and_larger_than_what_is_read_at_once(tmp_path):
    texts = [f"{n} " + "word, ]" * (40_000 if n == 50 else n) for n in range(300)]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps([{"text": text} for text in texts]).encode()))
    assert read_all("jsonl", tmp_path / "a.json.gz").texts == texts
    (tmp_path / "b.json").write_text(json.dumps([{"text": text} for text in texts]))
    assert read_all("jsonl", tmp_path / "b.json", unit_bytes=1000).texts == texts, "it is not cut into spans"


def test_a_bad_element_is_refused_once_and_the_others_kept(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a"}, 3, {"text": 5}, {"text" "b"}, , {"text": "c"},]')
    found = read_all("jsonl", tmp_path / "a.json", tmp_path / "quarantine.jsonl")
    assert found.texts == ["a", "c"]
    assert found.places == [
        ("no_object", "item 2", 15), ("no_text", "item 3", 18), ("invalid_json", "item 4", 31), ("invalid_json", "item 5", 45)
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"a\.json item 2 \(byte 15\) is a JSON int; "):
        read_all("jsonl", tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "texts", "place", "problem"),
    [
        ('[{"text": "a"}, {"text": "b', ["a"], "item 2 (byte 27)", "is not ended: the file is cut off"),
        ('[{"text": "a"}', [], "item 1 (byte 14)", "is not ended: the file is cut off"),
        ('[{"text": "a"}\n]\n{"text": "b"}', ["a"], "item 1 (byte 16)", "is the last one of the array, and the file goes on"),
        ('[{"text": "a"}, {"text": "' + "x" * 600_000 + '"}]', ["a"], "item 2 (byte 15)", "has more than 400 bytes"),
    ],
)
def test_what_ends_the_reading_is_one_bad_spot_with_its_place(tmp_path, content, texts, place, problem):
    (tmp_path / "a.json").write_text(content)
    limits = Limits(max_line_bytes=400)
    found = read_all("jsonl", tmp_path / "a.json", tmp_path / "quarantine.jsonl", limits=limits)
    assert found.texts == texts
    (record,) = found.refused
    assert record["place"] == place
    assert problem in record["problem"]
    with pytest.raises(DataError) as raised:
        read_all("jsonl", tmp_path / "a.json", limits=limits)
    assert f"a.json {place} {problem}" in str(raised.value)


def test_an_element_that_is_too_long_is_passed_over(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "a"}, {"text": "' + "x" * 500 + '"}, {"text": "b"}]')
    found = read_all("jsonl", tmp_path / "a.json", tmp_path / "quarantine.jsonl", limits=Limits(max_line_bytes=400))
    assert (found.texts, found.places) == (["a", "b"], [("line_too_long", "item 2", 15)])


def test_lines_of_which_the_first_is_an_array_are_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('[1, 2]\n{"text": "a"}\n')
    found = read_all("jsonl", tmp_path / "a.jsonl", tmp_path / "quarantine.jsonl")
    assert (found.texts, found.places) == (["a"], [("no_object", "line 1", 0)])


def test_memory_does_not_grow_with_the_array(tmp_path):
    peaks = []
    for number in (3_000, 12_000):
        objects = ",".join(json.dumps({"text": f"text {n} " + "word " * 20}) for n in range(number))
        (tmp_path / "a.json").write_text(f"[{objects}]")
        tracemalloc.start()
        rows = read_rows("jsonl", str(tmp_path / "a.json"), (Column("text"),), "data.path", Meter())
        count = sum(1 for _ in rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == number
    assert peaks[1] < 1.5 * peaks[0] < 9_000_000
