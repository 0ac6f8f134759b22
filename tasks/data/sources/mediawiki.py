"""Pages out of a MediaWiki XML export (schemas 0.3 to 0.11), in memory that does not grow with the dump.

The export format is described at https://www.mediawiki.org/wiki/Help:Export. One expat parser reads the stream; of a page with
many revisions only the newest text so far is held. Cutting a dump into parts is `tasks.data.sources.mediawiki_ranges`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from tasks.record.errors import DataError

CHUNK_BYTES = 1 << 18
MAX_TEXT_CHARACTERS = 64 << 20
"""A longer page is refused: it would have to be held in memory. MediaWiki's own limit is 2 MiB."""
ARTICLES = frozenset({0})
MEDIA, FILE, CATEGORY = -2, 6, 14
"""Namespaces whose links show no text (https://www.mediawiki.org/wiki/Help:Namespaces)."""
CANONICAL_NAMESPACES = {
    "media": MEDIA, "special": -1, "talk": 1, "user": 2, "user talk": 3, "project": 4, "project talk": 5, "file": FILE,
    "file talk": 7, "image": FILE, "image talk": 7, "mediawiki": 8, "mediawiki talk": 9, "template": 10, "template talk": 11,
    "help": 12, "help talk": 13, "category": CATEGORY, "category talk": 15,
}  # fmt: skip
"""Names that every wiki knows, whatever its language."""
REDIRECT = re.compile(r"\s*#[^\s\[\]{}<>#*:;|]+\s*:?\s*\[\[[^\[\]\n]+\]\]")
"""`#REDIRECT [[Target]]`: the word is another one in every language, its form is not."""


@dataclass
class Site:
    """What `<siteinfo>` says; `namespaces` maps lower-cased names to numbers and always has the canonical ones."""

    language: str = ""
    namespaces: dict[str, int] = field(default_factory=lambda: dict(CANONICAL_NAMESPACES))

    def namespace_of(self, title: str) -> int:
        """The namespace that a title's prefix names, 0 where it names none."""
        prefix, colon, _ = title.partition(":")
        return self.namespaces.get(prefix.replace("_", " ").strip().lower(), 0) if colon else 0

    @property
    def media_names(self) -> frozenset[str]:
        """Lower-cased names of the namespaces whose links show no text: media, files and categories."""
        return frozenset(name for name, number in self.namespaces.items() if number in (MEDIA, FILE, CATEGORY))


@dataclass(frozen=True)
class Page:
    title: str
    namespace: int
    page_id: int
    text: str
    site: Site


@dataclass
class Revision:
    timestamp: str = ""
    model: str = "wikitext"
    text: str = ""


