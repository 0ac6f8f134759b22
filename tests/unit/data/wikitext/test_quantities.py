"""Numbers and units are those that were given, or are left out: never others."""

import pytest

from tasks.data.wikitext.convert import wikitext_to_text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        (
            "It is {{convert|5|km|mi|abbr=on}} long, {{convert|3|to|5|ft|m}} high and weighs {{convert|12|lb|8|oz}}.",
            "It is 5 km long, 3 to 5 ft high and weighs 12 lb 8 oz.",
        ),
        ("{{convert|6|ft|4|in|cm}}, {{convert|12|lb|8|oz}}", "6 ft 4 in, 12 lb 8 oz"),
        ("{{convert|1|mi|3|yd|2|ft|km}}, {{convert|11|st|4|lb}}", "1 mi 3 yd 2 ft, 11 st 4 lb"),
        ("{{convert|3|±|1|km|mi}}, {{convert|3|to|5|ft|m}}, {{cvt|22|-|25|C|F}}", "3 ± 1 km, 3 to 5 ft, 22–25 °C"),
        ("{{convert|3|x|4|x|5|m}}, {{convert|5|and|6|km}}", "3 x 4 x 5 m, 5 and 6 km"),
        ("{{convert|5|e6km2}}, {{convert|1.2e6|kg}}, {{convert|5+1/2|in}}", "5×10^6 km2, 1.2×10^6 kg, 5 1/2 in"),
        ("{{convert|5|km|mi|0|abbr=on}}, {{convert|100|ft|0}}, {{convert|−5|C}}", "5 km, 100 ft, −5 °C"),
        # Not understood
        ("a {{convert|5|foo|6|km}}, {{convert|x|km}}, {{convert|5}}, {{convert||km}}, {{convert|5|10|km}} b", "a, b"),
        ("{{val|1.2|e=6|u=kg}} {{val|5.2|u=km|up=s}} {{val|1.2|0.1|u=m}}", "1.2×10^6 kg 5.2 km/s 1.2 ± 0.1 m"),
        ("{{val|1.2|(3)|u=m}} {{val|1.2|0.1|e=-3|u=kg}}", "1.2(3) m (1.2 ± 0.1)×10^-3 kg"),
        ("{{val|11|22|33}} {{val|11|+2|-3|u=m}} {{val|5|-|7|u=m}}", "11 +22 -33 11 +2 -3 m 5–7 m"),
        ("a {{val|x}} {{val|1|e=x}} {{val|1|y}} b", "a b"),
        ("5.98{{e|24}} kg, 3{{E|−20}} g, a{{e|x}}b", "5.98×10^24 kg, 3×10^−20 g, ab"),
        ("{{frac|1|2}} {{frac|5|1|2}} {{frac|3}} {{sfrac|3''n'' + 1|2}}", "1/2 5 1/2 1/3 3n + 1/2"),
        ("{{circa|1900}}, {{c.}} x", "c. 1900, c. x"),
    ],
)
def test_quantities(wikitext, text):
    assert wikitext_to_text(wikitext) == text
