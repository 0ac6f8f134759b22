"""What happens to bad rows, and which texts are bad."""

import json
import random

import pytest

from tasks.data.sources.quarantine import REMEDIES, Place, Quarantine, text_problem
from tasks.record.errors import DataError

PLACE = Place("/data/a.jsonl", "a.jsonl", "line 7", 120, b'{"text": "\xff\x00' + b"x" * 500, 1234)


def test_fail_says_file_line_byte_rule_and_remedy(tmp_path):
    with pytest.raises(DataError) as raised:
        Quarantine(tmp_path / "quarantine.jsonl", "fail").refuse(PLACE, "invalid_json", "is not valid JSON")
    assert str(raised.value) == (
        "/data/a.jsonl line 7 (byte 120) is not valid JSON; each line must be one JSON object, or set "
        "data.limits.on_bad_input='quarantine'"
    )
    with pytest.raises(DataError) as raised:
        Quarantine(None, "fail").refuse(PLACE._replace(offset=None), "no_text", "has no text")
    assert str(raised.value) == "/data/a.jsonl line 7 has no text; convert or remove the row"
    assert not (tmp_path / "quarantine.jsonl").exists()


def test_quarantine_writes_the_row_down_and_counts_it(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    with Quarantine(path, "quarantine") as quarantine:
        assert not path.exists(), "nothing is bad so far"
        for number in range(5):
            quarantine.refuse(PLACE._replace(where=f"line {number}"), "invalid_json", "is not valid JSON")
        quarantine.refuse(PLACE, "binary", "is binary")
    assert quarantine.counts == {"invalid_json": 5, "binary": 1}
    assert quarantine.total == 6
    assert quarantine.examples["invalid_json"] == [f"a.jsonl line {n} is not valid JSON" for n in range(3)]
    records = [json.loads(line) for line in path.open()]
    assert len(records) == 6
    assert records[-1] == {
        "file": "a.jsonl", "place": "line 7", "byte": 120, "reason": "binary", "problem": "is binary",
        "start": '{"text": "\\xff\x00' + "x" * 188, "bytes": 1234,
    }  # fmt: skip
    assert path.read_bytes().isascii()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", None),
        ("prose with é, 中 and 😀\n\ttabs\r\n", None),
        ("one \x00 in a short text", None),
        ("a few \x1b[1mescapes\x1b[0m " + "in a long text " * 20, None),
        ("half a pair \ud83d", "lone_surrogate"),
        ("x" * 101, "text_too_long"),
        ("é" * 51, "text_too_long"),
        ("UTF-16".encode("utf-16-le").decode(), "binary"),
        ("\ufffd\ufffd\ufffd\ufffd" + "x" * 20, "binary"),
        ("GIF89a\x01\x00\x01\x00\x80\x00\x00", "binary"),
    ],
)
def test_which_texts_are_bad(text, reason):
    problem = text_problem(text, 100 if len(text) in (51, 101) else 10_000)
    assert (problem and problem[0]) == reason
    assert reason is None or reason in REMEDIES


def test_random_bytes_in_any_disguise_are_binary():
    noise = random.Random(0).randbytes(5000)
    assert text_problem(noise.decode("latin-1"), 1 << 20)[0] == "binary"
    assert text_problem(noise.decode("utf-8", "replace"), 1 << 20)[0] == "binary"
    assert text_problem(bytes(b & 0x7F for b in noise).decode(), 1 << 20)[0] == "binary"


def test_the_problem_has_its_numbers():
    assert text_problem("ab\ud800", 10)[1] == "has the lone surrogate \\ud800 at character 2"
    assert text_problem("\0" * 8 + "abcd", 100)[1].startswith("is binary: 8 of its 12 bytes are control characters")
