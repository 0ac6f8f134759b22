"""Pages out of a MediaWiki XML export (schemas 0.3 to 0.11), in memory that does not grow with the dump.

The export format is described at https://www.mediawiki.org/wiki/Help:Export. One expat parser reads the stream; of a page with
many revisions only the newest text so far is held. Cutting a dump into parts is `tasks.data.sources.mediawiki_ranges`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from xml.parsers import expat

from tasks.data.sources.mediawiki_ranges import LONGEST_PATTERN, PAGE_START
from tasks.record.errors import DamagedError, DataError

CHUNK_BYTES = 1 << 18
MAX_TEXT_CHARACTERS = 64 << 20
"""A longer page is refused: it would have to be held in memory. MediaWiki's own limit is 2 MiB."""
ARTICLES = frozenset({0})
NO_ELEMENT = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]
"""What expat says where the document ends before its last element does."""
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
        """Bytes that were fed and are not counted in places: the header, less what of the stream came before."""
        self.resume_at = 0
        """Byte of the stream from which on the next page is looked for, where it is broken."""
        self._path: list[str] = []
        self._parts: list[str] = []
        self._size = self._collected = 0
        self._title = self._page_id = self._namespace = self._key = self.last_title = ""
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
            reason = "truncated" if error.code == NO_ELEMENT else "invalid_xml"
            raise self._broken(self._expat.ErrorByteIndex, expat.ErrorString(error.code), reason) from None

    def take(self) -> list[Page]:
        """The pages found since the last time."""
        pages, self.pages = self.pages, []
        return pages

    def _broken(self, index: int, what: str, reason: str = "invalid_xml") -> DamagedError:
        """What is wrong at a byte of what was fed."""
        at = max(0, index - self.fed)
        self.resume_at = at + 1
        inside = self._title if "page" in self._path[:2] else ""
        page = f", in page {inside!r}" if inside else f", after page {self.last_title!r}" if self.last_title else ""
        place = f"byte {at}{page}"
        problem = f"is no well-formed XML at {place}: {what}"
        remedy = "the dump is truncated or damaged: fetch it again"
        return DamagedError(f"{self.where} {problem}; {remedy}", reason, place, problem)

    def _bad_page(self, problem: str, remedy: str) -> DamagedError:
        self.resume_at = self._expat.CurrentByteIndex - self.fed + 1
        place = f"page {self._title!r}"
        return DamagedError(f"{self.where} {place} {problem}; {remedy}", "invalid_page", place, problem)

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
                elif name == "page":
                    inside = self._broken(self._expat.CurrentByteIndex, "a page begins inside of another one")
                    self.resume_at -= 1
                    raise inside
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
            raise self._bad_page(
                f"is longer than {MAX_TEXT_CHARACTERS} characters, far beyond MediaWiki's own limit", "remove it from the dump"
            )

    def _reads_text(self) -> bool:
        """Whether a page's text will be looked at: not for namespaces that are dropped, nor for known redirects."""
        return not self._redirect and self._number() in self.wanted

    def _number(self) -> int:
        try:
            return int(self._namespace) if self._namespace else self.site.namespace_of(self._title)
        except ValueError:
            raise self._bad_page(f"has <ns>{self._namespace}</ns>, no number", "mend it") from None

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
        self.last_title = self._title
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


def ended(damage: DamagedError) -> None:
    raise damage


def read_pages(
    stream: BinaryIO,
    where: str,
    counts: Counter[str],
    namespaces: frozenset[int] = ARTICLES,
    header: bytes = b"",
    ends: bool = True,
    first_offset: int = 0,
    refuse: Callable[[DamagedError], None] = ended,
) -> Iterator[Page]:
    """The pages of `namespaces` in a decompressed export, each with the text of its newest revision.

    Pages that are left out are counted by reason: "namespace", "redirect", "content_model" (not wikitext), "no_text" (deleted,
    missing or blank). For a part of a dump `header` is what `read_header` gave (nothing for the first part), and `ends` says
    whether the part holds the end of the dump. Byte offsets in messages count on from `first_offset`, where `stream` begins.

    Where the XML is malformed or truncated `refuse` gets a DamagedError, which it raises or not; reading then goes on at the
    next page tag. Raises DataError, after the pages before the place, for a document type (so no entity can be defined) and for
    what is no MediaWiki export.
    """
    parser = PageParser(where, counts, namespaces)
    parser.feed(header)
    parser.fed = len(header) - first_offset
    end, tail = first_offset, b""
    while data := stream.read(CHUNK_BYTES):
        if not header and end == first_offset:
            header = before_pages(data)
        end += len(data)
        while data:
            try:
                parser.feed(data)
                tail, data = data[-LONGEST_PATTERN:], b""
            except DamagedError as damage:
                yield from parser.take()
                refuse(damage)
                data, end = next_page_tag(stream, tail + data, end, parser.resume_at)
                if not data:
                    return
                parser, tail = resumed(parser, header, end - len(data)), b""
            finally:
                yield from parser.take()
    try:
        if not ends and parser.depth == 1:
            parser.feed(b"</mediawiki>")
        parser.feed(b"", last=True)
    except DamagedError as damage:
        refuse(damage)


def before_pages(data: bytes) -> bytes:
    """What of the beginning of an export stands before its first page; nothing where there is none."""
    found = PAGE_START.search(data)
    return data[: found.start()] if found else b""


def next_page_tag(stream: BinaryIO, data: bytes, end: int, place: int) -> tuple[bytes, int]:
    """What was read from the first page tag at or behind a place of the stream on, and where it ends; nothing if there is none.

    `data` are the last bytes that were read, up to `end`.
    """
    while (found := PAGE_START.search(data, max(0, len(data) - (end - place)))) is None:
        more = stream.read(CHUNK_BYTES)
        if not more:
            return b"", end
        data, end = data[-LONGEST_PATTERN:] + more, end + len(more)
    return data[found.start() :], end


def resumed(parser: PageParser, header: bytes, place: int) -> PageParser:
    """A parser that goes on at a page tag at `place` of the stream, as if the header stood before it."""
    for before in (header, b"<mediawiki>"):
        again = PageParser(parser.where, parser.counts, parser.wanted)
        try:
            again.feed(before)
        except DamagedError:
            continue  # it is the header that is broken
        if again.depth == 1:
            break
    again.fed, again.last_title = len(before) - place, parser.last_title
    return again
