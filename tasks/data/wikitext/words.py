"""The words that mean something in wikitext, in one hash table that the kernels can ask.

Sources: https://www.mediawiki.org/wiki/Help:Formatting, https://en.wikipedia.org/wiki/Help:HTML_in_wikitext,
https://en.wikipedia.org/wiki/Special:Version (extension tags), and the namespace names of MediaWiki's message files.
"""

from functools import lru_cache
from html.entities import html5

import numba
import numpy as np

from tasks.data.wikitext.bytes import inner

TAG, NAMESPACE, TEMPLATE, ARGUMENT, SECTION, EXTENSION, ENTITY = map(np.int64, range(1, 8))
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

FIRST, LAST, SPACED, JOINED, FRACTION, NAMED, CIRCA, PARENTHESES, QUANTITY, VALUE, FIXED = range(1, 12)
TEMPLATES = {
    FIRST: "nowrap nobr small smaller big larger bold em strong nobold noitalic sic abbr tooltip quote "
    "blockquote cquote quotation poemquote vanchor visible_anchor ill interlanguage_link sc "
    "smallcaps smallcaps2 unicode angbr angle_bracket math mvar var nts number formatnum flag flagu "
    "flagcountry script underline overline zitat citation_bloc citaat citat sub sup",
    LAST: "lang langue transl transliteration lang-x ling wikt-lang",
    SPACED: "date datum keypress key",
    JOINED: "chem chem2 linktext simplenuclide",
    FRACTION: "frac sfrac fraction",
    NAMED: "as_of",
    CIRCA: "circa c. ca.",
    PARENTHESES: "nihongo",
    QUANTITY: "convert cvt unité unite nombre unidad",
    VALUE: "val",
}
"""Templates whose text is in their arguments; all others are dropped.

FIRST and LAST name the unnamed argument that is the text (all `lang-xx` count as `lang`); SPACED, JOINED and FRACTION how the
arguments are put together ("5 km", "H2O", "1/2"); NAMED is name and argument ("As of 2009"), CIRCA "c. 1900", PARENTHESES
"first (others)", QUANTITY number and unit of `convert` as they were given, VALUE the number and `u=`.
"""
FIXED_TEMPLATES = {
    "mdash": "—", "em dash": "—", "ndash": "–", "endash": "–", "en dash": "–", "snd": " – ", "spnd": " – ",
    "spaced ndash": " – ", "spaced en dash": " – ", "nbsp": " ", "spaces": " ", "'": "'", "'s": "'s",
    "`": "ʻ", "okina": "ʻ", "hamza": "ʼ", "=": "=", "·": " ·", "•": " •",
    "pi": "π", "shy": "", "zwnj": "",
}  # fmt: skip

UNNAMED, UNIT, BETWEEN = range(1, 4)
ARGUMENT_NAMES = {UNNAMED: "1 2 3 4 5 6 7 8 9 text", UNIT: "u ul", BETWEEN: "to and or by x - – × + to(-) and(-)"}
"""Names of arguments that count as unnamed, of the unit of VALUE, and what may be between two numbers of a QUANTITY."""

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


@numba.njit(cache=True)
def word_hash(data: np.ndarray, start: int, end: int, category: int) -> int:
    """FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of category and data[start:end], as a signed integer, never 0.

    ASCII letters count as lower-case and `_` as a space, but in entities, which keep their case.
    """
    value = -3750763034362895579 ^ category
    for i in range(start, end):
        c = np.int64(data[i])
        if category != ENTITY:
            if c == 95:
                c = 32
            elif c - 65 <= 25 and c >= 65:
                c += 32
        value = (value ^ c) * 1099511628211
    return value | 1


@inner
def meaning(words: np.ndarray, data: np.ndarray, start: int, end: int, category: int) -> int:
    """The value of the word data[start:end], 0 if it has none."""
    wanted = word_hash(data, start, end, category)
    place = (wanted >> 20) & (words.size // 2 - 1)
    while words[2 * place] != 0:
        if words[2 * place] == wanted:
            return words[2 * place + 1]
        place = (place + 1) & (words.size // 2 - 1)
    return 0


def packed(text: str) -> int:
    """Up to seven bytes of UTF-8 in one integer, the first in the lowest byte."""
    return int.from_bytes(text.encode(), "little")


def entity_meanings() -> dict[str, int]:
    """Named entities whose text is no longer than their name, so that decoding never grows."""
    names = {name[:-1]: text for name, text in html5.items() if name.endswith(";")}
    return {name: packed(text) for name, text in names.items() if len(text.encode()) <= min(7, len(name) + 2)}


@lru_cache(maxsize=16)
def word_table(dropped_namespaces: frozenset[str]) -> np.ndarray:
    """An open-addressing table of all words above, and of more names of namespaces whose links show no text.

    Hash and value alternate; int64, (2 x a power of two).
    """
    words: dict[tuple[int, str], int] = {(ENTITY, name): value for name, value in entity_meanings().items()}
    tags = [(kind, name) for kind, names in TAGS.items() for name in names.split()]
    words.update({(TAG, name): kind | number << 8 for number, (kind, name) in enumerate(tags)})
    for name in [*DROPPED_NAMESPACES.split(), *dropped_namespaces]:
        for form in (name, name.capitalize()):
            words[NAMESPACE, form] = DROPPED_LINK
    words.update({(NAMESPACE, name): INTERWIKI_LINK for name in INTERWIKI.split()})
    words.update({(TEMPLATE, name): style for style, names in TEMPLATES.items() for name in names.split()})
    words.update({(TEMPLATE, name): FIXED | packed(text) << 8 for name, text in FIXED_TEMPLATES.items()})
    words.update({(ARGUMENT, name): kind for kind, names in ARGUMENT_NAMES.items() for name in names.split()})
    words.update({(EXTENSION, name): 1 for name in EXTENSIONS.split()})
    for name in LINK_SECTIONS.split("|"):
        words[SECTION, name] = words[SECTION, name.capitalize()] = 1
    size = 1 << (2 * len(words)).bit_length()
    table = np.zeros((size, 2), np.int64)
    for (category, name), value in words.items():
        data = np.frombuffer(bytearray(name.encode()), np.uint8)
        key = word_hash(data, 0, data.size, category)
        place = (key >> 20) & (size - 1)
        while table[place, 0] not in (0, key):
            place = (place + 1) & (size - 1)
        table[place] = key, value
    return table.reshape(-1)
