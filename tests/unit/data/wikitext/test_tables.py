"""Tables are left out, or become a line for each row."""

import pytest

from tasks.data.wikitext.convert import wikitext_to_text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        (
            "a\n{| class=x\n|+ Caption\n! h !! i\n|-\n| style=b | 1 || [[c|2]]\n|-\n| 3\n| 4\n|}\nb",
            "a\n\nCaption\nh; i\n1; 2\n3; 4\n\nb",
        ),
        ("{|\n|-\n|\n| only\ngoes on\n|}", "only goes on"),
        ("{|\n| a\n{|\n| inner || cell\n|}\n| b\n|}", "a inner; cell; b"),
        ("a<table><tr><th>h</th><td>1</td></tr><tr><td>2</td></tr></table>b", "a\nh; 1\n\n2\nb"),
        ("a {| b |} c", "a b c"),
    ],
)
def test_rows(wikitext, text):
    assert wikitext_to_text(wikitext, tables=True) == text
    assert "h" not in wikitext_to_text(wikitext)
