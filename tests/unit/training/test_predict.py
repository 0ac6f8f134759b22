"""Predictions over files against plain transformers, one text at a time."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tasks.training import predict as module
from tasks.training.predict import Generator, main, progress
from tests.kit.asked_models import LABELS, MAX_LENGTH, POSITIONS, different_texts, export_asked


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_asked(tmp_path_factory.mktemp("topics") / "export")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_asked(tmp_path_factory.mktemp("answers") / "export", "instruction")


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_thousand_texts_get_what_plain_transformers_gives_each(topics: Path, tmp_path: Path) -> None:
    texts = different_texts(1000)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    arguments = [
        str(topics),
        str(tmp_path / "in.jsonl"),
        "--output",
        str(tmp_path / "out.jsonl"),
        "--max-length",
        str(MAX_LENGTH),
    ]
    assert main(arguments) == 0
    model = AutoModelForSequenceClassification.from_pretrained(topics).eval()
    tokenizer = AutoTokenizer.from_pretrained(topics)
    found = rows_of(tmp_path / "out.jsonl")
    assert [row["text"] for row in found] == texts, "in the order of the input"
    cut = 0
    for row in found:
        batch = tokenizer(row["text"], truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        cut += batch["input_ids"].shape[1] == MAX_LENGTH
        with torch.no_grad():
            expected = model(**batch).logits.softmax(-1)[0]
        assert row["label"] == LABELS[int(expected.argmax())]
        assert list(row["probabilities"]) == LABELS
        assert torch.allclose(torch.tensor(list(row["probabilities"].values())), expected, rtol=0, atol=1e-5)
        assert row["probability"] == max(row["probabilities"].values())
    assert {row["label"] for row in found} == set(LABELS), "a model that says one thing shows nothing"
    assert cut > 100


def test_the_most_probable_labels_come_in_their_order(topics: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in.txt").write_text("the fox\nthe dog sleeps\n")
    assert main([str(topics), str(tmp_path / "in.txt"), "--top", "2"]) == 0
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        kept = list(row["probabilities"].values())
        assert len(kept) == 2 and kept == sorted(kept, reverse=True)
        assert next(iter(row["probabilities"])) == row["label"]


def greedy(folder: Path, ids: list[int], room: int) -> str:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    batch = torch.tensor([ids])
    made = model.generate(batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=room)
    return tokenizer.decode(made[0][len(ids) :], skip_special_tokens=True)


@pytest.mark.parametrize("chat", [True, False])
def test_answers_do_not_depend_on_who_is_asked_beside(answers: Path, tmp_path: Path, chat: bool) -> None:
    prompts = ["the fox", "the quick brown fox jumps over", "dog " * (POSITIONS - 30), "a"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in prompts))
    arguments = [
        str(answers),
        str(tmp_path / "in.jsonl"),
        "--column",
        "prompt",
        "--output",
        str(tmp_path / "out"),
        "--max-new-tokens=25",
    ]
    assert main([*arguments, *(["--chat"] if chat else [])]) == 0
    tokenizer = AutoTokenizer.from_pretrained(answers)
    found = rows_of(tmp_path / "out")
    assert [row["prompt"] for row in found] == prompts
    assert len({row["answer"] for row in found}) == len(prompts) and all(row["answer"].strip() for row in found)
    for row in found:
        turn = [{"role": "user", "content": row["prompt"]}]
        ids = (
            tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
            if chat
            else tokenizer(row["prompt"])["input_ids"]
        )
        assert row["answer"] == greedy(answers, list(ids), min(25, POSITIONS - len(ids)))


def test_a_prompt_that_leaves_no_room_is_refused_with_its_length(
    answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "in.txt").write_text("dog? " * POSITIONS)
    assert main([str(answers), str(tmp_path / "in.txt"), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pretune: the prompt 'dog? dog?") and f"tokens and the model reads {POSITIONS}; shorten it" in said
    assert not (tmp_path / "out").exists()


def test_a_file_is_whole_or_not_there(
    topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n' * 5 + "{\n")
    (tmp_path / "out").write_text("from before")
    assert main([str(topics), str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out")]) == 2
    assert "in.jsonl line 6 (byte 70) is not valid JSON" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out"]


def test_a_wrong_input_is_told_before_the_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "in.csv").write_text("words\na\n")
    assert main([str(tmp_path / "no-model"), str(tmp_path / "in.csv")]) == 2
    assert "--column='text' is not in" in capsys.readouterr().err


def test_progress_says_how_long_it_may_take() -> None:
    assert progress(2048, 10.0, 0.25) == "2,048 texts answered, 205 per second, 25% of the input, about 30 s left"
    assert progress(2048, 10.0, 0.0) == "2,048 texts answered, 205 per second", "of standard input nobody knows"


def test_the_same_seed_samples_the_same_answer(answers: Path) -> None:
    model, tokenizer = module.load_model(answers), module.load_tokenizer(answers)
    say = Generator(model, tokenizer, chat=True, max_new_tokens=12, temperature=1.0)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(say(["the fox"])[0]["answer"])
    assert found[0] == found[1] != found[2]
