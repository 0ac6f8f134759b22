"""Band keys: as many common ones as the formula says, the same for ever, and the same in however many batches."""

import numpy as np
import pyarrow as pa
import pytest

from tasks.data.documents.document import DocumentWriter
from tasks.data.documents.ngrams import text_buffers
from tasks.data.overlap.signatures import MIN_RECALL, NO_KEY, NearDuplicateSettings, band_keys, write_keys
from tests.kit.edited_texts import write_documents

SETTINGS = NearDuplicateSettings(ngram=1)


def keys_of(texts, settings=SETTINGS):
    return band_keys(*text_buffers(pa.array(texts, pa.large_string())), settings)


def pair_of_sets(rng, size, similarity):
    """Two texts of `size` random words each, and their true Jaccard similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    drawn = [f"w{number}" for number in rng.choice(10**9, 2 * size - shared, replace=False)]
    return [" ".join(drawn[:size]), " ".join(drawn[size - shared :])], shared / len(drawn)


@pytest.mark.parametrize("size", [60, 500])
@pytest.mark.parametrize("similarity", [0.6, 0.8])
def test_pairs_share_a_key_as_often_as_the_formula_says(size, similarity):
    rng = np.random.default_rng(int(size * similarity))
    texts, true = zip(*[pair_of_sets(rng, size, similarity) for _ in range(500)], strict=True)
    keys = keys_of([text for pair in texts for text in pair])
    shared = (keys[:, 0::2] == keys[:, 1::2]).any(axis=0)
    expected = np.mean([SETTINGS.recall(value, SETTINGS.rows) for value in true])
    assert shared.mean() == pytest.approx(expected, abs=max(0.006, 3 * (expected * (1 - expected) / 500) ** 0.5))


def test_bands_follow_from_the_threshold():
    assert (SETTINGS.rows, SETTINGS.bands) == (6, 21)
    assert SETTINGS.recall(0.8, 6) == pytest.approx(1 - (1 - 0.8**6) ** 21)
    for threshold in (0.5, 0.7, 0.9, 0.97):
        settings = NearDuplicateSettings(threshold=threshold)
        assert settings.recall(threshold, settings.rows) >= MIN_RECALL > settings.recall(threshold, settings.rows + 1)


def test_order_and_repetition_of_ngrams_do_not_count():
    keys = keys_of(["a b c d e", "e d c b a", "a a b c d e e", "a b c d f"])
    assert (keys[:, 0] == keys[:, 1]).all() and (keys[:, 0] == keys[:, 2]).all()
    assert (keys[:, 0] != keys[:, 3]).any()


def test_a_document_without_words_has_no_key():
    keys = keys_of(["", "!", "a"])
    assert (keys[:, :2] == NO_KEY).all() and (keys[:, 2] != NO_KEY).all()


def test_the_keys_stay_what_they_were():
    """Keys made on another machine or by an earlier version must match: these numbers may never change."""
    keys = keys_of(["The quick brown fox jumps over the lazy dog"], NearDuplicateSettings())
    assert keys[[0, 20], 0].tolist() == [10745389762947676714, 1058234690801149046]
    assert (keys_of(["The quick brown fox"], NearDuplicateSettings(seed=1)) != keys_of(["The quick brown fox"])).all()


def test_a_file_of_keys_has_a_column_for_each_document(tmp_path):
    texts = [f"page {number} of a small file" for number in range(5000)]
    write_documents(tmp_path / "some.arrow", texts)
    write_keys(tmp_path / "some.arrow", tmp_path / "some.keys.npy", SETTINGS)
    keys = np.load(tmp_path / "some.keys.npy")
    assert keys.shape == (21, 5000) and keys.flags.c_contiguous
    assert (keys == keys_of(texts)).all(), "although the file has several batches"
    DocumentWriter(tmp_path / "none.arrow").close()
    write_keys(tmp_path / "none.arrow", tmp_path / "none.keys.npy", SETTINGS)
    assert np.load(tmp_path / "none.keys.npy").shape == (21, 0)
