"""Each word has its own meaning in its category, and nothing else has one: all short names, and words of the same hash."""

import itertools
from collections import Counter

import numba
import numpy as np
import pytest

from tasks.data.wikitext.words import (
    ARGUMENT,
    COMPOUND,
    ENTITY,
    EXTENSION,
    NAMESPACE,
    RANGE_WORD,
    SECTION,
    TAG,
    TEMPLATE,
    UNIT,
    Words,
    meaning,
    named_words,
    template_words,
    word_hash,
    word_table,
)  # fmt: skip

CATEGORIES = [TAG, NAMESPACE, TEMPLATE, ARGUMENT, SECTION, EXTENSION, ENTITY, RANGE_WORD, UNIT, COMPOUND]
PRINTABLE = [chr(code) for code in range(33, 127)]


@numba.njit
def meanings(words: Words, data: np.ndarray, ends: np.ndarray, category: int) -> np.ndarray:
    found = np.zeros(len(ends), np.int64)
    start = 0
    for i in range(len(ends)):
        found[i] = meaning(words, data, start, ends[i], category)
        start = ends[i]
    return found


def looked_up(words, names, category):
    encoded = [name.encode() for name in names]
    data = np.frombuffer(bytearray(b"".join(encoded)), np.uint8)
    return meanings(words, data, np.cumsum([len(name) for name in encoded]), category)


def plain(category, name):
    """The form in which names are compared."""
    if category == ENTITY:
        return name
    return "".join(c.lower() if c.isascii() else c for c in name).replace("_", " ")


def all_words():
    return [*named_words(), *template_words("")[0]]


def listed(category):
    return {plain(category, name): value for kind, name, value in all_words() if kind == category}


def test_no_two_entries_of_a_category_are_the_same_word():
    counts = Counter((category, plain(category, name)) for category, name in {(c, n) for c, n, _ in named_words()})
    assert [word for word, number in counts.items() if number > 1] == []
    values: dict[tuple[int, str], set[int]] = {}
    for category, name, value in all_words():
        values.setdefault((category, plain(category, name)), set()).add(value)
    assert [word for word, several in values.items() if len(several) > 1] == []


def test_no_two_entries_share_a_key():
    words = word_table(frozenset({"xyz"}), "fr")
    keys = words.table["key"][words.table["key"] != 0]
    assert len(keys) > 2000
    assert len(set(keys.tolist())) == len(keys)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_listed_word_has_its_meaning_in_its_category_only(category):
    own = listed(category)
    assert looked_up(word_table(frozenset()), list(own), category).tolist() == list(own.values())
    everything = {name for other in CATEGORIES for name in listed(other)}
    others = {name for name in everything if plain(category, name) not in own}
    assert not looked_up(word_table(frozenset()), sorted(others), category).any()


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_short_name_that_is_not_listed_has_no_meaning(category):
    names = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product(PRINTABLE, repeat=size)]
    found = looked_up(word_table(frozenset()), names, category)
    own = listed(category)
    named = {names[i]: int(found[i]) for i in np.flatnonzero(found)}
    assert {plain(category, name) for name in named} == {
        name for name in own if len(name) <= 3 and set(name) <= {*PRINTABLE, " "}
    }
    assert all(value == own[plain(category, name)] for name, value in named.items())


def test_a_word_of_the_same_hash_is_not_taken_for_another():
    words = word_table(frozenset())
    table = words.table.copy()
    stranger = np.frombuffer(bytearray(b"stranger"), np.uint8)
    key = word_hash(stranger, 0, stranger.size, TAG)
    entry = table[table["value"] != 0][0]
    table[:] = 0
    table[(key >> 20) & (table.size - 1)] = (key, *list(entry)[1:])
    assert looked_up(Words(table, words.spellings, words.programs), ["stranger"], TAG).tolist() == [0]


def test_letters_count_as_lower_case_but_in_entities():
    words = word_table(frozenset())
    assert looked_up(words, ["Table", "TABLE"], TAG).all()
    assert looked_up(words, ["As_Of", "as of"], TEMPLATE).all()
    assert looked_up(words, ["Файл", "файл"], NAMESPACE).all()
    assert len(set(looked_up(words, ["Eacute", "eacute", "EACUTE"], ENTITY).tolist())) == 3
