"""Finding phrases with an automaton, against looking for each of them."""

import random

import numpy as np

from tasks.data.quality.phrases import phrase_table, phrases_in


def bits_in(text, table):
    return phrases_in(np.frombuffer(text.encode(), dtype=np.uint8), table)


def test_phrases_are_found_wherever_they_stand_and_however_they_overlap():
    phrases = {"he": 1, "she": 2, "his": 4, "hers": 8, "é": 16}
    table = phrase_table(phrases)
    generator = random.Random(0)
    for _ in range(500):
        text = "".join(generator.choice("heHESirsé ") for _ in range(generator.randrange(12)))
        assert bits_in(text, table) == sum(bits for phrase, bits in phrases.items() if phrase in text.lower()), text


def test_only_the_given_part_of_the_data_is_read():
    table = phrase_table({"ab": 1})
    data = np.frombuffer(b"xab", dtype=np.uint8)
    assert phrases_in(data[:2], table) == 0
    assert phrases_in(data[2:], table) == 0
    assert phrases_in(data[1:], table) == 1
