"""Examples by the template of a base from elsewhere: ids of plain transformers, loss on the answer and its end."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tasks.data.tokens.examples import IGNORED
from tasks.data.tokens.given import GivenTokenizer, given_instruction, given_prompt
from tasks.data.tokens.rows import Rows, encode_rows, ids_to_continue, is_own, text_of, tokenizer_of
from tasks.data.tokens.tokenizer import CHAT_TEMPLATE, save_tokenizer, train_tokenizer
from tasks.record.errors import ConfigError
from tasks.record.files import write_json
from tests.kit.bases import TEMPLATE, byte_level, metaspace
from tests.kit.preparations import sentences

PAIRS = [
    {"id": "1", "prompt": "What is a cat?", "answer": "The cat sees the dog."},
    {"id": "2", "prompt": "(naïve)", "answer": "café!"},
    {"id": "3", "prompt": "Say:\n\n  two lines ", "answer": " one\ntwo\n"},
]
GLUED = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
"""No token between a question and its answer, so that a tokenizer joins what is around the border."""


def written(folder: Path, tokenizer: Tokenizer, template: str = TEMPLATE, end: str = "<|im_end|>") -> Path:
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=end, pad_token=end)
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["byte-level", "metaspace"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = byte_level() if request.param == "byte-level" else metaspace()
    return written(tmp_path_factory.mktemp("given") / "tokenizer", tokenizer)


def turns(pair: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["answer"]}]


def rows_of(folder: Path, max_length: int = 1000, pairs: Any = PAIRS) -> Rows:
    return encode_rows(tokenizer_of(folder), "instruction", pairs, [], max_length)


def test_ids_are_those_of_the_chat_template_and_labels_those_of_the_answer(folder: Path) -> None:
    plain, rows = AutoTokenizer.from_pretrained(folder), rows_of(folder)
    assert rows.truncated == 0
    for pair, ids, labels in zip(PAIRS, rows.ids, rows.labels, strict=True):
        assert ids.tolist() == plain.apply_chat_template(turns(pair))["input_ids"]
        prompt = plain.apply_chat_template(turns(pair)[:1], add_generation_prompt=True)["input_ids"]
        assert given_prompt(GivenTokenizer(folder), pair["prompt"]).tolist() == prompt
        learned = labels != IGNORED
        assert not learned[: len(prompt)].any() and learned.sum() >= 2
        assert plain.decode(ids[learned]) == pair["answer"] + "<|im_end|>"
        assert plain.decode(ids[np.flatnonzero(learned)[-1] + 1 :]) == "\n", "what the template writes after the end"
        assert (labels[learned] == ids[learned]).all()
        assert ids.dtype == labels.dtype == np.int64


@pytest.mark.parametrize("max_length", [26, 33, 40])
def test_what_is_too_long_keeps_prompt_and_answer_and_is_counted(folder: Path, max_length: int) -> None:
    long, short = " ".join(sentences(8)), "yes"
    pairs = [{"id": "", "prompt": p, "answer": a} for p, a in [(long, long), (long, short), (short, long), (short, short)]]
    given, rows, whole = GivenTokenizer(folder), rows_of(folder, max_length, pairs), rows_of(folder, 10**6, pairs)
    tail = given.frame()[1]
    assert rows.truncated == sum(len(row) > max_length for row in whole.ids) >= 3
    for ids, labels, full, full_labels in list(zip(rows.ids, rows.labels, whole.ids, whole.labels, strict=True))[:3]:
        assert len(ids) == max_length
        answer, full_answer = ids[labels != IGNORED], full[full_labels != IGNORED]
        assert len(answer) > 0 and answer.tolist() == full_answer[: len(answer)].tolist()
        before, full_before = ids[: -len(answer)], full[: np.flatnonzero(full_labels != IGNORED)[0]]
        assert before[:-tail].tolist() == full_before[: len(before) - tail].tolist()
        assert before[-tail:].tolist() == full_before[-tail:].tolist(), "the answer still follows what the template writes"
    assert rows.ids[1][-1] == given.tokenizer.eos_token_id or max_length < 30, "a short answer stays whole"


def test_a_length_that_only_the_template_fills_is_refused(folder: Path) -> None:
    head, tail = GivenTokenizer(folder).frame()
    with pytest.raises(ConfigError) as error:
        rows_of(folder, head + tail + 1)
    assert str(error.value) == (
        f"max_length={head + tail + 1} has no room for a prompt and its answer: the chat template of the base writes "
        f"{head + tail} tokens around them; set it to more than {head + tail + 2}"
    )


def test_a_tokenizer_that_joins_prompt_and_answer_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With Metaspace a space belongs to the word behind it: ids of the prompt alone are not those before the answer."""
    given = GivenTokenizer(written(tmp_path / "t", metaspace(), GLUED, "<s>"))
    pairs = [{"prompt": text[:-4], "answer": text[-4:]} for text in sentences(40)]
    with caplog.at_level(logging.WARNING):
        ids, labels = given_instruction(given, pairs, 100)
    for pair, row, label in zip(pairs, ids, labels, strict=True):
        assert row.tolist() == given.tokenizer.apply_chat_template(turns(pair))["input_ids"]
        assert given.tokenizer.decode(label[label != IGNORED]).endswith(pair["answer"]), "all of the answer is learned"
    joined, endless = caplog.messages
    assert re.match(r"\d+ of 40 prompts have other tokens alone than before their answers: the tokenizer joins both", joined)
    assert endless == "40 of 40 answers do not end with a token at which the model stops"


