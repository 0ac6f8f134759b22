"""The page of `pretune lineage MODEL --html FILE`: a graph of what a version was made from, and tables; stands by itself."""

import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from flows.ancestry import KINDS, STATES, decision_text, mlflow_text, promotion_text, shown, when
from flows.ancestry_graph import Node, graph, nodes_of
from tasks.audit.ancestors import Ancestor, EvaluationSet, SourceFile
from tasks.audit.ancestry import Ancestry, Registered

LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)|(https?://[^\s)]+)")
STYLE = """
:root { --ink: #1b2430; --soft: #5b6776; --line: #d9dfe7; --page: #f5f7fa; --card: #ffffff; --link: #2457c5;
  --version: #6d3fc0; --finetune: #2457c5; --pretrain: #0b7a75; --milestone: #0b7a75; --base: #9a5b13; --prepare: #2f7d32;
  --examples: #7a7d12; --file: #5b6776; --unknown: #b3261e; --bad: #b3261e; --good: #1e7b34; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa7b6; --line: #333d4a; --page: #12171e;
  --card: #1b222c; --link: #82aaff; --version: #b794f6; --finetune: #82aaff; --pretrain: #4fd1c5; --milestone: #4fd1c5;
  --base: #f0a95b; --prepare: #7bd88f; --examples: #d6d85b; --file: #9aa7b6; --unknown: #ff8a80; --bad: #ff8a80;
  --good: #7bd88f; } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em } h2 { font-size: 18px; margin: 40px 0 12px }
h3 { font-size: 16px; margin: 0; overflow-wrap: anywhere } p { margin: 4px 0 } a { color: var(--link) }
.soft { color: var(--soft) } .bad { color: var(--bad) } .good { color: var(--good) }
.chip { display: inline-block; border: 1px solid currentColor; border-radius: 99px; padding: 0 10px; margin-right: 6px;
  font-size: 13px; font-weight: 600 }
.card { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--soft); border-radius: 8px;
  padding: 16px 20px; margin: 14px 0; scroll-margin-top: 12px }
.card:target { outline: 2px solid var(--link) }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 10px; margin: 12px 0 }
.figures div { border-top: 1px solid var(--line); padding-top: 6px } .figures b { display: block; font-size: 17px }
.figures span { color: var(--soft); font-size: 12.5px }
code, .hash { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100%; margin: 10px 0; font-size: 13.5px }
th { text-align: left; color: var(--soft); font-weight: 600 }
th, td { border-bottom: 1px solid var(--line); padding: 5px 12px 5px 0; vertical-align: top; overflow-wrap: anywhere }
td.number, th.number { text-align: right; white-space: nowrap }
details { margin-top: 10px } summary { cursor: pointer; color: var(--soft); font-size: 13.5px }
.graph { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto }
.graph svg { display: block; margin: 0 auto; max-width: 100%; height: auto }
.graph a { text-decoration: none } .graph a:hover rect.box { stroke-width: 2.5 }
ul { margin: 6px 0; padding: 0; list-style: none } li { padding: 1px 0 }
.made { color: var(--soft); font-size: 13px; margin-top: 10px }
@media print { body { background: none } .card { break-inside: avoid } }
"""
MAX_FILES = 200
"""Files that a table lists; the rest is counted."""


def page(ancestry: Ancestry, home: str) -> str:
    nodes = nodes_of(ancestry)
    version = ancestry.version
    top = Element("html", {"lang": "en"})
    head = SubElement(top, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    add(head, "title", f"Lineage of {version.model} version {version.version}")
    add(head, "style", STYLE)
    main = SubElement(SubElement(top, "body"), "main")
    add(main, "h1", f"{version.model}, version {version.version}")
    add(main, "p", f"Where it comes from, by the records of {home}.", "soft")
    describe_version(main, version)
    for note in ancestry.notes:
        add(main, "p", f"Note: {note}", "bad")
    add(main, "h2", "Made from")
    add(main, "p", "Arrows go from what was given to what was made of it. A box leads to its table.", "soft")
    SubElement(main, "div", {"class": "graph"}).append(graph(nodes))
    if ancestry.evaluated_on:
        add(main, "h2", "Evaluated on")
        set_table(main, ancestry.evaluated_on)
    add(main, "h2", "In detail")
    for node in nodes:
        if node.ancestor is not None:
            describe(main, node, node.ancestor)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(top, encoding="unicode", method="html") + "\n"


def add(parent: Element, tag: str, text: str = "", classes: str = "", **attributes: str) -> Element:
    made = SubElement(parent, tag, ({"class": classes} if classes else {}) | attributes)
    made.text = text
    return made


def describe_version(main: Element, version: Registered) -> None:
    card = add(main, "section", "", "card", id="version", style="border-left-color: var(--version)")
    chips = SubElement(card, "p")
    for alias in version.aliases:
        add(chips, "span", alias, "chip good")
    add(chips, "span", f"registered as {version.label}", "soft")
    if version.in_mlflow != "registered":
        add(card, "p", sentence(mlflow_text(version)), "bad")
    figures(card, version.score)
    add(card, "p", sentence(decision_text(version)), "good" if version.decision == "promote" else "")
    if version.reasons:
        reasons = SubElement(card, "ul")
        for reason in version.reasons:
            add(reasons, "li", reason)
    if version.answer:
        add(card, "p", sentence(f"{version.answer.text}, at {when(version.answer.time)}"))
    if version.promoted_at:
        add(card, "p", sentence(promotion_text(version)), "bad" if version.forced_because else "")
    if version.moves:
        rows = [[when(m.time), m.alias, m.from_version, m.to_version, m.by, m.reason] for m in version.moves]
        folded(card, "Moves of its aliases", ["when", "alias", "from version", "to version", "by", "why"], rows)
    add(add(card, "p", "Digest of its manifest: ", "made"), "code", version.digest)


def describe(main: Element, node: Node, one: Ancestor) -> None:
    card = add(main, "section", "", "card", id=node.identity, style=f"border-left-color: var(--{one.kind})")
    add(card, "p", KINDS[one.kind], "soft")
    add(card, "h3", one.name)
    add(card, "p", sentence(STATES[one.stated]), "good" if one.stated == "verified" else "bad")
    if one.said:
        add(card, "p", one.said, "bad")
    if one.taken_from:
        add(card, "p", f"Taken in from {one.taken_from}, licence {one.licence or 'unknown'}.")
    if one.verdict:
        add(card, "p", f"Verdict {one.verdict}" + (f": {one.reason}" if one.reason else "") + ".")
    figures(card, one.numbers)
    if one.dropped:
        folded(card, "What was dropped", ["reason", "number"], [[reason, n] for reason, n in one.dropped.items()])
    if one.sources:
        file_tables(card, one.sources)
    for title, sets in (("Kept out of it", one.evaluated_on), ("Compared with earlier data sets", one.compared_with)):
        if sets:
            add(card, "p", title, "soft")
            set_table(card, sets)
    if one.recipe:
        folded(card, f"Recipe ({len(one.recipe)} settings)", ["setting", "value"], [[k, v] for k, v in one.recipe.items()])
    if one.libraries:
        rows = [[name, version or "not installed"] for name, version in one.libraries.items()]
        folded(card, "Libraries", ["library", "version"], rows)
    made = add(card, "p", "", "made")
    made.text = f"Made at {when(one.made_at)}, code " if one.made_at else "Digest "
    if one.made_at:
        add(made, "code", one.commit or "unknown").tail = ", digest "
    add(made, "code", one.digest)


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def figures(card: Element, numbers: dict[str, float | int | None]) -> None:
    if not numbers:
        return
    box = add(card, "div", "", "figures")
    for name, value in numbers.items():
        cell = SubElement(box, "div")
        add(cell, "b", shown(value))
        add(cell, "span", name.replace("_", " "))


def file_tables(card: Element, sources: tuple[SourceFile, ...]) -> None:
    rows = [[f.source, f.name, f.size_bytes, f.sha256 or f.version] for f in sources[:MAX_FILES]]
    table(card, ["source", "file", "bytes", "SHA-256, or version"], rows)
    if len(sources) > MAX_FILES:
        add(card, "p", f"and {len(sources) - MAX_FILES:,} more files, which --json lists", "soft")
    for terms in dict.fromkeys(file.licence for file in sources if file.licence):
        linked(add(card, "p", "Licence: "), terms)


def linked(parent: Element, text: str) -> None:
    """Markdown's links and plain addresses as links, the rest as text."""
    end, last = 0, None
    for found in LINK.finditer(text):
        before = text[end : found.start()].replace("`", "")
        if last is None:
            parent.text = (parent.text or "") + before
        else:
            last.tail = before
        last = add(parent, "a", found[1] or found[3], href=found[2] or found[3])
        end = found.end()
    rest = text[end:].replace("`", "")
    if last is None:
        parent.text = (parent.text or "") + rest
    else:
        last.tail = rest


def set_table(card: Element, sets: Iterable[EvaluationSet]) -> None:
    rows = [[s.name, s.num_items, s.digest, s.sha256, STATES[s.stated] if s.stated else "read from files"] for s in sets]
    table(card, ["set", "items", "digest", "SHA-256", "state"], rows)


def folded(card: Element, title: str, header: list[str], rows: list[list[Any]]) -> None:
    inside = SubElement(card, "details")
    add(inside, "summary", title)
    table(inside, header, rows)


def table(parent: Element, header: list[str], rows: list[list[Any]]) -> None:
    numeric = [all(isinstance(row[n], int | None) and not isinstance(row[n], bool) for row in rows) for n in range(len(header))]
    made = SubElement(parent, "table")
    top = SubElement(SubElement(made, "thead"), "tr")
    for name, number in zip(header, numeric, strict=True):
        add(top, "th", name, "number" if number else "")
    body = SubElement(made, "tbody")
    for row in rows:
        line = SubElement(body, "tr")
        for value, number in zip(row, numeric, strict=True):
            text = shown(value)
            add(line, "td", text, "number" if number else "hash" if len(text) >= 40 and " " not in text else "")
