"""Documents by number over several parts: sizes, sets of n-grams, similarities, places."""

from itertools import pairwise

import numpy as np
import pytest

from tasks.data.documents.document import DocumentWriter
from tasks.data.overlap.signatures import NearDuplicateSettings
from tasks.data.overlap.texts import ComparedPart, ComparedTexts
from tests.kit.edited_texts import all_similarities, edited_collection, write_documents

SETTINGS = NearDuplicateSettings(ngram=2)
WORDS = [f"w{number}" for number in range(50)]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [*edited_collection([" ".join(rng.choice(WORDS, 40)) for _ in range(20)], 60), "", "..."]


@pytest.fixture(scope="module")
def compared(texts, tmp_path_factory):
    """Of three parts, of which the middle one is a reference, and an empty one."""
    path = tmp_path_factory.mktemp("parts")
    parts = [
        ComparedPart(write_documents(path / f"{first}.arrow", texts[first:end], f"part {first} page"), path, path, first == 10)
        for first, end in ((0, 10), (10, 25), (25, 62))
    ]
    DocumentWriter(path / "empty.arrow").close()
    return ComparedTexts([*parts, ComparedPart(path / "empty.arrow", path, path)], path)


def in_order(texts):
    """References come first."""
    return texts[10:25] + texts[:10] + texts[25:]


def test_references_have_the_lowest_numbers(compared, texts):
    assert compared.num_documents == 62 and compared.num_references == 15
    assert compared.sizes.tolist() == [len(text.encode()) for text in in_order(texts)]
    assert [compared.where(number) for number in (0, 14, 15, 61)] == [
        "part 10 page 0",
        "part 10 page 14",
        "part 0 page 0",
        "part 25 page 36",
    ]


@pytest.mark.parametrize("memory_bytes", [1, 20_000, 1 << 20])
def test_similarities_are_exact_whatever_fits_into_memory(compared, texts, memory_bytes):
    expected = all_similarities(in_order(texts), SETTINGS.ngram)
    firsts, seconds = (side[::5] for side in np.triu_indices(62, 1))
    found = compared.similarities(firsts, seconds, SETTINGS, memory_bytes)
    assert np.allclose(found, expected[firsts, seconds], atol=1e-12) and 0 < found.mean() < found.max() == 1
    numbers = np.random.default_rng(1).permutation(62)
    compare = compared.comparer(numbers, SETTINGS, memory_bytes)
    assert np.allclose(compare(firsts, seconds), expected[numbers[firsts], numbers[seconds]], atol=1e-12)


def test_sets_are_sorted_and_without_repetitions(compared):
    numbers = np.array([3, 14, 15, 40, 60, 61])
    sets, starts = compared.ngram_sets(numbers, SETTINGS)
    for first, end in pairwise(starts):
        assert (np.diff(sets[first:end].astype(object)) > 0).all()
    assert (np.diff(starts) > 0).tolist() == [True, True, True, True, False, False], "the last two have no words"
