"""The tables of the rules fit together."""

from tasks.data.quality.judge import COUNTS
from tasks.data.quality.repetition import FIRST_GRAM, LAST_GRAM
from tasks.data.quality.rules import FILTERS, MEASURES, PARAMETERS, known_thresholds


def test_every_threshold_is_measured_or_changes_a_measure():
    assert set(known_thresholds()) == set(MEASURES) | set(PARAMETERS)
    assert not set(MEASURES) & set(PARAMETERS)


def test_every_measure_is_counted_and_its_name_says_which_way_it_fails():
    for name, measure in MEASURES.items():
        assert measure.counted in COUNTS.names
        assert measure.per is None or measure.per in COUNTS.names
        assert (FIRST_GRAM <= measure.n <= LAST_GRAM) == (measure.counted == "gram_characters")
        assert f"_{measure.n}_gram_" in name or measure.n == 0
        assert name.split(".")[1].startswith(("min_", "max_"))


def test_the_defaults_are_the_published_ones():
    known = known_thresholds()
    assert list(FILTERS) == ["gopher_quality", "gopher_repetition", "c4", "fineweb"]
    grams = [known[f"gopher_repetition.max_top_{n}_gram_characters"] for n in (2, 3, 4)]
    grams += [known[f"gopher_repetition.max_duplicate_{n}_gram_characters"] for n in range(5, 11)]
    assert grams == [0.20, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10]
    assert [known[f"gopher_quality.{name}_words"] for name in ("min", "max")] == [50, 100_000]
    assert (known["c4.min_words_per_line"], known["c4.min_sentences"]) == (5, 3)
    assert (known["fineweb.min_terminated_lines"], known["fineweb.max_short_lines"]) == (0.12, 0.67)