def test_an_end_of_the_generation_settings_ends_an_answer(tmp_path: Path) -> None:
    folder = written(tmp_path / "t", byte_level(), end="<s>")
    assert GivenTokenizer(folder).ends == {0}
    write_json(folder / "generation_config.json", {"eos_token_id": [0, 2]})
    given = GivenTokenizer(folder)
    assert given.ends == {0, 2}
    labels = given_instruction(given, PAIRS, 1000)[1]
    assert [label[label != IGNORED][-1] for label in labels] == [2, 2, 2]


@pytest.mark.parametrize("begins", [False, True])
def test_classification_is_what_the_tokenizer_itself_makes_of_a_text(tmp_path: Path, begins: bool) -> None:
    tokenizer = byte_level()
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single=["<s>", "$A"], special_tokens=[("<s>", 0)])
    folder = written(tmp_path / "t", tokenizer)
    examples = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(["", *sentences(20)])]
    rows = encode_rows(tokenizer_of(folder), "classification", examples, ["a", "b"], 12)
    plain = AutoTokenizer.from_pretrained(folder)
    expected = plain([e["text"] for e in examples], truncation=True, max_length=12)["input_ids"]
    assert [ids.tolist() for ids in rows.ids[1:]] == expected[1:]
    assert rows.ids[0].tolist() == [0], "there is always a token"
    assert (rows.ids[1][0] == 0) is np.bool_(begins)
    assert rows.labels == [0, 1] * 10 + [0]
    assert rows.truncated == sum(len(plain(e["text"])["input_ids"]) > 12 for e in examples) > 5


def test_a_prompt_is_continued_or_answered(folder: Path) -> None:
    given, plain = tokenizer_of(folder), AutoTokenizer.from_pretrained(folder)
    assert ids_to_continue(given, "the cat", chat=False) == plain("the cat")["input_ids"]
    assert ids_to_continue(given, "", chat=False) == [0]
    asked = plain.apply_chat_template([{"role": "user", "content": "the cat"}], add_generation_prompt=True)["input_ids"]
    assert ids_to_continue(given, "the cat", chat=True) == asked
    assert text_of(given, [*plain("the cat", add_special_tokens=False)["input_ids"], 2]) == "the cat"


def test_a_tokenizer_that_was_made_here_is_known_and_keeps_its_ids(tmp_path: Path) -> None:
    own = train_tokenizer(sentences(300), 400, 10_000_000)
    save_tokenizer(own, tmp_path / "own")
    assert is_own(tmp_path / "own") and not is_own(written(tmp_path / "given", byte_level()))
    assert not is_own(written(tmp_path / "completed", byte_level(), CHAT_TEMPLATE)), "a base that was given our template"
    long = [*PAIRS, {"id": "4", "prompt": "x " * 200, "answer": "y " * 200}]
    rows = rows_of(tmp_path / "own", 40, long)
    from tasks.data.tokens.examples import encode_instruction

    ids, labels = encode_instruction(own, long, 40)
    assert [row.tolist() for row in rows.ids] == [row.tolist() for row in ids]
    assert [row.tolist() for row in rows.labels] == [row.tolist() for row in labels]
    assert rows.truncated == 1
