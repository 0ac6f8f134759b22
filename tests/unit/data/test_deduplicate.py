"""De-duplication as a step: files of marks, over sources and earlier data sets; and what it leaves of the data set."""

import numpy as np

from tasks.data.deduplicate import cut_file, drop_file
from tasks.data.finish import DUPLICATES_PART
from tasks.data.overlap.duplicates import EXACT, KEEP, NEAR
from tests.kit.preparations import card_of, do_steps, kept_texts, manifest_of, message_of, sentences, stories


def rows(texts: list[str]) -> list[dict]:
    return [{"text": text} for text in texts]


def almost(text: str) -> str:
    return text.replace("says", "said", 1)


def test_marks_are_written_for_each_document_file(requested, jsonl):
    texts = stories(12)
    other = {"name": "other", "source": "jsonl", "path": str(jsonl(rows([almost(texts[3]), texts[4], "new"]), "o.jsonl"))}
    preparation = requested({"source": "jsonl", "path": str(jsonl(rows([*texts, texts[0]]))), "mixture": [other]})
    do_steps(preparation, "deduplicate")
    folder, work = preparation.work.folder(DUPLICATES_PART), preparation.work
    assert np.load(drop_file(folder, 0)).tolist() == [KEEP] * 12 + [EXACT]
    assert np.load(drop_file(folder, 1)).tolist() == [NEAR, EXACT, KEEP]
    assert not cut_file(folder, 0).exists()
    assert work.result(DUPLICATES_PART)["dropped"] == {"duplicate": 2, "near_duplicate": 1}
    assert work.result(DUPLICATES_PART)["changes"] == {}
    assert not (folder / "duplicates").exists()


def test_near_duplicates_stay_where_only_equal_texts_are_removed(prepared, jsonl):
    texts = stories(60)
    data = {"source": "jsonl", "path": str(jsonl(rows([*texts, almost(texts[3]), texts[4]]))), "heldout_fraction": 0.2}
    stage, manifest = manifest_of(prepared(data))
    assert manifest.details["dropped"] == {"duplicate": 1, "near_duplicate": 1}
    assert manifest.details["duplicates"]["cluster_sizes"] == {"2": 2}
    assert kept_texts((stage, manifest)) == set(texts)
    assert "| near-duplicates of an earlier one, dropped | 1 |" in card_of(stage)
    stage, manifest = manifest_of(prepared(data | {"duplicates": {"near": False}}))
    assert manifest.details["dropped"] == {"duplicate": 1}
    assert kept_texts((stage, manifest)) == {*texts, almost(texts[3])}


def test_what_an_earlier_data_set_holds_is_not_taken_again(prepared, jsonl):
    texts = stories(80)
    earlier, before = manifest_of(prepared({"source": "jsonl", "path": str(jsonl(rows(texts[:40]))), "heldout_fraction": 0.2}))
    more = [texts[0], *texts[30:], almost(texts[5])]
    data = {"source": "jsonl", "path": str(jsonl(rows(more), "more.jsonl")), "heldout_fraction": 0.2}
    for given in (str(earlier.path), earlier.path.name):
        result = stage, manifest = manifest_of(prepared(data | {"duplicates": {"against": [given]}}))
        assert kept_texts(result) == set(texts[40:])
        assert manifest.details["dropped"] == {"duplicate": 11, "near_duplicate": 1}
        assert manifest.details["duplicates"]["of_references"] == 12
        assert manifest.metrics["read_documents"] == 52
        assert manifest.inputs["against-00"].digest == before.digest
    assert f"not taken again (against-00): what is in the data set with digest `{before.digest}`" in card_of(stage)
    only_equal = data | {"duplicates": {"against": [str(earlier.path)], "near": False}}
    assert almost(texts[5]) in kept_texts(manifest_of(prepared(only_equal)))


def test_a_text_against_itself_leaves_nothing(prepared, jsonl):
    data = {"source": "jsonl", "path": str(jsonl(rows(sentences(60))))}
    earlier, _ = manifest_of(prepared(data))
    message = message_of(prepared(data | {"duplicates": {"against": [str(earlier.path)]}}))
    assert "nothing left after cleaning: 60 documents read (60 duplicate), 0 kept" in message


def paragraphs(count: int) -> list[str]:
    return [text for text in stories(count, 2) if len(text) >= 100]


def test_repeated_paragraphs_are_cut_and_documents_of_nothing_else_dropped(prepared, jsonl):
    found = paragraphs(120)
    documents = ["\n\n".join(found[n : n + 3]) for n in range(0, 90, 3)]
    mixed = f"{found[100]}\n\n{found[4]}\n\nshort\n\n{found[101]}\n\nshort"
    again = f"{found[7]}\n\n{found[20]}"
    refrain = f"{found[110]}\n\n{found[110]}"
    data = {"source": "jsonl", "path": str(jsonl(rows([*documents, mixed, again, refrain]))), "heldout_fraction": 0.2}
    duplicates = {"near": False, "paragraphs": True}
    result = stage, manifest = manifest_of(prepared(data | {"duplicates": duplicates}))
    rest = f"{found[100]}\n\nshort\n\n{found[101]}\n\nshort"
    assert kept_texts(result) == {*documents, rest, refrain}
    assert manifest.details["dropped"] == {"repeated_paragraphs": 1}
    assert manifest.details["changes"] == {"repeated_paragraphs": 3, "unchecked_paragraphs": 0}
    card = card_of(stage)
    assert "33 documents read = 32 kept + 1 dropped + 0 quarantined." in card
    assert "| `repeated_paragraphs` | 1 | 3.03% | every paragraph of it came before |" in card
    assert "| `repeated_paragraphs` | 3 | paragraphs that an earlier document has, removed |" in card
    characters = sum(manifest.metrics[f"{split}_characters"] for split in ("train", "heldout"))
    assert characters == sum(map(len, kept_texts(result)))


def test_paragraphs_of_earlier_data_sets_are_cut_too(prepared, jsonl):
    found = paragraphs(120)
    settings = {"near": False, "paragraphs": True}
    first = [{"text": text} for text in found[:60]]
    earlier, _ = manifest_of(prepared({"source": "jsonl", "path": str(jsonl(first)), "duplicates": settings}))
    texts = [f"{found[n]}\n\n{found[n + 60]}" for n in range(50)]
    data = {"source": "jsonl", "path": str(jsonl(rows(texts), "more.jsonl")), "heldout_fraction": 0.2}
    result = manifest_of(prepared(data | {"duplicates": settings | {"against": [str(earlier.path)]}}))
    assert kept_texts(result) == set(found[60:110])
    assert result[1].details["changes"]["repeated_paragraphs"] == 50
