"""Repeated lines and n-grams, against counting them with dictionaries."""

import random
from collections import Counter

import numpy as np

from tasks.data.quality.repetition import FIRST_DUPLICATE_GRAM, LAST_GRAM, NUM_GRAM_COUNTS, duplicates, gram_repetition
from tasks.data.quality.words import Tokens


def expected_repetition(words):
    """Rae et al. 2021, table A1, as datatrove counts it."""
    result = []
    for n in range(2, LAST_GRAM + 1):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        if n < FIRST_DUPLICATE_GRAM:
            top, number = Counter(grams).most_common(1)[0] if grams else ((), 0)
            result.append(number * len(" ".join(top)))
            continue
        seen, place, characters = set(), 0, 0
        while place < len(grams):
            if grams[place] in seen:
                characters += len("".join(grams[place]))
                place += n
            else:
                seen.add(grams[place])
                place += 1
        result.append(characters)
    return result


def repetition(words):
    hashes = np.array([hash(("word", word)) & 0xFFFFFFFFFFFFFFFF for word in words], dtype=np.uint64)
    out = np.full(NUM_GRAM_COUNTS, -1, np.int64)
    gram_repetition(Tokens(hashes, np.array([len(word) for word in words], dtype=np.int32)), len(words), out)
    return out.tolist()


def test_grams_of_random_texts_are_counted_as_by_definition():
    generator = random.Random(1)
    for round_ in range(300):
        vocabulary = ["a", "bb", "ccc", "d", "eeeeee", "ff"][: generator.randrange(1, 7)]
        words = [generator.choice(vocabulary) for _ in range(generator.randrange(60 if round_ % 3 else 12))]
        assert repetition(words) == expected_repetition(words), words


def test_a_sentence_that_comes_back():
    sentence = ["it", "was", "the", "best", "of", "times", "and", "it", "was", "the", "worst", "of", "times", "for", "all"]
    words = [*sentence, "something", "else", "altogether", *sentence, "end"]
    assert repetition(words) == expected_repetition(words)
    assert repetition(words)[-1] == len("".join(sentence[:10]))


def test_a_long_text_without_repetition():
    words = [str(n) for n in range(5000)]
    assert repetition(words) == [len("0 1"), len("0 1 2"), len("0 1 2 3"), 0, 0, 0, 0, 0, 0]


def test_duplicates_are_those_equal_to_an_earlier_one():
    generator = random.Random(2)
    for _ in range(100):
        values = [generator.randrange(5) for _ in range(generator.randrange(20))]
        hashes = np.array([value << 60 for value in values], dtype=np.uint64)
        lengths = np.array([10 + value for value in values], dtype=np.int32)
        again = [value for place, value in enumerate(values) if value in values[:place]]
        assert duplicates(hashes, lengths, len(values)) == (len(again), sum(10 + value for value in again))
