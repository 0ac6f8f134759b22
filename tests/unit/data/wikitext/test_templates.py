"""Templates leave what a reader sees of them, in their language; unknown ones their text where they stand as a word does."""

import re
from pathlib import Path

import pytest

from tasks.data.wikitext.convert import wikitext_to_text
from tasks.data.wikitext.programs import FOLDER, known_templates, program


@pytest.mark.parametrize(
    ("language", "wikitext", "text"),
    [
        ("", "{{nihongo|A|B||C}}, {{nihongo|A|B|C}}, {{nihongo|A|||C}}, {{nihongo|A}} x", "A (B) C, A (B, C), A C, A x"),
        ("", "''{{lang|de|Wort}}'' ({{lang-fr|mot}}), {{lang-ru|слово|slovo}}", "Wort (mot), слово, slovo"),
        ("", "{{ill|Name|de|Name (Ort)}} {{ill|de|Titel|Name}} {{ill|A|de|lt=B}}", "Name Titel B"),
        (
            "",
            "({{IPAc-en|ˈ|b|ɜːr|l|ɪ|n}} {{respell|bur|LIN}}; {{IPA-de|bɛʁˈliːn|lang|De.ogg}})",
            "(/ˈbɜːrlɪn/ bur-LIN; bɛʁˈliːn)",
        ),
        ("", "{{zh|labels=no|c=民航|p=mínháng}} and {{abbr|A|all}}, {{sic}}", "民航, mínháng and A, [sic]"),
        ("en", "a {{Quote|text=b c}} {{dentalFormula|upper=1|lower=2}} d", "a b c 1 / 2 d"),
        ("", "{{sc|bc}} {{HMS|Ajax|22}} {{US$|2 billion}} {{Dash year|1943|1945}}", "bc HMS Ajax US$2 billion 1943–1945"),
        ("fr", "la {{1re}} du {{XXe siècle}}, {{84e|Congrès}}, Otton {{Ier}}", "la 1re du XXe siècle, 84e Congrès, Otton Ier"),
        ("fr", "{{unité|3797|m}}, {{unité|1,2|e=6|kg}}, {{tmp|2|°C}}, {{euro|77}}", "3797 m, 1,2×10^6 kg, 2 °C, 77 €"),
        ("fr", "le {{date-|19 janvier}}, {{date|1|mai|1900}} à {{heure|4|30}}", "le 19 janvier, 1 mai 1900 à 4 h 30"),
        ("fr", "{{Lien|langue=en|trad=A|fr=B|texte=C}} {{citation|mot}} l{{'}}{{langue|de|Wort}}", "C « mot » l'Wort"),
        ("de", 'sagt: {{"|Ja}} ({{Höhe|115|DE-NHN}}), {{enS|word}}', "sagt: „Ja“ (115 m), englisch word"),
        ("it", "{{M|5|k|m}}, {{M|5||m}}, {{TA|a b}}", "5 km, 5 m, a b"),
        ("es", "el {{siglo|XIX||s}}, {{versalita|xx}}, 45{{esd}}km", "el siglo XIX, xx, 45 km"),
        ("pt", "no {{séc|XIII}} com {{fmtn|90000}} pessoas", "no século XIII com 90000 pessoas"),
        ("ca", "des del {{segle|XIII|s}}, al segle {{segle|XV}}", "des del segle XIII, al segle XV"),
        ("pl", "{{link-interwiki|A|tekst=B}} {{cytat|c}}", "A „c”"),
        ("ru", "является {{нп5|Квартал|квартал|de|Viertel}} и {{iw|Институт|||X}}", "является квартал и Институт"),
        ("uk", "({{МФА-всі|bɛʁ|МФА}}) {{не перекладено|А|а|en|B}}", "(bɛʁ) а"),
        ("ja", "{{仮リンク|東京|en|Tokyo}}と{{読み仮名|漢字|かんじ}}を", "東京と漢字（かんじ）を"),
        ("zh", "之前的{{link-de|边境|Mark}}（{{lang|de|Mark}}）和{{tsl|en|A|甲}}", "之前的边境（Mark）和甲"),
        ("nl", "{{citaat|x}} {{bron?||2019}}", "“x”"),
        ("cs", "slovo {{vjazyce|de|Wort}} a", "slovo Wort a"),
        ("ar", "نهر {{ألمانية|Spree}} يخترق", "نهر Spree يخترق"),
        ("ko", "{{llang|de|Wort}}은 {{임시링크|단어|en|word}}", "Wort은 단어"),
        ("hu", "legalább {{szám|180000}} fő", "legalább 180000 fő"),
        ("sk", "zhruba {{km|70|m}} západne", "zhruba 70 km západne"),
    ],
)
def test_what_a_reader_sees_stays(language, wikitext, text):
    assert wikitext_to_text(wikitext, language=language) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("It is called {{foo|some words}} there.", "It is called some words there."),
        ("It is called {{foo|de|Wort}} there.", "It is called Wort there."),
        # Not as a word stands: a reference, a note, a box, the begin or the end of a line
        ("It was in 1700{{foo|smith}} there.", "It was in 1700 there."),
        ("{{foo|some words}} It is.\nIt is {{foo|some words}}\nNo.", "It is.\nIt is\nNo."),
        ("They beat {{foo|Spain}} [[Spain]] there.", "They beat Spain there."),
        # Not what could be words: numbers, files, codes, addresses; not one of several arguments
        ("It has {{foo|180000}} of {{foo|De-Wort.ogg}} and {{foo|ESP}} in {{foo|a/b}}, all.", "It has of and in, all."),
        ("It has {{foo|some words|more}} and {{foo|some words|a=b}}, all.", "It has and, all."),
        # Known to show nothing
        ("It is {{clarify|what is meant}} so.", "It is so."),
        ("It is {{citation needed|really now}} so.", "It is so."),
    ],
)
def test_an_unknown_template_leaves_its_text_where_it_stands_as_a_word(wikitext, text):
    assert wikitext_to_text(wikitext) == text


