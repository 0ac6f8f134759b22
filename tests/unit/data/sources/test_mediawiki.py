"""Pages out of MediaWiki exports: every kind of page, every fault, and the real files against an independent parser."""

import bz2
import io
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest
from lxml import etree

from tasks.data.sources.mediawiki import read_pages
from tasks.record.errors import DataError
from tests.kit.real_data import folder

SITE = (
    '<siteinfo><namespaces><namespace key="-2">Medium</namespace><namespace key="0" />'
    '<namespace key="6">Datei</namespace><namespace key="100">Portal_Diskussion</namespace></namespaces></siteinfo>'
)


def page(title: str = "A", body: str = "<ns>0</ns><id>1</id>", text: str = "some text") -> str:
    return f"<page><title>{title}</title>{body}<revision><text>{text}</text></revision></page>"


def dump(*pages: str, site: str = SITE) -> bytes:
    return f'<mediawiki xml:lang="de">{site}{"".join(pages)}</mediawiki>'.encode()


def read(data: bytes, **options: object) -> tuple[list, Counter[str]]:
    counts: Counter[str] = Counter()
    return list(read_pages(io.BytesIO(data), "dump.xml", counts, **options)), counts


def test_a_page_and_its_site():
    (found,), counts = read(dump(page("Über &amp; unter", "<ns>0</ns><id>7</id>", "1 &lt; 2\n&amp;nbsp;")))
    assert (found.title, found.namespace, found.page_id, found.text) == ("Über & unter", 0, 7, "1 < 2\n&nbsp;")
    assert found.site.language == "de"
    assert {"datei", "medium", "file", "category"} <= found.site.media_names
    assert "talk" not in found.site.media_names
    assert not counts


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (page(body="<ns>1</ns>"), "namespace"),
        (page(body='<ns>0</ns><redirect title="B" />'), "redirect"),
        (page(text="#REDIRECT [[B]]"), "redirect"),
        (page(text=" #redirect:[[B#c]] {{x}}"), "redirect"),
        (page(text="#WEITERLEITUNG [[B]]"), "redirect"),
        (page(text="#перенаправление [[B]]"), "redirect"),
        (page(text="#تغییر_مسیر [[B]]"), "redirect"),
        (page(text="#転送[[B]]"), "redirect"),
        (page(text="  "), "no_text"),
        ("<page><title>A</title><ns>0</ns></page>", "no_text"),
        ('<page><title>A</title><ns>0</ns><revision><text deleted="deleted" /></revision></page>', "no_text"),
        (
            "<page><title>A</title><ns>0</ns><revision><model>wikibase-item</model><text>{}</text></revision></page>",
            "content_model",
        ),
        (page("Datei:X.png", ""), "namespace"),
        (page("portal Diskussion:X", ""), "namespace"),
        (page("User talk:X", ""), "namespace"),
    ],
)
def test_what_is_left_out_and_why(one, reason):
    found, counts = read(dump(one, page("kept")))
    assert [one.title for one in found] == ["kept"]
    assert counts == {reason: 1}


@pytest.mark.parametrize("text", ["# [[B]] is first", "#one two [[B]]", "#1 of many\n[[B]]", "text #REDIRECT [[B]]"])
def test_what_looks_like_a_redirect_and_is_none(text):
    assert len(read(dump(page(text=text)))[0]) == 1


def test_without_ns_and_siteinfo_the_canonical_prefixes_count():
    found, counts = read(dump(page("Category:X", ""), page("Datei:X", ""), page("A: B", ""), site=""))
    assert [one.title for one in found] == ["Datei:X", "A: B"]
    assert counts == {"namespace": 1}


def test_other_namespaces_can_be_asked_for():
    found, _ = read(dump(page(body="<ns>14</ns>"), page()), namespaces=frozenset({14}))
    assert [one.namespace for one in found] == [14]


@pytest.mark.parametrize(
    ("times", "newest"),
    [((None, None, None), 2), (("2001", "2003", "2002"), 1), (("2003", "2002", "2003"), 2)],
)
def test_the_newest_revision_counts_by_time_and_then_by_place(times, newest):
    stamps = [f"<timestamp>{time}</timestamp>" if time else "" for time in times]
    revisions = "".join(f"<revision>{stamp}<text>text {n}</text></revision>" for n, stamp in enumerate(stamps))
    found, _ = read(dump(f"<page><title>A</title><ns>0</ns>{revisions}</page>"))
    assert [one.text for one in found] == [f"text {newest}"]


