"""Wikitext becomes prose: each rule by example, unbalanced and hostile input, and all real pages."""

import bz2
import io
import re
from collections import Counter

import numpy as np
import pytest

from tasks.data.sources.mediawiki import read_pages
from tasks.data.wikitext.convert import wikitext_to_text
from tests.kit.real_data import folder


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # Quotes
        ("'''Bold''', ''italic'' and '''''both'''''", "Bold, italic and both"),
        ("it's l'''opera'' again", "it's l'opera again"),
        ("l'''opera'' '''Aida'''", "l'opera Aida"),
        ("''''quoted''''", "'quoted'"),
        # Links
        ("[[target|text]] and [[target]]s, [[#part]]", "text and targets, part"),
        ("[[Page (thing)|]] and [[w:Name|]]", "Page and Name"),
        ("[[:Category:Plants]] [[wikt:word]] [[wikt:word|said]]", "Category:Plants word said"),
        ("a[[File:x.png|thumb|A [[link|caption]] with [http://a.b c]]] b", "a b"),
        ("a [[Datei:x|mini]][[Файл:y.jpg]] [[категория:Z]] [[Kuva:Anything.svg|thumb]] b", "a b"),
        ("a [[Unbekannt:some.jpeg|px]] b", "a b"),
        ("a [[de:Anders]] [[zh-min-nan:X]] [[simple:Y]] b [[de:Anders|otherwise]]", "a b otherwise"),
        ("[[File:a.jpg|thumb|[[b]]]]x [[A|[b]]] and [see [[B]]] [sic]", "x [b] and [see B] [sic]"),
        ("[[unclosed\nnext]] line [[too", "unclosed\nnext line too"),
        ('so-called "[[target\n|laws]]", which stay', 'so-called "laws", which stay'),
        ("[http://a.b/c?d the site], [//e.f g] and [mailto:a@b.c]", "the site, g and"),
        ("[http://a.b/c] x [[https://a.b|c]] y", "x |c y"),
        ("see http://a.b/c. Then (https://d.e/f) go", "see. Then go"),
        ("ratio 3:4 and HTTP://", "ratio 3:4 and"),
        # Braces
        ("a {{x|{{y|}}|[[z|}}]]}} b{{{1|c}}} {{{{{n}}}|m}}", "a b"),
        ("{{Infobox\n| a = {{b}}\n| c = [[d]]\n|}}\nText", "Text"),
        ("A {{unclosed text [[link]] }and more", "A unclosed text link }and more"),
        ("stray }} and {{ more", "stray and more"),
        ("set {1, 2} and {|x|} too", "set {1, 2} and x too"),
        ("-{zh-hans:软件; zh-hant:軟體}-很-{好}--{H|zh:a}-", "软件很好"),
        # Templates whose text is kept
        ("{{lang|de|Wort}} ({{lang-fr|mot}})", "Wort (mot)"),
        ("{{convert|5|km|mi|0}}, {{cvt|5|to|10|kg|lb}}, {{Convert|3|x|4|m}}", "5 km, 5 to 10 kg, 3 x 4 m"),
        ("{{nowrap|a [[b|c]] {{lang|x|d}}}} {{nowrap|1=e=f}}", "a c d e=f"),
        ("{{val|5.2|u=km}} {{frac|1|2}} {{chem|H|2|O}}", "5.2 km 1/2 H2O"),
        ("{{As of|2009|3}} {{circa|1900}} {{c.}}", "As of 2009 c. 1900 c."),
        ("{{nihongo|Tokyo|東京|Tōkyō}}{{mdash}}x{{'s}}{{snd}}y", "Tokyo (東京, Tōkyō)—x's – y"),
        ("{{formatnum:1234}} {{#if:a|b}} {{lc:X}}", "1234"),
        ("5.98{{e|24}} kg, 3{{E|−20}} g, {{val|1.2|e=6|u=kg}}", "5.98×10^24 kg, 3×10^−20 g, 1.2×10^6 kg"),
        ("{{val|u=m|e=-3|123456789}}", "123456789×10^-3 m"),
        ("{{e|x}}{{e|}}{{e|+}}a {{w|target|text}} {{w|target}} {{vr|a}} ({{nowrap|{{x}}}} b)", "a text target a (b)"),
        ("au {{s|XII}}, {{sp|XVII|e|XVIII|e}}, {{s|film}}{{s|}}b", "au XII, XVII – XVIII, b"),
        # Names that are unknown, of one letter too
        ("The abbey was founded in 1700{{r|smith}} by monks", "The abbey was founded in 1700 by monks"),
        ("{{S|film drammatici}}\nThe film was shot in Rome.", "The film was shot in Rome."),
        ("<u>a</u>b <n> and <m>, <t> too, a<b. <br/>c", "ab <n> and <m>, <t> too, a<b.\nc"),
        ("Visit <a href='x'>this page</a> now", "Visit this page now"),
        ("end\n[[ar:A]]\n[[bg:A]]\n[[hu:A]]\n[[it:A]]\n[[lt:A]]\n[[sl:A]]\n[[ur:A]]", "end"),
        # What dropped templates leave behind
        ("Foo ({{box}}) is, bar ( {{x}}, {{y}} ; {{z}} ) ,{{w}}, end {{v}}.", "Foo is, bar, end."),
        ("Bar ({{x}}; 5 May 1900 – {{y}}) was", "Bar (5 May 1900 –) was"),
        ("C ({{b}} – {{d}}) and 柏林（{{x}}）是", "C and 柏林是"),
        ("call f() and (a , b) stay", "call f() and (a , b) stay"),
        # Tables
        ("a\n{| class=x\n|-\n| b {{c}}\n{| nested\n| d\n|}\n|}\ne", "a\n\ne"),
        ("a\n{|\n| cell {{x\n|}\nb", "a\n\nb"),
        ("a\n:{|\n|b\n|}\n{{box|\n{|\n|c\n|}}}\nd", "a\n\nd"),
        ("a\n{|\n|-\n! h || i\n| never closed\n\nb", "a\n\nb"),
        ("a <table><tr><td>b<table>c</table></td></tr></table> d", "a d"),
        # A `|` that begins a line of text, and what is left of a broken table or template
        ("a\n|begins a line of [[the|text]] outside of a table.\nb", "a\nbegins a line of text outside of a table.\nb"),
        ("a\n| x || y of a row\n| name = 1 and so on\n|-\n|}\n| style=b | c d e\nf", "a\n\nf"),
        # Tags
        ("a<ref>b [[c]] {{d}}</ref>, e<ref name=x/> f<REF group='g'>h</Ref >.", "a, e f."),
        ("a<ref name=x>never closed. b<ref>c</ref> d</ref>", "anever closed. b d"),
        ("a<references><ref>b</ref></references><!-- c -->d", "ad"),
        ("a\n<!-- alone -->\nb<!-- open", "a\nb"),
        ("x<br>y<br />z H<sub>2</sub>O m<sup>2</sup>", "x\ny\nz H2O m2"),
        ("<p>a</p><blockquote>b</blockquote><small>c</small> <span style='x'>d</span>", "a\n\nb\n\nc d"),
        ("a <math>x^2 {{y}}</math> b<gallery>\nx.jpg|c\n</gallery>d<pre>e</pre>", "a x^2 y bd"),
        ("<syntaxhighlight lang=c>int x;</syntaxhighlight>a <syntaxhighlight lang=c inline>b{c}</syntaxhighlight>", "a b{c}"),
        ("<nowiki>'''[[a|b]]'''</nowiki> <nowiki/>c <nowiki>{{d}}</nowiki>", "'''[[a|b]]''' c {d}"),
        ("1 < 2, <3, <unknown>x</unknown>, <stdio.h>", "1 < 2, <3, <unknown>x</unknown>, <stdio.h>"),
        # Characters
        ("a&nbsp;b &amp; c &lt;d&gt; &#8364;&#x20AC; &eacute;", "a b & c <d> €€ é"),
        ("&amp;nbsp;e &amp;lt;f &shy;g&thinsp;h", "e <f g\u2009h"),
        ("&unknown; &; R&D AT&T; &#xZZ; &#1114112;", "&unknown; &; R&D AT&T;"),
        ("__NOTOC__a__KEIN_INHALTSVERZEICHNIS__ __БЕЗ_ОГЛ__ snake_case __init__", "a snake_case __init__"),
        ("a\u00a0 \t b   \n c \x00\x01\x10d\r\n", "a b\nc d"),
        # Lines
        ("* a\n** b\n# c\n; d : e\n::f\n----\ng", "a\nb\nc\nd : e\nf\ng"),
        ("a\n\n\n\nb\nc\n*\n* {{x}}\n* .\nd", "a\n\nb\nc\nd"),
        ("", ""),
        ("{{x}}\n\n", ""),
    ],
)  # fmt: skip
def test_rules(wikitext, text):
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("lead\n== A ==\ntext\n=== [[B]] ===\n{{x}}\n== C ==\n=== D ===\nmore\n", "lead\n\nA\n\ntext\n\nC\n\nD\n\nmore"),
        ("== A ==\n=== B ===\n==== C ====\n== D ==\nx", "D\n\nx"),
        ("lead\n==See also==\n* [[a]]\n* [[b]], c\n==References==\n{{reflist}}\n==External links==\n* [http://a b]", "lead"),
        ("lead\n==Further reading==\n* A book, 1999\n==Notes==\nThis is prose.", "lead\n\nNotes\n\nThis is prose."),
        ("lead\n==Werke==\n* [[a]]\n* [[b]]\n==Leben==\nx\n==Mehr==\n* [[c]]", "lead\n\nWerke\n\na\nb\n\nLeben\n\nx"),
        ("lead\n==Films==\n* ''Name of it'' ([[1999]]), with others", "lead\n\nFilms\n\nName of it (1999), with others"),
        ("X may be:\n* [[a]]\n* [[b]]", "X may be:\na\nb"),
        (
            "lead\n== C ==\n* Cat: an animal\n== E ==\n* Elephant: another",
            "lead\n\nC\n\nCat: an animal\n\nE\n\nElephant: another",
        ),
        ("Alphabet.\n\n== B ==\n* Bear: an animal.\n\n== Zz ==\nEnd.", "Alphabet.\n\nB\n\nBear: an animal.\n\nZz\n\nEnd."),
        ("lead\n; A\n{|\n| x\n|}\n; B\ntext\n; C\n; D\n== E ==\n; F\n{{x|y}}", "lead\n\nB\ntext\nC\nD"),
        ("a\n==\n=x=\nb\n====== y ======\nc\n= =\nd", "a\n\nx\n\nb\n\ny\n\nc\n\nd"),
    ],
)
def test_sections(wikitext, text):
    assert wikitext_to_text(wikitext) == text


