"""Duplicates found by keys against all pairs compared; the same result however the documents are spread and the memory is."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tasks.data.overlap import duplicates
from tasks.data.overlap.duplicates import EXACT, KEEP, NEAR, find_duplicates
from tasks.data.overlap.signatures import NearDuplicateSettings, write_keys
from tasks.data.overlap.texts import ComparedPart
from tests.kit.edited_texts import all_similarities, dropped_by_leader_rule, edited_collection, write_documents
from tests.kit.real_data import folder

SETTINGS = NearDuplicateSettings()
MEMORY = 64 << 20


def leads(count):
    with gzip.open(folder("wikipedia", "enwiki-2026-vital-articles-leads.jsonl.gz"), "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line, _ in zip(file, range(count), strict=False)]


def parts_of(path, texts, cuts=(), settings=SETTINGS, references=0):
    """Parts of `texts`, cut at the given places; the first `references` of the parts are references."""
    path.mkdir()
    edges = [0, *cuts, len(texts)]
    parts = []
    for index, (first, end) in enumerate(pairwise(edges)):
        documents = write_documents(path / f"{index}.arrow", texts[first:end], f"part {index} page")
        keys = path / f"{index}.keys.npy"
        write_keys(documents, keys, settings)
        parts.append(ComparedPart(documents, keys, path / f"{index}", reference=index < references))
    return parts


def search(parts, settings=SETTINGS, memory_bytes=MEMORY):
    work = parts[0].documents.parent
    summary = find_duplicates(parts, settings, work, memory_bytes, lambda fraction, message: None)
    assert not (work / "duplicates").exists()
    outs = [part.out for part in parts if not part.reference]
    drop, of = ([np.load(Path(f"{out}.{name}.npy")) for out in outs] for name in ("drop", "duplicate_of"))
    return summary, np.concatenate(drop), np.concatenate(of)


def words(first, count):
    return " ".join(f"w{number}" for number in range(first, first + count))


@pytest.fixture(scope="module")
def collection():
    texts = edited_collection(leads(400), 800)
    return texts, all_similarities(texts, SETTINGS.ngram)


def test_nearly_all_that_a_comparison_of_all_pairs_finds(tmp_path, collection):
    texts, similarities = collection
    summary, drop, of = search(parts_of(tmp_path / "data", texts))
    expected = dropped_by_leader_rule(similarities >= SETTINGS.threshold)
    dropped = drop != KEEP
    assert 150 < expected.sum() < 600
    assert (dropped & expected).sum() >= 0.98 * expected.sum()
    assert (dropped & expected).sum() >= 0.98 * dropped.sum()
    assert (similarities[dropped.nonzero()[0], of[dropped]] >= SETTINGS.threshold).all(), "each is like the one it is named for"
    assert (of[dropped] < dropped.nonzero()[0]).all() and not dropped[of[dropped]].any(), "which is earlier, and kept"
    assert (of[~dropped] == -1).all()
    assert summary.exact == (drop == EXACT).sum() > 20 and summary.near == (drop == NEAR).sum() > 100
    assert summary.documents == 800 and summary.references == summary.unsettled == summary.uncompared == 0
    sizes = np.bincount(of[dropped])
    assert summary.cluster_sizes["2"] == (sizes == 1).sum() and sum(summary.cluster_sizes.values()) == (sizes > 0).sum()
    assert len(summary.examples) == 5
    first = int(np.flatnonzero(drop == NEAR)[0])
    example = {"where": f"part 0 page {first}", "duplicate_of": f"part 0 page {of[first]}"}
    assert summary.examples[0] == example | {"jaccard": round(similarities[first, of[first]], 4)}


def test_neither_the_parts_nor_the_memory_change_the_result(tmp_path, collection):
    texts = collection[0][:500]
    _, drop, of = search(parts_of(tmp_path / "one", texts))
    parts = parts_of(tmp_path / "many", texts, cuts=(1, 1, 170, 171, 420))
    summary, drop_spread, of_spread = search(parts)
    tiny_summary, drop_tiny, of_tiny = search(parts, memory_bytes=4000)
    assert (drop == drop_spread).all() and (of == of_spread).all()
    assert (drop == drop_tiny).all() and (of == of_tiny).all()
    assert tiny_summary == summary
    assert summary.first_numbers == [0, 1, 1, 170, 171, 420]


def test_an_earlier_data_set_is_never_dropped_and_comes_first(tmp_path):
    texts = [words(0, 200), words(1000, 200), words(0, 200), words(1000, 201), words(5000, 50), words(5000, 50)]
    parts = parts_of(tmp_path / "data", texts, cuts=(2,))
    parts = [parts[0], ComparedPart(parts[1].documents, parts[1].keys, parts[1].out, reference=True)]
    summary, drop, of = search(parts)
    assert drop.tolist() == [EXACT, NEAR], "although the reference was given last"
    assert of.tolist() == [0, 1] and summary.first_numbers == [4, 0]
    assert summary.of_references == 2 and summary.references == 4
    assert not Path(f"{parts[1].out}.drop.npy").exists()


def test_a_chain_of_small_steps_keeps_what_is_unlike_the_first(tmp_path):
    """0-1 and 1-2 are alike and 0-2 are not: connected components would drop 2, for which nothing kept stands."""
    texts = [words(0, 200), words(20, 200), words(40, 200)]
    similarities = all_similarities(texts, 5)
    assert similarities[0, 1] > 0.8 and similarities[1, 2] > 0.8 > similarities[0, 2]
    for order, expected in (((0, 1, 2), [0, 2, 0]), ((1, 0, 2), [0, 2, 2]), ((2, 0, 1), [0, 0, 2])):
        path = tmp_path / "".join(map(str, order))
        _, drop, _ = search(parts_of(path, [texts[index] for index in order]))
        assert drop.tolist() == expected


@pytest.mark.parametrize("order", ["ascending", "shuffled"])
def test_a_long_chain_is_settled_as_all_pairs_would_settle_it(tmp_path, order):
    """Every document is like its neighbours; in whatever order the bands find that, the kept ones are those of the rule."""
    steps = range(40) if order == "ascending" else np.random.default_rng(0).permutation(40)
    texts = [words(12 * int(step), 200) for step in steps]
    similarities = all_similarities(texts, 5)
    expected = dropped_by_leader_rule(similarities >= SETTINGS.threshold)
    summary, drop, of = search(parts_of(tmp_path / "data", texts))
    assert (drop == np.where(expected, NEAR, KEEP)).all() and summary.unsettled == 0
    assert (similarities[np.flatnonzero(drop), of[drop != KEEP]] >= SETTINGS.threshold).all()


def test_what_is_not_settled_in_time_is_kept_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_SWEEPS", 1)
    texts = [words(12 * step, 200) for step in range(40)]
    summary, drop, of = search(parts_of(tmp_path / "data", texts))
    assert summary.unsettled > 0
    assert (of[drop != KEEP] >= 0).all() and not drop[of[drop != KEEP]].any()


def test_the_copy_of_a_near_duplicate_is_named_for_what_is_kept(tmp_path):
    texts = [words(0, 200), words(0, 201), words(0, 201)]
    _, drop, of = search(parts_of(tmp_path / "data", texts))
    assert drop.tolist() == [KEEP, NEAR, EXACT] and of.tolist() == [-1, 0, 0]


def test_only_equal_texts_without_settings(tmp_path):
    texts = [words(0, 200), words(0, 201), words(0, 200), "", "...", "", "!"]
    parts = parts_of(tmp_path / "data", texts)
    parts[0].keys.unlink()
    summary, drop, _ = search(parts, settings=None)
    assert drop.tolist() == [KEEP, KEEP, EXACT, KEEP, KEEP, EXACT, KEEP]
    assert summary.near == 0 and summary.examples == [] and summary.cluster_sizes == {"2": 2}


def test_documents_without_words_are_like_no_other(tmp_path):
    _, drop, _ = search(parts_of(tmp_path / "data", ["...", "!!!", "", "one", "One."]))
    assert drop.tolist() == [KEEP, KEEP, KEEP, KEEP, NEAR]


def test_no_documents_at_all(tmp_path):
    summary, drop, of = search(parts_of(tmp_path / "data", []))
    assert summary.documents == len(drop) == len(of) == 0


def test_a_large_bucket_is_not_compared_pair_by_pair(tmp_path, monkeypatch):
    """Documents that share keys but are not alike: each is compared with the first few only, and the rest is counted."""
    monkeypatch.setattr(duplicates, "MAX_ROUNDS", 3)
    texts = [words(0, 200) + " " + words(1000 * number, 60) for number in range(1, 61)]
    assert all_similarities(texts, 5)[0, 1] < SETTINGS.threshold
    summary, drop, _ = search(parts_of(tmp_path / "data", texts))
    assert not drop.any() and summary.uncompared > 0
    assert summary.verified_pairs <= 3 * 60 * SETTINGS.bands


def test_a_report_that_raises_ends_the_search_and_leaves_nothing(tmp_path):
    def stop(fraction, message):
        raise RuntimeError(message)

    parts = parts_of(tmp_path / "data", ["a b c", "a b c"])
    with pytest.raises(RuntimeError, match="1 equal texts of 2"):
        find_duplicates(parts, SETTINGS, tmp_path / "work", MEMORY, stop)
    assert list((tmp_path / "work").iterdir()) == []
