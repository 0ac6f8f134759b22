"""Holes are counted from outside of the converter; in real pages of each language fewer than 1 in 1,000 sentences has one."""

import re

import pytest

from tests.kit.holes import count, dumps, holes, name_of, renders_nothing, shows_more, templates, without_pictures


def dropping(text):
    """A converter that leaves nothing of templates and formulas."""
    text = re.sub(r"<math>.*?</math>", "", text)
    while "{{" in text:
        text = re.sub(r"\{\{[^{}]*\}\}", "", text)
    return text


def keeping(text):
    """One that leaves what follows the last `|`."""
    while "{{" in text:
        text = re.sub(r"\{\{(?:[^{}|]*\|)*([^{}|]*)\}\}", r"\1", text)
    return text


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("It is {{convert|5|km}} long, they say.", ["convert"]),
        ("In the {{s|XIX}} of all times. It has {{a|b {{c|d}}}} in it.", ["s", "a"]),
        ("Where <math>x</math> is a number of them.", ["<formula>"]),
        # No sentence, or not inside of it; shown elsewhere
        ("{{Infobox\n| a = b\n}}\n{{main|x}}\n* {{x|y}} Z\n== A {{x|y}} of title here ==\n| cell {{x|y}} of a table", []),
        ("{|\n| one two three four {{x|y}}\n|}\n[[File:a.jpg|thumb|One two three four {{x|y}}]]\n<!-- One two {{x|y}} -->", []),
        ("It was in 1700{{sfn|x}} or so<ref>See {{x|y}} there.</ref>, they say.{{citation needed|date=x}}", []),
        ("See the page there, {{de}} and {{de|Wort}} of it.", ["de"]),
    ],
)
def test_what_is_a_hole(page, found):
    assert [name for name, _ in holes(page, dropping, renders_nothing)] == found
    assert [name for name, _ in holes(page, keeping, renders_nothing) if name != "<formula>"] == []


def test_a_hole_within_what_is_kept():
    def partly(text):
        return re.sub(r"\{\{keep\|([^{}]*)\}\}", r"\1", re.sub(r"\{\{inner\|[^{}]*\}\}", "", text))

    assert [name for name, _ in holes("It has {{keep|a {{inner|b}} c}} in it, too.", partly, renders_nothing)] == ["inner"]


def test_the_parts():
    assert templates("a {{b|{{c}}}} {{{d}}} }} {{e}}") == [(2, 13, 0), (6, 11, 1), (15, 20, 0), (25, 30, 0)]
    assert [name_of(one) for one in ("{{As_of|x}}", "{{#if: a|b}}", "{{formatnum:5}}", "{{ A\n|b}}", "{{!}}")] == [
        "as of", "#if:", "formatnum:", "a", "!",
    ]  # fmt: skip
    assert shows_more("a b", "ab") and shows_more("a,", "a") and not shows_more("a", "a,")
    assert without_pictures("a [[File:x.png|thumb|[[b]] c]] d [[e|f.png]] [[g]]") == "a  d [[e|f.png]] [[g]]"


@pytest.mark.parametrize("name", ["", "simple"])
def test_a_name_that_is_no_template_is_none(name):
    assert renders_nothing("{{" + name + "}}") is (name == "")


@pytest.mark.soak
def test_fewer_than_one_hole_in_a_thousand_sentences_of_each_language():
    counted = {file.name.split(".")[0]: count(file) for file in dumps()}
    assert sum(found.sentences for found in counted.values()) > 30_000
    # Both dumps say that they are English: `{{v}}` is known in nap only, and the sound within `{{IPA}}` has text in arz only.
    known = {"nap": {"v"}, "arz": {"ipa"}}
    left = {name: {hole for hole, _ in found.holes} for name, found in counted.items() if found.per_thousand >= 1}
    assert {name: names - known.get(name, set()) for name, names in left.items() if names - known.get(name, set())} == {}