def test_names_of_the_dump_are_dropped_too():
    assert wikitext_to_text("a [[Xyz:b]] [[xyz:c|d]]", frozenset({"xyz"})) == "a"
    assert wikitext_to_text("a [[Xyz:b]]") == "a Xyz:b"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Ier siècle, XIXe siècle, XVIIe – XVIIIe siècle, b"),
        ("it", "I, XIX, XVII – XVIII,"),
        ("", "I, XIX, XVII – XVIII, b"),
    ],
)
def test_some_templates_mean_something_else_in_one_language(language, text):
    wikitext = "{{s|I}}, {{s-|XIX|e}}, {{sp|XVII|e|XVIII|e}}, {{w|a|b}}"
    assert wikitext_to_text(wikitext, language=language) == text


def test_text_that_is_longer_than_its_template_has_room():
    numerals = "{{nowrap|" + "{{sp|I|V}}" * 20_000 + "}}"
    assert wikitext_to_text(numerals, language="fr") == "Ier – Ve siècle" * 20_000


def test_lone_surrogates_are_left_out():
    assert wikitext_to_text("a\ud83d b") == "a b"


MARKS = [
    "{{", "}}", "[[", "]]", "{|", "\n|}", "<ref>", "</ref>", "<table>", "</table>", "<gallery>", "<!--", "'''", "&amp;",
    "[http://a ", "{{nowrap|", "[[File:a|", "-{", "\n==", "(", " ", "__", "[[a|", "{{convert|", "\n* ", "http://", "|", "=",
]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
def test_a_megabyte_of_one_mark_and_of_its_neighbours_is_no_trouble(mark):
    follower = MARKS[(MARKS.index(mark) + 1) % len(MARKS)]
    for unit in (mark, mark + "x", mark + follower):
        text = wikitext_to_text(unit * (1_000_000 // len(unit)) + "\nend")
        assert not re.search(r"\{\{|\}\}|\{\||\|\}", text)
    nested = wikitext_to_text("a " + "{{x|" * 900 + "}}" * 900 + "b")
    assert nested == "a b"


def test_twenty_megabytes_nested_or_unclosed():
    for start, end in [("{{a|", "}}"), ("[[a|", "]]"), ("{{nowrap|", "}}"), ("<ref>", ""), ("{|\n|", "\n|}")]:
        number = 10_000_000 // len(start)
        assert len(wikitext_to_text("text " + start * number + "x" + end * number)) < 21_000_000


def test_random_markup_never_grows_and_leaves_no_braces():
    chance = np.random.default_rng(0)
    pieces = [
        *MARKS,
        "word",
        "é",
        "\n",
        ",",
        ")",
        "&nbsp;",
        "&#233;",
        "<br>",
        "<p>",
        "<nowiki>",
        "</nowiki>",
        "''",
        ":",
        "lang|x|",
        "\n|-\n",
    ]
    for _ in range(3000):
        wikitext = "".join(chance.choice(pieces, chance.integers(1, 60)))
        text = wikitext_to_text(wikitext)
        assert len(text.encode()) <= 1.5 * len(wikitext.encode()) + 4
        assert not re.search(r"\{\{|\}\}|\{\||\|\}|[\x00-\x08\x0e-\x1f]", text), wikitext
        assert text == text.strip(), wikitext


RESIDUES = re.compile(r"\{\{|\}\}|\{\||\|\}|<ref|</ref|'''|&nbsp;|\|thumb|https?://|<br|__[A-Z]{3}|\[\[(?:File|Image|Category)")


def test_all_real_pages_read_like_prose():
    root = folder("wikipedia")
    characters, articles = 0, 0
    for file in sorted([*root.rglob("*.xml.bz2"), *root.glob("*.xml")]):
        data = bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()
        for page in read_pages(io.BytesIO(data), file.name, Counter()):
            text = wikitext_to_text(page.text, page.site.media_names, page.site.language)
            assert not RESIDUES.search(text), (file, page.title)
            assert not re.search(r"\n\n\n|  |[^\S\n]\n|\(\s*[,;]?\s*\)(?!\.|;| –)", text), (file, page.title)
            characters, articles = characters + len(text), articles + 1
    assert articles >= 257
    assert characters > 4_000_000


def test_an_article_keeps_its_sentences():
    file = folder("wikipedia", "enwiki-20160422-pages-articles-sample.xml.bz2")
    pages = read_pages(io.BytesIO(bz2.decompress(file.read_bytes())), file.name, Counter())
    text = wikitext_to_text(next(page for page in pages if page.title == "Albedo").text)
    assert text.startswith(
        'Albedo (/ælˈbiːdoʊ/) or reflection coefficient, derived from Latin albedo "whiteness" (or reflected sunlight) in turn '
        'from albus "white", '
        "is the diffuse reflectivity or reflecting power of a surface.\n\nIt is the ratio of reflected radiation"
    )
    assert "\n\nTerrestrial albedo\n\nAlbedos of typical materials in visible light range from up to 0.9 for fresh snow" in text
    assert "currently about 15 °C. If Earth were frozen entirely" in text
    assert "See also" not in text
    assert "External links" not in text
