"""The words that mean something in wikitext, in one table that the kernels can ask: exact, whatever the hashes of two words.

Sources: https://www.mediawiki.org/wiki/Help:Formatting, https://en.wikipedia.org/wiki/Help:HTML_in_wikitext,
https://en.wikipedia.org/wiki/Special:Version (extension tags), and the namespace names of MediaWiki's message files.
"""

from collections.abc import Iterator
from functools import lru_cache
from html.entities import html5
from typing import NamedTuple

import numpy as np

from tasks.data.kernels.kernel import kernel
from tasks.data.wikitext.bytes import CASE_BIT, SPACE, UNDERSCORE, UPPER_A, UPPER_Z, inner
from tasks.data.wikitext.programs import known_templates

TAG, NAMESPACE, TEMPLATE, ARGUMENT, SECTION, EXTENSION, ENTITY, RANGE_WORD, UNIT, COMPOUND = map(np.int64, range(1, 11))
"""Categories of words: the same word may be in several. No Python integers: numba would compile `meaning` for each of them."""

TAG_STRIP, TAG_BREAK, TAG_PARAGRAPH, TAG_OPAQUE, TAG_REFERENCE, TAG_LITERAL, TAG_CODE, TAG_TABLE = range(1, 9)
TAGS = {
    TAG_STRIP: "b i u s em strong span small big sub sup font tt code var kbd samp cite q abbr ins del mark bdi "
    "bdo ruby rb rt rp rtc time data wbr noinclude onlyinclude poem a img nobr strike dfn section "
    "tbody thead tfoot translate tvar acronym",
    TAG_BREAK: "br div li tr td th ul ol dl dt dd center hr caption",
    TAG_PARAGRAPH: "p blockquote h1 h2 h3 h4 h5 h6",
    TAG_OPAQUE: "gallery math chem ce timeline score imagemap graph mapframe maplink templatedata templatestyles "
    "hiero inputbox categorytree includeonly style script indicator references charinsert "
    "dynamicpagelist rss quiz choose pre source",
    TAG_REFERENCE: "ref",
    TAG_LITERAL: "nowiki",
    TAG_CODE: "syntaxhighlight",
    TAG_TABLE: "table",
}
"""Unknown tags stay as they are, as in MediaWiki. What is shown as code in a block of its own is no prose: dropped."""

DROPPED_LINK, INTERWIKI_LINK = 1, 2
DROPPED_NAMESPACES = (
    "media file image category datei bild kategorie fichier catégorie archivo imagen categoría ficheiro imagem "
    "categoria immagine bestand afbeelding categorie plik grafika kategoria файл изображение категория категорія "
    "зображення медия слика датотека категорија kategorija datoteka slika soubor kategórie súbor kategória fájl kép "
    "fil kategori tiedosto kuva luokka fitxer imatge figura imagine fișier dosya resim αρχείο εικόνα κατηγορία ملف "
    "صورة تصنيف پرونده تصویر رده קובץ תמונה קטגוריה ファイル 画像 カテゴリ 파일 그림 분류 文件 檔案 档案 图像 圖像 "
    "分类 分類 tập_tin hình thể_loại berkas gambar lêer lêers выява катэгорыя պատկեր կատեգորիա ფაილი კატეგორია චিত্র "
    "চিত্র বিষয়শ্রেণী चित्र श्रेणी वर्ग படிமம் பகுப்பு ไฟล์ ภาพ หมวดหมู่ fail pilt kategooria attēls vaizdas restr "
    "rummad mynd flokkur ofbyld kategory imachen fitxategi dosiero kategorio faidhle roinn-seòrsa podatoteka "
    "податотека fayl turkum kateqoriya şəkil فائل زمرہ тасвир рәсем ангилал санат төркем категори fasciculus rikcha "
    "katiguriya categuria categori delwedd íomhá catagóir faili jamii kaarangay kategorya plaetje bólkur arkivo "
    "വർഗ്ഗം പ്രമാണം వర్గం దస్త్రం ವರ್ಗ ಚಿತ್ರ ਸ਼੍ਰੇਣੀ ਤਸਵੀਰ ଚିତ୍ର ଶ୍ରେଣୀ वर्गः ሥዕል መደብ קאַטעגאָריע پۆل گٹھ بؤلمه"
)
"""Names of the media, file and category namespaces in the larger Wikipedias (`_` for a space): their links show no text."""
INTERWIKI = (
    "w wikt wiktionary s wikisource b wikibooks q wikiquote n wikinews v wikiversity voy wikivoyage species commons "
    "c d m meta mw"
)

