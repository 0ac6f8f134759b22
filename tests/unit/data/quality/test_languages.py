"""Languages, as py3langid has them."""

import bz2
import re

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tasks.data.quality.languages import identify, known_languages, middle
from tests.kit import real_data

SAMPLES = {
    "en": "The boat turned away in time, and in the morning its owner came to thank them.",
    "fr": "Le bateau s'est éloigné à temps, et le matin son propriétaire est venu les remercier.",
    "de": "Das Boot drehte rechtzeitig ab, und am Morgen kam sein Besitzer, um ihnen zu danken.",
    "es": "El barco se alejó a tiempo, y por la mañana su dueño vino a darles las gracias.",
    "ru": "Лодка вовремя отвернула, и утром её хозяин пришёл поблагодарить их.",
    "ar": "ابتعد القارب في الوقت المناسب، وفي الصباح جاء صاحبه ليشكرهم.",
    "zh": "船及时转向了,早上船主来感谢他们。",
    "ja": "船は間に合って向きを変え、朝になると持ち主がお礼を言いに来ました。",
    "el": "Η βάρκα έστριψε εγκαίρως και το πρωί ο ιδιοκτήτης της ήρθε να τους ευχαριστήσει.",
    "hi": "नाव समय पर मुड़ गई और सुबह उसका मालिक उन्हें धन्यवाद देने आया।",
}


@pytest.fixture(scope="module")
def original():
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@pytest.mark.parametrize("code", SAMPLES)
def test_one_sentence_is_enough(code):
    found, probability = identify(SAMPLES[code])
    assert found == code
    assert probability > 0.8


def test_the_answers_are_those_of_py3langid(original):
    texts = [*SAMPLES.values(), "12 34", "ok", "THE BOAT TURNED", "e\u0301te\u0301", *(text * 60 for text in SAMPLES.values())]
    for text in texts:
        code, probability = identify(text)
        expected, confidence = original.classify(middle(text, 2000))
        if code != "und":
            assert (code, pytest.approx(probability, abs=1e-4)) == (expected, confidence)


def test_a_long_text_is_judged_by_its_middle():
    text = SAMPLES["fr"] * 20 + SAMPLES["ru"] * 2 + SAMPLES["fr"] * 20
    assert identify(text, max_characters=100)[0] == "ru"
    assert identify(text)[0] == "fr"
    assert len(middle("é" * 5000, 2000)) == 4000


def test_what_has_no_language():
    assert identify("") == ("und", 0.0)
    assert identify(" 12 34 \n") == ("und", 0.0)
    assert identify("\ud800") == ("und", 0.0)
    assert identify(SAMPLES["en"] + "\ud800")[0] == "en"


def test_the_codes_that_are_known():
    known = known_languages()
    assert len(known) == len(set(known)) == 140
    assert {"zxx", "sr", *SAMPLES} <= set(known)
    assert "und" not in known


def test_wikipedias_are_in_the_languages_of_their_names():
    minidumps, right, texts = real_data.folder("wikipedia", "minidumps"), 0, 0
    for path in sorted(minidumps.glob("??.xml.bz2")):
        code = path.name[:2]
        if code not in known_languages():
            continue
        prose = re.sub(
            r"&lt;.*?&gt;|\{\{[^{}]*\}\}|[^\w\s.,]", " ", bz2.decompress(path.read_bytes()).decode("utf-8", "replace")
        )
        for paragraph in [line for line in prose.splitlines() if len(line) > 400 and "    " not in line[:200]][:3]:
            texts += 1
            right += identify(paragraph)[0] == code
    assert texts > 100
    assert right / texts > 0.9
