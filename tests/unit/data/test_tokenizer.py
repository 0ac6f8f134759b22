"""The tokenizer of a data set: trained on a sample of what is kept for training, or taken; and n-grams held out."""

import numpy as np
import pytest

from tasks.data import tokenizer as tokenizer_step
from tasks.data.documents.cleaning import is_held_out, text_digest
from tasks.data.finish import TOKENIZER_PART
from tasks.data.overlap.decontamination import sample_ngrams
from tasks.data.tokenizer import heldout_texts, sampled, training_sample
from tests.kit.preparations import do_steps, no_report, sentences, stories


def deduplicated(requested, jsonl, texts, tokenizer=None, **data):
    given = {"source": "jsonl", "path": str(jsonl([{"text": t} for t in texts])), "heldout_fraction": 0.3} | data
    preparation = requested(given, tokenizer)
    do_steps(preparation, "deduplicate")
    return preparation


def sides(texts: list[str], held_out: bool) -> list[str]:
    return [text for text in texts if is_held_out(text_digest(text), 0.3) is held_out]


def test_the_tokenizer_sees_kept_training_documents_only(requested, jsonl):
    texts = sentences(100)
    preparation = deduplicated(requested, jsonl, [*texts, texts[0]])
    assert list(training_sample(preparation, 1 << 30, no_report)) == sides(texts, False)
    assert list(heldout_texts(preparation)) == sides(texts, True)


def test_a_share_of_the_documents_is_chosen_by_their_digests(requested, jsonl):
    texts = sentences(600)
    preparation = deduplicated(requested, jsonl, texts)
    total = sum(len(text.encode()) for text in texts)
    found = {share: list(training_sample(preparation, int(total * share), no_report)) for share in (0.2, 0.5)}
    for share, chosen in found.items():
        assert sum(map(len, chosen)) == pytest.approx(0.7 * share * total, rel=0.3)
    assert set(found[0.2]) < set(found[0.5]) < set(sides(texts, False))


def test_so_much_held_out_text_is_looked_at(requested, jsonl, monkeypatch):
    monkeypatch.setattr(tokenizer_step, "HELDOUT_CHARACTERS", 200)
    preparation = deduplicated(requested, jsonl, sentences(100))
    assert "".join(heldout_texts(preparation)) == "".join(sides(sentences(100), True))[:200]


def test_the_report_is_on_the_beginning_of_every_source(requested, jsonl, monkeypatch):
    monkeypatch.setattr(tokenizer_step, "REPORT_CHARACTERS", 300)
    texts = stories(30)
    other = {"name": "other", "source": "jsonl", "path": str(jsonl([{"text": t} for t in texts[10:]], "other.jsonl"))}
    preparation = deduplicated(requested, jsonl, texts[:10], mixture=[other], name="first")
    found = list(sampled(preparation))
    assert {language for _, language, _ in found} == {"en"}
    for name, expected in (("first", texts[:10]), ("other", texts[10:])):
        assert "".join(text for source, _, text in found if source == name) == "".join(expected)[:300]


def test_the_step_leaves_tokenizer_table_and_ngrams(requested, jsonl):
    texts = stories(40)
    preparation = deduplicated(requested, jsonl, texts)
    do_steps(preparation, "tokenizer")
    folder, result = preparation.work.folder(TOKENIZER_PART), preparation.work.result(TOKENIZER_PART)
    assert {key: result[key] for key in ("vocab_size", "end_of_text_id", "end_of_text", "pad")} == {
        "vocab_size": 300, "end_of_text_id": 0, "end_of_text": "<|endoftext|>", "pad": "<|pad|>",
    }  # fmt: skip
    assert np.load(folder / "token_bytes.npy").shape == (300,)
    ngrams = np.load(folder / "heldout_ngrams.npy")
    assert len(ngrams) > 500
    assert ngrams.tolist() == sample_ngrams(sides(texts, True)).ngrams.tolist()


def test_nothing_kept_leaves_a_tokenizer_of_single_bytes(requested, jsonl):
    preparation = deduplicated(requested, jsonl, sentences(5), min_characters=1000)
    do_steps(preparation, "tokenizer")
    assert preparation.work.result(TOKENIZER_PART)["vocab_size"] <= 300
    assert len(np.load(preparation.work.folder(TOKENIZER_PART) / "heldout_ngrams.npy")) == 0
