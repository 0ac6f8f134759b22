"""The picture of the card: the same bytes for the same data, small, and drawn of anything that can be in a data set."""

import matplotlib.image
import numpy as np
import pytest

from tasks.data.card.plot import MAX_BARS, draw_card, label, power, share, short
from tests.kit.described_data import METRICS, details

MANY = {
    "dropped": {f"gopher_repetition.max_duplicate_{n}_gram_characters": 10**n for n in range(12)},
    "quarantined": {"invalid_utf8": 7, "$x$ <b>": 2},
    "languages": {f"l{n}": n for n in range(100)},
    "lengths": {str(n): n * 1000 for n in range(1, 31)},
    "sources": [{"name": "s" * 63 + str(n), "tokens": 10**12 + n} for n in range(50)],
}
NOTHING = {"dropped": {}, "quarantined": {}, "languages": {}, "lengths": {}, "sources": []}


def drawn(path, **changes):
    draw_card(path, METRICS, details(**changes))
    return path.read_bytes()


def test_the_same_data_give_the_same_bytes(tmp_path):
    first = drawn(tmp_path / "a.png")
    assert drawn(tmp_path / "b.png") == first
    assert drawn(tmp_path / "c.png", languages={"en": 5}) != first
    assert b"matplotlib" not in first.lower()


@pytest.mark.parametrize("changes", [{}, MANY, NOTHING], ids=["usual", "many", "nothing"])
def test_pictures_are_small_and_nothing_leaves_them(tmp_path, changes):
    assert len(drawn(tmp_path / "card.png", **changes)) < 150_000
    pixels = matplotlib.image.imread(tmp_path / "card.png")
    assert pixels.shape == (800, 1200, 4)
    edges = np.concatenate([pixels[:4].ravel(), pixels[-4:].ravel(), pixels[:, :4].ravel(), pixels[:, -4:].ravel()])
    assert (edges == 1.0).all(), "something is drawn into the margin, or beyond it"
    assert (pixels[..., :3] < 0.9).any()


def test_panels_without_data_say_so(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    said = []
    real = Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **more: said.append(text) or real(self, x, y, text, **more))
    drawn(tmp_path / "nothing.png", **NOTHING)
    assert said == ["none"] * 4


def test_at_most_so_many_bars_with_the_rest_in_one(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    bars = []
    real = Axes.barh
    monkeypatch.setattr(Axes, "barh", lambda self, y, width, **more: bars.append(width) or real(self, y, width, **more))
    drawn(tmp_path / "many.png", **MANY)
    assert [len(values) for values in bars] == [MAX_BARS] * 3
    assert sum(bars[0]) == sum(range(100))
    assert sum(bars[1]) == sum(10**n for n in range(12)) + 9


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (950, "950"), (12_340, "12.3k"), (4_560_000, "4.56M"), (2_000_000_000, "2G")]
)
def test_numbers_are_short(value, text):
    assert short(value) == text


def test_labels():
    assert [power(n) for n in (-1, 0, 9, 13, 14, 20, 31)] == ["1", "1", "512", "8,192", "16Ki", "1Mi", "2Gi"]
    assert (share(0.5), share(0.0004)) == ("50.0%", "<0.1%")
    assert label("too_short") == "too_short"
    assert label("gopher_repetition.max_duplicate_10_gram_characters") == "gopher_repetition.\nmax_duplicate_10_gram_characters"
    assert len(label("x" * 63)) == 32
