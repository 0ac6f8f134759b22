"""Foreign text stays text in Markdown; reports of any shape become tables."""

import html

import pytest
from markdown_it import MarkdownIt

from tasks.data.card.text import cell, code, escaped, excerpt, report_blocks, share_lines, table


def test_a_table_is_markdown():
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1)) ![x](http://a/b.png)",
        "a | b || `code` ``x` **bold** _it_ ~~no~~ $x$ &amp; &#60;",
        "see www.example.org, http://example.org or me@example.org\\",
    ],
)
def test_foreign_text_is_shown_as_it_is(text):
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(f"| x |\n| --- |\n| “{escaped(text)}” |")
    assert html.unescape(shown.split("<td>")[1].split("</td>")[0]) == f"“{text}”"


def test_what_cannot_be_seen_becomes_a_space():
    assert escaped("a\u202eb\x00\x1b[31m\nc\u200b d\ud800") == "a b \\[31m c d"


def test_excerpts_are_cut():
    assert excerpt("x" * 159) == "x" * 159
    assert excerpt("x" * 160) == excerpt("x" * 500) == "x" * 160 + "…"


@pytest.mark.parametrize(
    ("value", "text"), [(1234567, "1,234,567"), (0.123456, "0.1235"), (None, ""), (True, "True"), ("a|b", "a\\|b")]
)
def test_cells(value, text):
    assert cell(value) == text


def test_names_are_code_where_they_can_be():
    assert code("too_short") == "`too_short`"
    assert code("a `b`") == "a \\`b\\`"


def test_reports_are_flattened_to_tables():
    report = {"documents": 3, "by_source": {"a": {"tokens": 1}, "b": {"words": 2}}, "sizes": {"near": {"2": 5}, "largest": 9}}
    blocks = list(report_blocks(report, "report"))
    assert blocks == [
        table(["report", ""], [["`documents`", "3"]]),
        table(["by source", "tokens", "words"], [["`a`", "1", ""], ["`b`", "", "2"]]),
        table(["sizes", ""], [["`largest`", "9"]]),
        table(["near", ""], [["`2`", "5"]]),
    ]


def test_shares_add_up():
    assert share_lines("x", {"a": 1, "b": 3})[0].splitlines()[2:] == ["| `a` | 1 | 25.00% |", "| `b` | 3 | 75.00% |"]
    assert share_lines("x", {}) == []
