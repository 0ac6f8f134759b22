"""Decontamination against a plain Python account of the same rules, and against real evaluation sets."""

import json
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.ngrams import text_buffers
from tasks.data.overlap.decontamination import MAX_ITEMS, ContaminationIndex, overlap, sample_ngrams
from tests.kit.real_data import folder


def buffers(texts):
    return text_buffers(pa.array(texts, pa.large_string()))


def grams(text, n):
    words = re.findall(r"[^\W_]+", text.lower())
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def item_grams(text, n):
    words = re.findall(r"[^\W_]+", text.lower())
    return grams(text, n if len(words) >= n else len(words)) if len(words) >= min(n, 8) else []


def plain_check(sets, documents, n):
    """Matches of each document with each set, and the items touched, by the documented rules."""
    items = [(number, set(item_grams(text, n))) for number, texts in enumerate(sets.values()) for text in texts]
    owners = Counter(gram for _, found in items for gram in found)
    items = [(number, {gram for gram in found if owners[gram] <= MAX_ITEMS}) for number, found in items]
    lengths = {len(gram) for _, found in items for gram in found}
    by_set = [set().union(*[found for owner, found in items if owner == number]) for number in range(len(sets))]
    held = [[gram for length in lengths for gram in grams(text, length)] for text in documents]
    matches = [[sum(gram in wanted for gram in found) for wanted in by_set] for found in held]
    everything = {gram for found in held for gram in found}
    return matches, [bool(found & everything) for _, found in items]


def random_texts(rng, count, most, vocabulary):
    return [" ".join(f"w{n}" for n in rng.integers(0, vocabulary, rng.integers(0, most))) for _ in range(count)]


@pytest.mark.parametrize("n", [3, 9, 13])
def test_the_same_matches_as_plain_python(n):
    rng = np.random.default_rng(n)
    vocabulary = {3: 12, 9: 2, 13: 2}[n]
    sets = {name: random_texts(rng, 40, 20, vocabulary) for name in ("first", "second", "empty")}
    sets["empty"] = []
    documents = random_texts(rng, 60, 60, vocabulary)
    documents[:20] = [f"{a} {item} {b}" for a, item, b in zip(documents[:20], sets["first"], documents[20:40], strict=False)]
    matches, touched = plain_check(sets, documents, n)
    found = ContaminationIndex.build(sets, n).check(*buffers(documents))
    assert found.matches.tolist() == matches and found.touched.tolist() == touched
    assert 0 < np.count_nonzero(found.matches) < found.matches.size


def test_a_phrase_of_many_items_is_passed_over():
    phrase = " ".join(f"stock{number}" for number in range(13))
    few = {"tasks": [f"{phrase} item {number}" for number in range(MAX_ITEMS)]}
    many = {"tasks": [f"{phrase} item {number}" for number in range(MAX_ITEMS + 1)]}
    assert ContaminationIndex.build(few).check(*buffers([phrase])).contaminated().tolist() == [True]
    index = ContaminationIndex.build(many)
    assert index.check(*buffers([phrase])).contaminated().tolist() == [False]
    assert index.check(*buffers([f"{phrase} item 3"])).touched.tolist() == [number == 3 for number in range(11)]


def test_short_items_must_occur_whole_and_very_short_ones_are_not_looked_for():
    nine, seven = "a b c d e f g h i", "t u v w x y z"
    index = ContaminationIndex.build({"one": [nine], "two": [seven]})
    found = index.check(*buffers([f"so {nine.upper()}, so", "a b c d e f g h", f"so {seven} so", ""]))
    assert found.matches.tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]
    assert index.items_of_sets(index.searched) == {"one": 1, "two": 0}
    assert index.items_of_sets(found.touched) == {"one": 1, "two": 0}
    assert found.first_set().tolist() == [0, -1, -1, -1]


def test_fewer_matches_than_asked_for_do_not_contaminate():
    text = " ".join(f"w{number}" for number in range(20))
    found = ContaminationIndex.build({"one": [text]}).check(*buffers([text, " ".join(text.split()[:13])]))
    assert found.matches[:, 0].tolist() == [8, 1]
    assert found.contaminated(min_matches=2).tolist() == [True, False]
    assert found.first_set(min_matches=2).tolist() == [0, -1]


def test_no_evaluation_set_contaminates_nothing():
    index = ContaminationIndex.build({})
    found = index.check(*buffers(["some text", ""]))
    assert found.contaminated().tolist() == [False, False] and found.first_set().tolist() == [-1, -1]
    assert index.items_of_sets(found.touched) == {}


def test_parts_joined_are_the_whole():
    rng = np.random.default_rng(1)
    documents = random_texts(rng, 50, 60, 2)
    index = ContaminationIndex.build({"one": random_texts(rng, 30, 20, 2)}, 9)
    whole = index.check(*buffers(documents))
    parts = [index.check(*buffers(documents[first : first + 20])) for first in (0, 20, 40)]
    assert (np.concatenate([part.matches for part in parts]) == whole.matches).all()
    assert (np.logical_or.reduce([part.touched for part in parts]) == whole.touched).all()


def test_lambada_is_found_in_the_documents_it_was_put_into():
    lines = folder("eval", "lambada_first1000.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line)["text"] for line in lines[:300]]
    speeches = folder("prose", "tinyshakespeare.txt").read_text(encoding="utf-8").split("\n\n")[:500]
    index = ContaminationIndex.build({"lambada": items})
    clean = index.check(*buffers(speeches))
    assert not clean.contaminated().any() and not clean.touched.any()
    speeches[7] += " " + items[42].upper().replace(",", " --")
    found = index.check(*buffers(speeches))
    assert found.contaminated().nonzero()[0].tolist() == [7] and found.touched.nonzero()[0].tolist() == [42]


def test_overlap_says_which_heldout_ngrams_training_has():
    rng = np.random.default_rng(2)
    heldout, training = random_texts(rng, 30, 40, 3), random_texts(rng, 30, 40, 3)
    table = sample_ngrams(heldout, 7)
    expected = {gram for text in heldout for gram in grams(text, 7)}
    shared = expected & {gram for text in training for gram in grams(text, 7)}
    seen = overlap(table, *buffers(training), 7)
    assert len(table.ngrams) == len(expected) and seen.sum() == len(shared) > 5
    assert (overlap(table, *buffers(training[:9]), 7) | overlap(table, *buffers(training[9:]), 7) == seen).all()
    assert overlap(table, *buffers(heldout), 7).all()


def test_a_bounded_sample_does_not_depend_on_the_order():
    texts = random_texts(np.random.default_rng(3), 200, 40, 100)
    table = sample_ngrams(texts, 5, max_ngrams=100)
    assert len(table.ngrams) == 100
    assert (sample_ngrams(reversed(texts), 5, max_ngrams=100).ngrams == table.ngrams).all()
    assert (table.ngrams == sample_ngrams(texts, 5).ngrams[:100]).all()
    assert len(overlap(sample_ngrams([], 5), *buffers(texts), 5)) == 0
