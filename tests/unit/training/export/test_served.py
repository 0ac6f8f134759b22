"""What travels with a model answers as the model was judged: the same tokens in, the same probabilities out."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from tasks.data.tokens.examples import encode_classification, encode_prompt
from tasks.data.tokens.tokenizer import load_tokenizer
from tasks.training.export import served
from tests.kit.served_models import LABELS, export_with_tokenizer

TEXTS = [
    "the cat sat on a mat",
    "dogs",
    "a text with <|endoftext|> in it, and longer than all others by far, until it is cut off",
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "export"
    export_with_tokenizer(folder, LABELS)
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal") / "export"
    export_with_tokenizer(folder)
    return folder


def asked(*texts: str) -> pd.DataFrame:
    return pd.DataFrame({0: list(texts)})


def test_probabilities_are_those_of_the_evaluation(classifier):
    model = served._load_pyfunc(str(classifier), {"task": "text-classification", "max_length": 8})
    rows = model.predict(asked(*TEXTS))
    examples = [{"id": str(n), "text": text, "label": "cat"} for n, text in enumerate(TEXTS)]
    ids, _ = encode_classification(load_tokenizer(classifier), examples, LABELS, 8)
    plain = AutoModelForSequenceClassification.from_pretrained(classifier, dtype=torch.float32).eval()
    for (_, row), one in zip(rows.iterrows(), ids, strict=True):
        with torch.no_grad():
            expected = plain(input_ids=torch.from_numpy(one)[None]).logits[0].softmax(-1)
        assert list(row["probabilities"]) == list(LABELS)
        assert torch.tensor(list(row["probabilities"].values())) == pytest.approx(expected.numpy(), abs=1e-6)
        assert row["label"] == LABELS[int(expected.argmax())] and row["score"] == max(row["probabilities"].values())


def test_no_texts_give_no_rows(classifier):
    model = served._load_pyfunc(str(classifier), {"task": "text-classification"})
    assert list(model.predict(asked()).columns) == ["label", "score", "probabilities"]


def test_a_chat_is_framed_by_the_tokenizers_own_template_and_a_completion_is_not(causal, monkeypatch):
    seen = []
    for chat in (True, False):
        model = served._load_pyfunc(str(causal), {"task": "text-generation", "chat": chat})
        real = model.model.generate
        monkeypatch.setattr(
            model.model, "generate", lambda real=real, **how: seen.append(how["input_ids"][0].tolist()) or real(**how)
        )
        assert isinstance(model.predict(asked("the cat"))["answer"][0], str)
    tokenizer = load_tokenizer(causal)
    assert seen[0] == encode_prompt(tokenizer, "the cat").tolist()
    assert seen[1] == [tokenizer.end_of_text_id, *tokenizer.tokenizer.encode("the cat", add_special_tokens=False).ids]


def test_answers_are_as_long_as_asked_and_the_same_without_temperature(causal):
    model = served._load_pyfunc(str(causal), {"task": "text-generation", "chat": True})
    lengths = []
    real = model.tokenizer.decode
    model.tokenizer.decode = lambda ids, **how: lengths.append(len(ids)) or real(ids, **how)
    first, again = (model.predict(asked("the cat"), {"max_new_tokens": 5})["answer"][0] for _ in range(2))
    assert first == again and lengths == [5, 5]
    torch.manual_seed(1)
    warm = {model.predict(asked("the cat"), {"max_new_tokens": 5, "temperature": 2.0})["answer"][0] for _ in range(5)}
    assert len(warm) > 1


def test_a_prompt_that_leaves_no_room_is_refused(causal):
    model = served._load_pyfunc(str(causal), {"task": "text-generation", "chat": True})
    with pytest.raises(
        ValueError, match=r"the prompt has \d+ tokens and the model reads 64 with its answer; give a shorter one"
    ):
        model.predict(asked("zebra " * 60))


@pytest.mark.process
def test_it_needs_nothing_of_ours(tmp_path, classifier):
    """A copy of the file alone, in a process that cannot find the package."""
    shutil.copyfile(served.__file__, tmp_path / "alone.py")
    code = (
        "import sys, alone, pandas\n"
        "model = alone._load_pyfunc(sys.argv[1], {'task': 'text-classification'})\n"
        "print(model.predict(pandas.DataFrame({0: ['the cat']}))['label'][0])\n"
        "assert not {'tasks', 'flows', 'mlflow'} & set(sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(classifier)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() in LABELS