@pytest.mark.parametrize("language", ["", "en"])
def test_what_only_one_language_has_counts_where_the_dump_names_another(language):
    """As all dumps do that one of Wikimedia's libraries keeps for its tests: they say `en`."""
    wikitext = (
        "l'{{unité|3|km}} du {{date-|19 janvier}}, no {{séc|XIII}}, {{M|5|k|m}}, نهر {{ألمانية|Spree}} и {{нп5|А|а|de|B}}, x"
    )
    assert wikitext_to_text(wikitext, language=language) == "l'3 km du 19 janvier, no século XIII, 5 km, نهر Spree и а, x"


def test_where_languages_disagree_a_name_is_unknown_in_others():
    assert wikitext_to_text("It {{cita|some|words}} is, {{v}} too.") == "It is, too."
    assert known_templates("es")[0]["cita"] == "«{1/texto}»"
    assert known_templates("it")[0]["cita"] is None
    assert "cita" not in known_templates("en")[0]


def test_every_file_of_a_language_can_be_read_and_none_shows_much_more_than_it_is_given():
    """The converter makes room for text that is twice as long as its template (`wikitext.convert.extract`)."""
    files = sorted(FOLDER.glob("*.toml"))
    assert len(files) > 40
    for file in files:
        named, _, programs = known_templates(file.stem)
        for name, pattern in named.items():
            assert name == name.strip("_"), (file.name, name)
            if pattern is not None:
                literal, arguments = re.subn(r"\{[^{}]*\}", "", pattern)
                # An argument that is there has a `|` and one character at least.
                room = 2 * (4 + len(name.encode())) + 3 * arguments
                assert len(re.sub(r"[\[\]\\]", "", literal).encode()) <= room, (file.name, name, pattern)
                assert programs[pattern][-1] == 0


@pytest.mark.parametrize("pattern", ["{1", "a}", "[a[b]]", "]", "[a"])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match=re.escape(repr(pattern))):
        program(pattern, known_templates("")[1])


def test_the_files_lie_beside_the_code():
    assert Path(FOLDER, "any.toml").is_file()