def test_elements_of_the_same_name_elsewhere_are_not_taken():
    revision = (
        "<revision><id>9</id><contributor><id>8</id><text>no</text></contributor><text>main</text>"
        "<content><role>x</role><model>json</model><text>{}</text></content></revision>"
    )
    upload = "<upload><timestamp>2099</timestamp><text>no</text></upload>"
    found, _ = read(dump(f"<page><title>A</title><ns>0</ns><id>5</id>{revision}{upload}</page>"))
    assert [(one.page_id, one.text) for one in found] == [(5, "main")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings(encoding):
    data = dump(page("Ж", text="Юникод")).decode()
    (found,), _ = read(("\ufeff" * (encoding == "utf-16-le") + data).encode(encoding))
    assert (found.title, found.text) == ("Ж", "Юникод")


def test_what_is_broken_is_said_with_its_place_after_the_pages_before_it():
    whole = dump(page("first"), page("second"))
    for data, message in [
        (whole[:-40], r"dump.xml is no well-formed XML at byte \d+, in page 'second': no element found; the dump is truncated"),
        (whole[:-12], r"at byte \d+, after page 'second': no element found"),
        (
            whole.replace(b"<title>second", b"<title>\xff\xfe"),
            r"at byte \d+, after page 'first': not well-formed \(invalid token\)",
        ),
        (whole.replace(b"</page></media", b"</pages></media"), r"at byte \d+, in page 'second': mismatched tag"),
    ]:
        pages = read_pages(io.BytesIO(data), "dump.xml", Counter())
        titles = []
        with pytest.raises(DataError, match=message):
            for one in pages:
                titles.append(one.title)
        assert titles[0] == "first"
    with pytest.raises(DataError, match="at byte 10: not well-formed"):
        read(b"<mediawiki<")
    with pytest.raises(DataError, match="<ns>x</ns>, no number"):
        read(dump(page(body="<ns>x</ns>")))


def read_on(data: bytes, **options: object) -> tuple[list[str], list[tuple[str, str]]]:
    """Titles, and of each bad spot reason and place."""
    spots: list[tuple[str, str]] = []
    pages = read_pages(
        io.BytesIO(data), "dump.xml", Counter(), refuse=lambda damage: spots.append((damage.reason, damage.place)), **options
    )
    return [one.title for one in pages], spots


FIVE = tuple(page(title) for title in "ABCDE")


@pytest.mark.parametrize("chunk", [7, 64, 1 << 18])
@pytest.mark.parametrize(
    ("broken", "titles", "reason", "words"),
    [
        (FIVE[2].replace("some", "so\x01me"), "ABDE", "invalid_xml", "in page 'C'"),
        (FIVE[2].replace("</page>", ""), "ABDE", "invalid_xml", "in page 'C'"),
        (FIVE[2].replace("</page>", "</pages>"), "ABDE", "invalid_xml", "in page 'C'"),
        (FIVE[2].replace("some", "a & b"), "ABDE", "invalid_xml", "in page 'C'"),
        (FIVE[2].replace("some", "<page>"), "ABDE", "invalid_xml", "in page 'C'"),
        (FIVE[2].replace("<ns>0", "<ns>zero"), "ABDE", "invalid_page", "page 'C'"),
        (FIVE[2].replace("<page>", "<page\x02>"), "ABDE", "invalid_xml", "after page 'B'"),
        (FIVE[2].replace("<page>", "<page "), "ABDE", "invalid_xml", "after page 'B'"),
    ],
)
def test_a_broken_page_is_refused_and_reading_goes_on_at_the_next(monkeypatch, chunk, broken, titles, reason, words):
    monkeypatch.setattr("tasks.data.sources.mediawiki.CHUNK_BYTES", chunk)
    header, body = dump().removesuffix(b"</mediawiki>"), "".join([*FIVE[:2], broken, *FIVE[3:]]).encode() + b"</mediawiki>"
    found, spots = read_on(header + body) if chunk > len(header) else read_on(body, header=header)
    assert "".join(found) == titles
    ((found_reason, place),) = spots
    assert found_reason == reason
    assert words in place


def test_the_place_of_a_bad_spot_is_its_byte_also_after_another_one(monkeypatch):
    monkeypatch.setattr("tasks.data.sources.mediawiki.CHUNK_BYTES", 1000)
    pages = [page(f"T{n}") for n in range(200)]
    for n in (50, 51, 120):
        pages[n] = pages[n].replace("some", "so\x01me")
    data = dump(*pages)
    places = [n for n, byte in enumerate(data) if byte == 1]
    titles, spots = read_on(data, first_offset=10_000)
    assert titles == [f"T{n}" for n in range(200) if n not in (50, 51, 120)]
    assert [place for _, place in spots] == [
        f"byte {10_000 + at}, in page 'T{n}'" for at, n in zip(places, (50, 51, 120), strict=True)
    ]


def test_namespaces_are_known_after_a_bad_spot_too():
    data = dump(page("A"), page("B", text="\x01"), page("Datei:X", ""), page("C"))
    assert read_on(data)[0] == ["A", "C"], "`Datei:` is the name of a namespace in this dump only"


@pytest.mark.parametrize(("cut", "titles"), [(-3, "ABCDE"), (-40, "ABCD"), (-20, "ABCD")])
def test_of_a_dump_that_is_cut_off_all_whole_pages_are_read(cut, titles):
    found, ((reason, place),) = read_on(dump(*FIVE)[:cut])
    assert "".join(found) == titles
    assert reason in ("truncated", "invalid_xml")
    assert place.startswith("byte ")
    assert read_on(dump(*FIVE, site="<siteinfo>\x01</siteinfo>"))[0] == list("ABCDE")
    assert read_on(b"no dump")[1] == [("invalid_xml", "byte 0")]


def test_other_xml_and_entity_bombs_are_refused():
    with pytest.raises(DataError, match=r"dump\.xml is no MediaWiki export: its first element is <rss>"):
        read(b"<rss></rss>")
    bomb = '<!DOCTYPE mediawiki [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + page(text="&b;")
    with pytest.raises(DataError, match="document type declaration"):
        read(bomb.encode())


class History(io.RawIOBase):
    """A dump of one page with very many revisions, made as it is read."""

    def __init__(self, revisions: int) -> None:
        self.parts = self.make(revisions)

    def make(self, revisions: int) -> Iterator[bytes]:
        yield b"<mediawiki><page><title>A</title><ns>0</ns>"
        for n in range(revisions):
            yield b"<revision><timestamp>%08d</timestamp><text>%s</text></revision>" % (n, b"word " * 10_000)
        yield b"</page></mediawiki>"

    def read(self, size: int = -1) -> bytes:
        return next(self.parts, b"")


def test_memory_does_not_grow_with_the_number_of_revisions():
    peaks = []
    for revisions in (20, 200):
        tracemalloc.start()
        assert len(list(read_pages(History(revisions), "history.xml", Counter()))) == 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 3_000_000


def by_lxml(data: bytes) -> tuple[list[tuple[str, int, str]], Counter[str]]:
    """The same, with another parser and the whole tree of a page."""
    pages, counts = [], Counter[str]()
    for _, one in etree.iterparse(io.BytesIO(data), tag="{*}page"):
        revisions = one.findall("{*}revision")
        revision = max(enumerate(revisions), key=lambda item: (item[1].findtext("{*}timestamp"), item[0]))[1]
        text = revision.findtext("{*}text") or ""
        if one.findtext("{*}ns") != "0":
            counts["namespace"] += 1
        elif one.find("{*}redirect") is not None:
            counts["redirect"] += 1
        elif revision.findtext("{*}model") != "wikitext":
            counts["content_model"] += 1
        elif not text.strip():
            counts["no_text"] += 1
        else:
            pages.append((one.findtext("{*}title"), int(one.findtext("{*}id")), text))
        one.clear()
    return pages, counts


def test_every_real_file_agrees_with_lxml():
    root = folder("wikipedia")
    total, kept = Counter[str](), 0
    for file in sorted([*root.rglob("*.xml.bz2"), *root.glob("*.xml")]):
        data = bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()
        found, counts = read(data)
        expected, expected_counts = by_lxml(data)
        assert [(one.title, one.page_id, one.text) for one in found] == expected, file
        assert counts == expected_counts, file
        total, kept = total + counts, kept + len(found)
    assert kept >= 257
    assert total >= Counter(redirect=102, namespace=40, content_model=13)
