"""Holes: places where something stood inside a sentence of wikitext and left nothing where a reader of the page sees text.

    python -m tests.kit.holes [FILE.xml.bz2 ...] [--names]

It shares nothing with the converter: what is inside a sentence is read off the raw page here, and whether a template left
something is seen from outside, by converting its paragraph with it and without it. What renders nothing, or no part of a
sentence (references, notes to editors, anchors, icons), is named in `holes.toml`, from what these templates show.
"""

import argparse
import bz2
import io
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tasks.data.sources.mediawiki import read_pages
from tests.kit.real_data import folder

HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<ref[^<>]*/>|<ref[ >].*?</ref\s*>|<(nowiki|gallery|timeline|imagemap|syntaxhighlight|source|pre|score|"
    r"templatestyles|includeonly|references|mapframe|graph)\b[^<>]*?(?:/>|>.*?</\1\s*>)",
    re.IGNORECASE | re.DOTALL,
)
"""Shown elsewhere or as a block: comments, references, pictures, code."""
FORMULA = re.compile(r"<(math|chem|ce|hiero)\b[^<>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
TABLE = re.compile(r"^[ \t:*#]*\{\|(?:(?!^[ \t:*#]*\{\|).)*?^[ \t]*\|\}(?!\})", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"\[\[[^\[\]|\n]*\.(?:jpe?g|png|gif|svg|tiff?|webp|og[gv]|webm|mp3)\s*[|\]]", re.IGNORECASE)
BRACES = re.compile(r"\{\{+|\}\}+")
WORD = re.compile(r"[^\W\d_]+")
SENTENCE_END = re.compile(r"[.!?…։؟۔।]+[\"'”’»)\]]*(?=\s|$)|[。！？]", re.MULTILINE)
WIDE = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Scripts that put no spaces between words."""
LEAST_WORDS = 4
"""A line with fewer words outside of templates is no sentence: a title, a caption, an entry of a list."""


@dataclass
class Found:
    sentences: int = 0
    holes: list[tuple[str, str]] = field(default_factory=list)
    """Name of the template and its paragraph, with the template between ⟦ and ⟧."""
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    """Those whose text is not on the page: populations and the like, from other pages."""

    @property
    def per_thousand(self) -> float:
        return 1000 * len(self.holes) / max(1, self.sentences)


def blanked(pattern: re.Pattern[str], text: str) -> str:
    """Without what matches, again and again where it nests."""
    while True:
        shorter = pattern.sub("", text)
        if shorter == text:
            return text
        text = shorter


def templates(text: str) -> list[tuple[int, int, int]]:
    """Begin, end and depth (0: in no other) of the templates of a text, in order; what is not closed is none."""
    found, opened = [], list[int]()
    for match in BRACES.finditer(text):
        at, run = match.start(), len(match.group())
        if match.group()[0] == "{":
            opened += [at + 2 * n + run % 2 for n in range(run // 2)]
        else:
            for n in range(min(run // 2, len(opened))):
                found.append((opened.pop(), at + 2 * n + 2, len(opened)))
    return sorted(found)


def name_of(template: str) -> str:
    """`As_of` of `{{As_of|2009}}`, `#if:` of a parser function."""
    if template[0] == "<":
        return "<formula>"
    inner = template[2:-2].strip()
    named = re.match(r"#?[^|{}\n:]*:?", inner)
    name = named.group() if named else ""
    if not name.endswith(":") or "|" in name:
        name = re.split(r"[|{}\n]", inner)[0]
    return re.sub(r"[\s_]+", " ", name).strip().lower()


def words(text: str) -> int:
    return len(WORD.findall(text)) + len(WIDE.findall(text)) // 2


def kept_letters(text: str) -> str:
    return "".join(text.split())


def shows_more(text: str, other: str) -> bool:
    """Whether a text has a character, or a space between words, more often than another one."""
    return bool(Counter(" ".join(text.split())) - Counter(" ".join(other.split())))


def paragraph(text: str, begin: int, end: int) -> tuple[int, int]:
    """The lines that text[begin:end] stands in."""
    return text.rfind("\n", 0, begin) + 1, text.find("\n", end) if "\n" in text[end:] else len(text)


def is_sentence(line: str) -> bool:
    """Whether a paragraph is prose, looked at without its templates."""
    found = templates(line)
    for begin, end, depth in reversed(found):
        if depth == 0:
            line = line[:begin] + line[end:]
    line = re.sub(r"\[\[[^\[\]|]*\|([^\[\]]*)\]\]", r"\1", line)
    line = re.sub(r"\[\[[^\[\]|]+:[^\[\]|]*\]\]", "", line).strip()  # A category.
    return not line.startswith(("=", "|", "!", "{", "}", "[[File:", "[[Image:")) and words(line) >= LEAST_WORDS


def candidates(page: str) -> Iterator[tuple[int, int]]:
    """Templates and formulas inside sentences."""
    formulas = [(match.start(), match.end(), 0) for match in FORMULA.finditer(page)]
    found = [one for one in templates(page) if not any(begin < one[0] < end for begin, end, _ in formulas)] + formulas
    for begin, end, depth in sorted(found):
        first, last = paragraph(page, begin, end)
        around = page[first:begin] + page[end:last]
        if depth == 0 and page.count("\n", begin, end) < 3 and is_sentence(page[first:last]) and around.strip(" *#:;'\""):
            yield begin, end


def inner_templates(template: str) -> list[tuple[int, int]]:
    return [(begin, end) for begin, end, depth in templates(template) if depth == 1]


def without_pictures(text: str) -> str:
    """Links to files are taken out, with their captions, which may have links."""
    parts, opened, end = [], list[int](), 0
    for match in re.finditer(r"\[\[|\]\]", text):
        if match.group() == "[[":
            opened.append(match.start())
        elif opened:
            begin = opened.pop()
            if begin >= end and not any(PICTURE.match(text, start) for start in opened) and PICTURE.match(text, begin):
                parts.append(text[end:begin])
                end = match.end()
    return "".join([*parts, text[end:]])


def holes(raw: str, convert: Callable[[str], str], renders_nothing: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Name and paragraph of each hole of a page."""
    page = without_pictures(blanked(TABLE, HIDDEN.sub("", raw)))
    text = kept_letters(convert(raw))
    for begin, end in candidates(page):
        first, last = paragraph(page, begin, end)
        whole = page[first:last]
        if renders_nothing(page[begin:end]):
            continue
        shown = convert(whole)
        if kept_letters(shown)[:40] not in text:
            continue  # In a section that is left out as a whole.
        for start, stop in [(begin, end), *((begin + b, begin + e) for b, e in inner_templates(page[begin:end]))]:
            if renders_nothing(page[start:stop]):
                continue
            without = convert(page[first:start] + page[stop:last])
            if not shows_more(shown, without):
                yield name_of(page[start:stop]), f"{page[first:start]}⟦{page[start:stop]}⟧{page[stop:last]}"
                if start == begin:
                    break


@cache
def listed() -> tuple[frozenset[str], frozenset[str], tuple[re.Pattern[str], ...]]:
    """Names of templates that show nothing, of those whose text is on other pages, and patterns of the former."""
    named = tomllib.loads(Path(__file__).with_name("holes.toml").read_text(encoding="utf-8"))
    nothing = {name for group in named["names"].values() for name in re.split(r"[|\n]", group)}
    elsewhere = frozenset(re.split(r"[|\n]", named["elsewhere"]["names"]))
    return frozenset(nothing), elsewhere, tuple(map(re.compile, named["without_arguments"]["patterns"]))


def renders_nothing(template: str) -> bool:
    """Whether what stands there shows no part of a sentence."""
    names, _, patterns = listed()
    name = name_of(template)
    return not name or name in names or ("|" not in template and any(pattern.fullmatch(name) for pattern in patterns))


def dumps() -> list[Path]:
    """The samples of all languages, and the head of the English Wikipedia."""
    root = folder("wikipedia")
    return [*sorted((root / "minidumps").glob("*.xml.bz2")), root / "enwiki-20160422-pages-articles-sample.xml.bz2"]


def count(file: Path) -> Found:
    from tasks.data.wikitext.convert import wikitext_to_text

    found, elsewhere = Found(), listed()[1]
    for page in read_pages(io.BytesIO(bz2.decompress(file.read_bytes())), file.name, Counter()):

        def convert(text: str, names: frozenset[str] = page.site.media_names, language: str = page.site.language) -> str:
            return wikitext_to_text(text, names, language)

        found.sentences += len(SENTENCE_END.findall(convert(page.text)))
        for hole in holes(page.text, convert, renders_nothing):
            inner = hole[1][hole[1].index("⟦") + 1 : hole[1].index("⟧")]
            names = {name_of(inner[begin:end]) for begin, end, _ in templates(inner)}
            (found.elsewhere if names & elsewhere else found.holes).append(hole)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--names", action="store_true")
    arguments = parser.parse_args()
    print("| sample | sentences | holes | holes per 1,000 | of other pages |\n| --- | ---: | ---: | ---: | ---: |")
    for file in arguments.files or dumps():
        found = count(file)
        numbers = f"{found.sentences:,} | {len(found.holes):,} | {found.per_thousand:.1f} | {len(found.elsewhere):,}"
        print(f"| {file.name.split('.')[0]} | {numbers} |", flush=True)
        if arguments.names:
            for name, where in found.holes:
                at = where.index("⟦")
                print(f"    {name}: {where[max(0, at - 60) : at + 140]!r}")


if __name__ == "__main__":
    main()
