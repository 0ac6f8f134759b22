"""Lines of boilerplate, and the lines that C4 keeps."""

import pytest

from tasks.data.documents.cleaning import clean
from tasks.data.quality.boilerplate import is_boilerplate, keep_c4_lines, remove_boilerplate

PAGE = """Skip to content

We use cookies to ensure that we give you the best experience on our website.

A first sentence of the text stands here.[3]
* * *
The second one follows after a separator of stars.


Read more...
12 comments
Share on Facebook

-----
The end

Copyright © 2020 All rights reserved."""


@pytest.mark.parametrize(
    "line",
    [
        "Skip to main content", "SIGN IN | REGISTER", "» Back to top", "Read more...", "Continue reading »", "Share this:",
        "This site uses cookies.", "Please enable JavaScript to view the comments.", "Privacy Policy | Terms of Use",
        "© 2020 Example. All rights reserved.", "3 likes", "(1.2k views)", "-----", "  * * *", "• • •", "===",
        "2 items in cart",
    ],
)  # fmt: skip
def test_boilerplate(line):
    assert is_boilerplate(line)
    assert remove_boilerplate(f"Before.\n{line}\nAfter.") == ("Before.\nAfter.", 1)


@pytest.mark.parametrize(
    "line",
    [
        "", "A line of prose.", "He liked to share his views, and she liked his comments.", "3 likes were all that it got.",
        "You can read more of this in the book that he wrote at the end of his life.", "```", "--", "1984", "x * y * z",
        "Their privacy policy, which the court had asked them to change in three of its parts by the end of the year, was "
        "still the same when the judges met again in May.",
        "She would sign in blood, he said, if the lawyers only let her do it.",
    ],
)  # fmt: skip
def test_prose(line):
    assert not is_boilerplate(line)
    assert remove_boilerplate(line) == (line, 0)


def test_a_page_without_its_boilerplate_is_clean():
    text, removed = remove_boilerplate(clean(PAGE))
    assert removed == 8
    assert text == clean(text)
    assert [line for line in text.split("\n") if line] == [
        "A first sentence of the text stands here.[3]", "The second one follows after a separator of stars.", "The end",
    ]  # fmt: skip
    assert remove_boilerplate(text) == (text, 0)


def test_the_lines_that_c4_keeps():
    text, cut = keep_c4_lines(PAGE)
    assert text.split("\n") == [
        "A first sentence of the text stands here.",
        "The second one follows after a separator of stars.",
        "Copyright © 2020 All rights reserved.",
    ]
    assert cut == len(PAGE) - len(text)
    assert keep_c4_lines(text) == (text, 0)
    assert keep_c4_lines("", 5, 1000) == ("", 0)
    assert keep_c4_lines("Three short words.", min_words=3) == ("Three short words.", 0)


def test_surrogates_do_no_harm():
    assert remove_boilerplate("\ud800\n-----\nx") == ("\ud800\nx", 1)
    assert keep_c4_lines("A line with \ud800 and a full stop.") == ("A line with \ud800 and a full stop.", 0)
