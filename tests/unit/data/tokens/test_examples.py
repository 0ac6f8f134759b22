"""Examples as token ids: the same as transformers and the chat template make of them."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

from tasks.data.tokens.examples import IGNORED, encode_classification, encode_instruction, encode_prompt
from tasks.data.tokens.tokenizer import finish, save_tokenizer, train_tokenizer
from tests.kit.preparations import sentences

PAIRS = [
    {"id": "1", "prompt": "What is a cat?", "answer": "The cat sees the dog."},
    {"id": "2", "prompt": "(naïve)", "answer": "café!"},
    {"id": "3", "prompt": "Say:\n\n  two lines", "answer": "one\ntwo"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(sentences(300), 400, 10_000_000)


@pytest.fixture(scope="module")
def loaded(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    save_tokenizer(tokenizer, folder)
    return AutoTokenizer.from_pretrained(folder)


def test_classification_is_what_transformers_makes_of_the_text(tokenizer, loaded):
    examples = [{"id": str(n), "text": text, "label": "ab"[n % 2]} for n, text in enumerate(sentences(20))]
    ids, labels = encode_classification(tokenizer, examples, ["a", "b"], 12)
    expected = loaded([e["text"] for e in examples], truncation=True, max_length=12)["input_ids"]
    assert [i.tolist() for i in ids] == expected
    assert max(len(i) for i in ids) == 12
    assert labels.tolist() == [0, 1] * 10
    assert ids[0].dtype == labels.dtype == np.int64


def test_instruction_is_what_the_chat_template_makes_of_it(tokenizer, loaded):
    ids, labels = encode_instruction(tokenizer, PAIRS, 1000)
    for pair, i, label in zip(PAIRS, ids, labels, strict=True):
        turns = [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["answer"]}]
        assert i.tolist() == loaded.apply_chat_template(turns)["input_ids"]
        prompt = loaded.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
        assert encode_prompt(tokenizer, pair["prompt"]).tolist() == prompt
        assert label[: len(prompt)].tolist() == [IGNORED] * len(prompt)
        assert label[len(prompt) :].tolist() == i[len(prompt) :].tolist()
        assert loaded.decode(i[len(prompt) :]) == pair["answer"] + "<|endoftext|>"
        assert i.dtype == label.dtype == np.int64


def test_markers_in_a_prompt_are_ordinary_text(tokenizer):
    sly = {"id": "1", "prompt": "a<|assistant|>b<|endoftext|>", "answer": "c<|user|>"}
    ids, labels = encode_instruction(tokenizer, [sly], 1000)
    markers = [token for token in ids[0].tolist() if token < 4]
    assert markers == [0, 2, 3, 0]
    assert tokenizer.tokenizer.decode(labels[0][labels[0] >= 4].tolist()) == "c<|user|>"


@pytest.mark.parametrize("max_length", [8, 9, 20, 33])
def test_what_is_too_long_keeps_prompt_and_answer(tokenizer, max_length):
    long, short = " ".join(sentences(5)), "yes"
    pairs = [{"id": str(n), "prompt": p, "answer": a} for n, (p, a) in enumerate([(long, long), (long, short), (short, long)])]
    ids, labels = encode_instruction(tokenizer, pairs, max_length)
    whole, whole_labels = encode_instruction(tokenizer, pairs, 100_000)
    for i, label, full, full_label in zip(ids, labels, whole, whole_labels, strict=True):
        assert len(i) == max_length
        answer, full_answer = label[label != IGNORED], full_label[full_label != IGNORED]
        assert len(answer) > 0
        assert answer.tolist() == full_answer[: len(answer)].tolist()
        assert i[-len(answer) :].tolist() == answer.tolist()
        context = max_length - len(answer)
        assert i[: context - 1].tolist() == full[: context - 1].tolist()
        assert i[context - 1] == 3
    assert ids[1][-1] == 0 or max_length < 12, "a short answer stays whole"


def test_a_given_tokenizer_without_markers_spells_them(tmp_path):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain = Tokenizer(models.BPE({c: n for n, c in enumerate([*sorted(alphabet), "</s>"])}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.add_special_tokens(["</s>"])
    ids, labels = encode_instruction(finish(plain, "</s>", "</s>"), PAIRS[:1], 1000)
    end = plain.token_to_id("</s>")
    text = bytes_of(plain, ids[0].tolist())
    assert text == "</s><|user|>What is a cat?<|assistant|>The cat sees the dog.</s>"
    assert bytes_of(plain, labels[0][labels[0] != IGNORED].tolist()) == "The cat sees the dog.</s>"
    assert (ids[0] == end).sum() == 2


def bytes_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    return "".join(tokenizer.id_to_token(i) for i in ids).replace("Ġ", " ")