EXTENSIONS = "jpg jpeg jpe png gif svg tif tiff webp xcf djvu ogg oga ogv webm mp3 mp4 wav flac opus mid stl"
"""A link to such a file shows no text, whatever the wiki calls its file namespace."""

SHOWS_NOTHING, PROGRAMS = 1, 2
"""Meaning of a template: it shows nothing that is part of a sentence, or (from PROGRAMS on) where its program begins."""

RANGE_WORDS = {
    "to": " to ", "and": " and ", "or": " or ", "by": " by ", "x": " x ", "×": " × ", "xx": " × ", "-": "–", "–": "–",
    "to(-)": "–", "and(-)": " and ", "±": " ± ", "+/-": " ± ", "+": " + ", ",": ", ", "bis": " bis ", "à": " à ", "et": " et ",
    "ou": " ou ", "a": " a ", "y": " y ", "e": " e ", "o": " o ", "до": "–", "til": " til ", "tot": " tot ", "en": " en ",
}  # fmt: skip
"""What may be between two numbers of a quantity, and how it is written."""
UNITS = {
    "c": "°C", "f": "°F", "c-change": "°C", "f-change": "°F", "sqmi": "sq mi", "sqft": "sq ft", "sqin": "sq in",
    "sqyd": "sq yd", "sqkm": "km2", "sqm": "m2", "cuft": "cu ft", "cuin": "cu in", "cuyd": "cu yd", "cumi": "cu mi",
    "floz": "fl oz", "usgal": "US gal", "impgal": "imp gal", "kph": "km/h", "foot": "ft", "feet": "ft",
}  # fmt: skip
"""Codes of units that are written otherwise, in at most seven bytes."""
LARGER_FIRST = ("mi furlong chain ch yd ft in", "long_ton lt st lb oz", "h min s")
"""Units that may follow each other in one quantity, as in 6 ft 4 in: a larger one, then a smaller one of the same list."""

LINK_SECTIONS = (
    "references|external links|see also|further reading|notes|footnotes|bibliography|sources|citations|"
    "notes and references|references and notes|literature|works cited|einzelnachweise|weblinks|literatur|siehe auch|"
    "quellen|anmerkungen|fußnoten|notes et références|références|voir aussi|liens externes|bibliographie|"
    "articles connexes|annexes|lien externe|referencias|véase también|enlaces externos|bibliografía|notas|"
    "referências|ver também|ligações externas|bibliografia|note|voci correlate|collegamenti esterni|altri progetti|"
    "referenties|bronnen|zie ook|externe links|externe link|literatuur|bronnen, noten en/of referenties|przypisy|"
    "linki zewnętrzne|zobacz też|примечания|ссылки|литература|см. также|источники|примітки|посилання|література|"
    "див. також|джерела|reference|externí odkazy|související články|literatura|referencie|externé odkazy|források|"
    "külső hivatkozások|további információk|referenser|externa länkar|källor|se även|litteratur|referencer|"
    "eksterne henvisninger|se også|referanser|eksterne lenker|lähteet|aiheesta muualla|katso myös|kirjallisuutta|"
    "referències|vegeu també|enllaços externs|legături externe|vezi și|kaynakça|dış bağlantılar|ayrıca bakınız|"
    "παραπομπές|εξωτερικοί σύνδεσμοι|δείτε επίσης|مراجع|وصلات خارجية|انظر أيضا|انظر أيضًا|منابع|جستارهای وابسته|"
    "پیوند به بیرون|הערות שוליים|קישורים חיצוניים|ראו גם|脚注|出典|関連項目|外部リンク|参考文献|각주|같이 보기|"
    "외부 링크|외부 고리|参考资料|參考資料|外部链接|外部連結|参见|參見|相關條目|參看|tham khảo|liên kết ngoài|"
    "xem thêm|referensi|pranala luar|lihat pula|rujukan|зноскі|спасылкі|гл. таксама|бележки|външни препратки|"
    "вижте също|референце|спољашње везе|види још|вањске везе|vanjske poveznice|izvori|vidi još|spoljašnje veze|viri|"
    "zunanje povezave|glej tudi|viited|välislingid|vaata ka|išnašos|nuorodos|taip pat skaitykite|atsauces|"
    "ārējās saites|skatīt arī|erreferentziak|kanpo estekak|ikus, gainera|referencoj|eksteraj ligiloj|vidu ankaŭ|"
    "verwysings|eksterne skakels|sien ook|verweise|حوالہ جات|بیرونی روابط|xarici keçidlər|istinadlar|həmçinin bax"
)
"""Headings of sections that are dropped if they hold nothing but lists."""


