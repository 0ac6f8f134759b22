"""Formulas are read as a person would say them in plain characters, or left out; by choice all are left out."""

import pytest

from tasks.data.wikitext.convert import wikitext_to_text
from tasks.data.wikitext.formulas import NotUnderstood, plain, read_formulas


@pytest.mark.parametrize(
    ("tex", "text"),
    [
        (r"E = mc^2", "E = mc^2"),
        (r"x_1,\ldots,x_n \in \mathbb{R}^n", "x_1,…,x_n ∈ R^n"),
        (r"\frac{1}{2}", "1/2"),
        (r"2\frac{1}{2}", "2 (1/2)"),
        (r"\frac{1}{n}\sum_{i=1}^n a_i", "(1/n)∑_(i=1)^n a_i"),
        (r"\frac{-b \pm \sqrt{b^2-4ac}}{2a}", "((-b ± √(b^2-4ac))/(2a))"),
        (r"{a \over b+c} = \frac12", "(a/(b+c)) = 1/2"),
        (r"5\times 10^{-6}\ \text{kg}", "5× 10^-6 kg"),
        (r"\left|\hat{x}\right| \leq 90^\circ", "|x̂| ≤ 90°"),
        (r"\log_2 n, \sin(\alpha)", "log_2 n, sin (α)"),
    ],
)
def test_plain(tex, text):
    assert plain(tex) == text


@pytest.mark.parametrize("tex", [r"\begin{matrix}1 & 2\end{matrix}", r"\unknown x", r"\frac{1}", "x^", "{x", "x}"])
def test_what_is_not_understood_is_left_out(tex):
    with pytest.raises(NotUnderstood):
        plain(tex)
    assert wikitext_to_text(f"a <math>{tex}</math> b") == "a b"


def test_a_text_full_of_formulas_that_do_not_end_is_no_trouble():
    for unit in ("<math>", "<math>x", "<math ", "<math>{", "<math/>a</math>"):
        assert len(read_formulas(unit * (1_000_000 // len(unit)))) > 100_000
    assert wikitext_to_text("a <math>" + "{" * 1900 + "}" * 1900 + "</math> <math>" + "^" * 1999 + "</math> b") == "a b"


def test_in_a_sentence_and_by_choice():
    wikitext = "Let <math>x&lt;2</math> and <math display=inline>|y|=\\{1\\}</math>, <chem>H2O</chem> too."
    assert wikitext_to_text(wikitext) == "Let x<2 and |y|={1}, too."
    assert wikitext_to_text(wikitext, formulas=False) == "Let and, too."