class PageParser:
    """Takes the bytes of an export in pieces of any size, collects the pages that each piece completes.

    Only elements at their own place in the tree are read: a `<timestamp>` of an `<upload>`, or the `<text>` of a `<content>`
    slot other than the main one (schema 0.11), is not taken for the revision's.
    """

    def __init__(self, where: str, counts: Counter[str], namespaces: frozenset[int]) -> None:
        self.where, self.counts, self.wanted = where, counts, namespaces
        self.site, self.pages = Site(), list[Page]()
        self.fed = 0
        self._path: list[str] = []
        self._parts: list[str] = []
        self._size = self._collected = 0
        self._title = self._page_id = self._namespace = self._key = self._last_title = ""
        self._redirect = False
        self._newest: Revision | None = None
        self._revision = Revision()
        self._expat = expat.ParserCreate()
        self._expat.buffer_text, self._expat.buffer_size = True, 1 << 16
        self._expat.StartElementHandler, self._expat.EndElementHandler = self._start, self._end
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype

    @property
    def depth(self) -> int:
        """Number of elements that are open."""
        return len(self._path)

    def feed(self, data: bytes, last: bool = False) -> None:
        """Put the pages that end in `data` into `pages`; raises DataError where the XML is broken."""
        try:
            self._expat.Parse(data, last)
        except expat.ExpatError as error:
            raise DataError(
                f"{self.where} is no well-formed XML at {self._place()}: {expat.ErrorString(error.code)}; "
                "the dump is truncated or damaged: fetch it again"
            ) from None

    def take(self) -> list[Page]:
        """The pages found since the last time."""
        pages, self.pages = self.pages, []
        return pages

    def _place(self) -> str:
        inside = self._title if "page" in self._path[:2] else ""
        page = f", in page {inside!r}" if inside else f", after page {self._last_title!r}" if self._last_title else ""
        return f"byte {max(0, self._expat.ErrorByteIndex - self.fed)}{page}"

    def _refuse_doctype(self, name: str, *rest: object) -> None:
        raise DataError(
            f"{self.where} has a document type declaration ({name!r}), which no MediaWiki export has; remove the file"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        path.append(name)
        depth = len(path)
        if depth == 1:
            if name != "mediawiki":
                raise DataError(
                    f"{self.where} is no MediaWiki export: its first element is <{name}>, not <mediawiki>; remove it"
                )
            self.site.language = attributes.get("xml:lang", "")
        elif path[1] == "page":
            if depth == 2:
                self._title = self._page_id = self._namespace = ""
                self._redirect, self._newest = False, None
            elif depth == 3:
                if name == "revision":
                    self._revision = Revision()
                elif name == "redirect":
                    self._redirect = True
                elif name in ("title", "ns", "id"):
                    self._collect()
            elif (
                depth == 4
                and path[2] == "revision"
                and (name in ("timestamp", "model") or (name == "text" and self._reads_text()))
            ):
                self._collect()
        elif name == "namespace" and depth == 4:
            self._key = attributes.get("key", "")
            if self._key.removeprefix("-").isdecimal():
                self._collect()

    def _collect(self) -> None:
        self._parts, self._size, self._collected = [], 0, len(self._path)
        self._expat.CharacterDataHandler = self._characters

    def _characters(self, data: str) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_TEXT_CHARACTERS:
            raise DataError(
                f"{self.where} page {self._title!r} is longer than {MAX_TEXT_CHARACTERS} characters, far beyond MediaWiki's "
                "own limit; remove it from the dump"
            )

    def _reads_text(self) -> bool:
        """Whether a page's text will be looked at: not for namespaces that are dropped, nor for known redirects."""
        return not self._redirect and self._number() in self.wanted

    def _number(self) -> int:
        try:
            return int(self._namespace) if self._namespace else self.site.namespace_of(self._title)
        except ValueError:
            raise DataError(f"{self.where} page {self._title!r} has <ns>{self._namespace}</ns>, no number; mend it") from None

    def _end(self, name: str) -> None:
        depth = len(self._path)
        if depth == self._collected:
            self._expat.CharacterDataHandler, self._collected = None, 0
            self._take(name, depth, "".join(self._parts))
        elif depth == 3 and name == "revision":
            # Of equal (or no) timestamps the one that comes later counts.
            if self._newest is None or self._revision.timestamp >= self._newest.timestamp:
                self._newest = self._revision
        elif depth == 2 and name == "page":
            self._finish_page()
        self._path.pop()

    def _take(self, name: str, depth: int, value: str) -> None:
        if depth == 4:
            if name == "text":
                self._revision.text = value
            elif name == "timestamp":
                self._revision.timestamp = value.strip()
            elif name == "model":
                self._revision.model = value.strip()
            elif value:
                self.site.namespaces[value.strip().replace("_", " ").lower()] = int(self._key)
        elif name == "title":
            self._title = value
        elif name == "ns":
            self._namespace = value.strip()
        else:
            self._page_id = value.strip()

    def _finish_page(self) -> None:
        self._last_title = self._title
        newest = self._newest or Revision()
        number = self._number()
        if number not in self.wanted:
            self.counts["namespace"] += 1
        elif self._redirect or REDIRECT.match(newest.text):
            self.counts["redirect"] += 1
        elif newest.model != "wikitext":
            self.counts["content_model"] += 1
        elif not newest.text.strip():
            self.counts["no_text"] += 1
        else:
            page_id = int(self._page_id) if self._page_id.isdecimal() else 0
            self.pages.append(Page(self._title, number, page_id, newest.text, self.site))
        self._newest = None


def read_pages(
    stream: BinaryIO,
    where: str,
    counts: Counter[str],
    namespaces: frozenset[int] = ARTICLES,
    header: bytes = b"",
    ends: bool = True,
) -> Iterator[Page]:
    """The pages of `namespaces` in a decompressed export, each with the text of its newest revision.

    Pages that are left out are counted by reason: "namespace", "redirect", "content_model" (not wikitext), "no_text" (deleted,
    missing or blank). For a part of a dump `header` is what `read_header` gave (nothing for the first part), and `ends` says
    whether the part holds the end of the dump. Byte offsets in messages count from where `stream` begins.

    Raises DataError, after the pages before the place, where the XML is malformed or truncated, has a document type (so no
    entity can be defined), or is no MediaWiki export.
    """
    parser = PageParser(where, counts, namespaces)
    parser.feed(header)
    parser.fed = len(header)
    while data := stream.read(CHUNK_BYTES):
        try:
            parser.feed(data)
        finally:
            yield from parser.take()
    if not ends and parser.depth == 1:
        parser.feed(b"</mediawiki>")
    parser.feed(b"", last=True)