FNV_BASIS, FNV_PRIME = 0xCBF29CE484222325 - 2**64, 0x100000001B3
"""For 64 bits; the basis as a signed integer, since numba takes a product of mixed signs for a floating-point number."""
ENTRY = np.dtype([("key", np.int64), ("value", np.int64), ("begin", np.int64), ("end", np.int64)])
"""Hash of a word (0: the place is free), what it means, and where its spelling begins and ends."""


class Words(NamedTuple):
    """A table that a word is looked up in, by hash and then by its spelling."""

    table: np.ndarray
    """(a power of two,) ENTRY, open addressing."""
    spellings: np.ndarray
    """uint8: of each word its category, and its bytes as `folded` leaves them."""
    programs: np.ndarray
    """uint8: what known templates do (`programs.py`), one after the other."""


@inner
def folded(byte: int, category: np.int64) -> np.int64 | int:
    """ASCII letters count as lower-case and `_` as a space, but in entities, which keep their case."""
    c: np.int64 | int = np.int64(byte)
    if category != ENTITY:
        if c == UNDERSCORE:
            c = SPACE
        elif UPPER_A <= c <= UPPER_Z:
            c += CASE_BIT
    return c


@kernel
def word_hash(data: np.ndarray, start: int, end: int, category: int) -> int:
    """FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of category and data[start:end], as a signed integer, never 0."""
    value = (FNV_BASIS ^ category) * FNV_PRIME
    for i in range(start, end):
        value = (value ^ folded(data[i], category)) * FNV_PRIME
    return value | 1


@inner
def meaning(words: Words, data: np.ndarray, start: int, end: int, category: int) -> int:
    """The value of the word data[start:end], 0 if it has none."""
    table = words.table
    key = word_hash(data, start, end, category)
    place = (key >> 20) & (table.size - 1)  # FNV-1a's lowest bits are its worst, and the last one is always 1 here
    while table[place].key != 0:
        if table[place].key == key and is_spelled(words, place, data, start, end, category):
            return table[place].value
        place = (place + 1) & (table.size - 1)
    return 0


@inner
def is_spelled(words: Words, place: int, data: np.ndarray, start: int, end: int, category: int) -> bool:
    """Whether the word at a place of the table is data[start:end] in this category, and no other of the same hash."""
    spellings, begin = words.spellings, words.table[place].begin
    if words.table[place].end - begin != 1 + end - start or spellings[begin] != category:
        return False
    i = 0
    while i < end - start and spellings[begin + 1 + i] == folded(data[start + i], category):
        i += 1
    return i == end - start


