"""The page stands by itself: all that was found is in it, every link leads somewhere in it, and foreign text stays text."""

import re
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

from flows.ancestry_page import linked, page, table
from tasks.audit.ancestors import SourceFile
from tests.kit.told_ancestry import told

VOID = ("meta", "rect", "path")


class Read(HTMLParser):
    """Identities, links and text of a page; whether every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.identities: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.identities += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def test_everything_that_is_known_is_on_it():
    text = page(told(), "/home/of/it")
    read = Read(text)
    assert read.open == [] and text.startswith("<!DOCTYPE html>")
    for word in (
        "demo-topic, version 2", "champion", "0.9123", "Decision: promote, at 2026-11-27 11:25:24 UTC.", "✓ accuracy is enough",
        "Made champion at 2026-11-27 11:30:00 UTC, by anna.", "labels (test)", "5" * 64, "f" * 64, "ETag 7", "c0ffee", "2.13.0",
        "it holds another result by now", "Taken in from org/model@1, licence apache-2.0.", "duplicate", "Note: MLflow is away",
        "GONE: another lies there now.", "/home/of/it",
    ):  # fmt: skip
        assert word in read.text, word


def test_it_needs_nothing_from_elsewhere_and_its_links_lead_somewhere():
    text = page(told(), "h")
    read = Read(text)
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert not re.search(r"url\(['\"]?http|@import|src=", text)
    assert len(set(read.identities)) == len(read.identities)
    assert {link.removeprefix("#") for link in read.links if link.startswith("#")} <= set(read.identities)


def test_foreign_text_stays_text():
    found = told()
    bad = "<script>alert(1)</script>"
    files = (SourceFile(source=bad, name=bad, licence=f"{bad} [terms](https://example.org/a)"),)
    version = found.version.model_copy(update={"reasons": (bad,)})
    made_by = found.made_by.model_copy(update={"sources": files, "said": bad, "name": bad})
    text = page(found.model_copy(update={"version": version, "made_by": made_by}), bad)
    assert "<script" not in text and text.count("&lt;script&gt;") >= 6


def test_links_of_a_licence_become_links_and_nothing_else_does():
    parent = Element("p")
    parent.text = "Licence: "
    linked(parent, "by [CC](https://cc.org/by) from `x` at https://en.org/ and [bad](javascript:alert(1)).")
    assert [(one.text, one.get("href")) for one in parent] == [
        ("CC", "https://cc.org/by"),
        ("https://en.org/", "https://en.org/"),
    ]
    assert "".join(parent.itertext()) == "Licence: by CC from x at https://en.org/ and [bad](javascript:alert(1))."


def test_numbers_stand_right_and_digests_in_a_type_of_their_own():
    parent = Element("div")
    table(parent, ["name", "number", "digest"], [["a", 1234, "f" * 64], ["b", None, "1"]])
    cells = [(one.text, one.get("class")) for one in parent.iter("td")]
    assert cells[:3] == [("a", None), ("1,234", "number"), ("f" * 64, "hash")] and cells[4] == ("-", "number")