def packed(text: str) -> int:
    """Up to seven bytes of UTF-8 in one integer, the first in the lowest byte."""
    return int.from_bytes(text.encode(), "little")


def entity_meanings() -> dict[str, int]:
    """Named entities whose text is no longer than their name, so that decoding never grows."""
    names = {name[:-1]: text for name, text in html5.items() if name.endswith(";")}
    return {name: packed(text) for name, text in names.items() if len(text.encode()) <= min(7, len(name) + 2)}


def named_words() -> Iterator[tuple[np.int64, str, int]]:
    """Category, name and meaning of all words above."""
    yield from ((ENTITY, name, value) for name, value in entity_meanings().items())
    tags = [(kind, name) for kind, names in TAGS.items() for name in names.split()]
    yield from ((TAG, name, kind | number << 8) for number, (kind, name) in enumerate(tags))
    yield from ((NAMESPACE, name, DROPPED_LINK) for name in DROPPED_NAMESPACES.split())
    yield from ((NAMESPACE, name, INTERWIKI_LINK) for name in INTERWIKI.split())
    yield from ((RANGE_WORD, name, packed(text)) for name, text in RANGE_WORDS.items())
    yield from ((UNIT, name, packed(text)) for name, text in UNITS.items())
    yield from ((COMPOUND, name, place) for name, place in compound_places().items())
    yield from ((EXTENSION, name, 1) for name in EXTENSIONS.split())
    yield from ((SECTION, name, 1) for name in LINK_SECTIONS.split("|"))


def compound_places() -> dict[str, int]:
    """Of a unit in LARGER_FIRST its list, in sixteens, and its place there from 1 on."""
    places: dict[str, int] = {}
    for number, units in enumerate(LARGER_FIRST):
        for place, unit in enumerate(units.split(), 1):
            places.setdefault(unit.replace("_", " "), 16 * number + place)
    return places


def template_words(language: str) -> tuple[list[tuple[np.int64, str, int]], bytes]:
    """Names of templates and of their arguments with what they mean, and all programs."""
    named, slots, programs = known_templates(language)
    begins: dict[str, int] = {}
    code = bytearray()
    for pattern, program in programs.items():
        begins[pattern] = len(code)
        code += program
    words = [
        (TEMPLATE, name, SHOWS_NOTHING if pattern is None else PROGRAMS + begins[pattern]) for name, pattern in named.items()
    ]
    return [*words, *((ARGUMENT, name, slot) for name, slot in slots.items() if slot)], bytes(code)


def spellings(category: np.int64, name: str) -> set[bytes]:
    """A name as it is, and with a first letter of the other case: `folded` knows the letters of ASCII only."""
    forms = {name}
    if category in (NAMESPACE, SECTION):
        forms.add(name.capitalize())
    elif category == TEMPLATE:
        forms |= {name[:1].upper() + name[1:], name[:1].lower() + name[1:]}
    return {bytes([category, *(folded.py_func(byte, category) for byte in form.encode())]) for form in forms}


@lru_cache(maxsize=16)
def word_table(dropped_namespaces: frozenset[str], language: str = "") -> Words:
    """All words above, the templates of a language, and more names of namespaces whose links show no text."""
    templates, programs = template_words(language)
    local = [*templates, *((NAMESPACE, name, DROPPED_LINK) for name in dropped_namespaces)]
    words = {form: value for category, name, value in [*named_words(), *local] for form in spellings(category, name)}
    joined = np.frombuffer(b"".join(words), np.uint8)
    table = np.zeros(1 << (2 * len(words)).bit_length(), ENTRY)
    begin = 0
    for form, value in words.items():
        end = begin + len(form)
        key = word_hash(joined, begin + 1, end, np.int64(form[0]))
        place = (key >> 20) & (table.size - 1)
        while table[place]["key"] != 0:
            place = (place + 1) & (table.size - 1)
        table[place] = key, value, begin, end
        begin = end
    return Words(table, joined, np.frombuffer(programs, np.uint8))
