"""Turns through a pipe, as a person would have them in a terminal."""

import io
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.record.errors import ConfigError
from tasks.training import chat as module
from tasks.training.chat import Conversation, main
from tests.kit.asked_models import POSITIONS, export_asked


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_asked(tmp_path_factory.mktemp("asked") / "export", "instruction")


@pytest.fixture
def said(export: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """What the command answers to lines of standard input, and what it says on standard error."""

    def answers(lines: list[str], *options: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))
        capsys.readouterr()  # what plain transformers shows while it loads
        assert main([str(export), *options]) == code
        return capsys.readouterr()

    return answers


def plain_answers(export: Path, prompts: list[str], system: str | None = None) -> list[str]:
    """By plain transformers, the most probable token each time, 8 of them."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(export).eval(), AutoTokenizer.from_pretrained(export)
    messages = [{"role": "system", "content": system}] if system else []
    found = []
    for prompt in prompts:
        messages.append({"role": "user", "content": prompt})
        batch = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        made = model.generate(**batch, do_sample=False, max_new_tokens=8)
        found.append(tokenizer.decode(made[0][batch["input_ids"].shape[1] :], skip_special_tokens=True))
        messages.append({"role": "assistant", "content": found[-1]})
    return found


GREEDY = ("--temperature=0", "--max-new-tokens=8")


def test_each_line_is_a_turn_that_sees_those_before_it(export: Path, said) -> None:
    expected = plain_answers(export, ["the fox", "and then"])
    assert expected != plain_answers(export, ["the fox"]) + plain_answers(export, ["and then"]), "the history would not show"
    assert said(["the fox", "", "and then"], *GREEDY) == ("".join(f"{answer}\n" for answer in expected), "")


def test_a_new_conversation_has_forgotten_and_quit_ends(export: Path, said) -> None:
    (answer,) = plain_answers(export, ["the fox"])
    assert said(["the fox", "/new", "the fox", "/quit", "the fox"], *GREEDY).out == f"{answer}\n{answer}\n"


def test_the_system_text_comes_first_also_in_a_new_conversation(export: Path, said) -> None:
    (answer,) = plain_answers(export, ["fox"], "the dog sleeps")
    assert [answer] != plain_answers(export, ["fox"])
    assert said(["fox", "/new", "fox"], *GREEDY, "--system=the dog sleeps").out == f"{answer}\n{answer}\n"


def test_a_seed_repeats_what_is_sampled(said) -> None:
    found = [said(["the fox"], f"--seed={seed}", "--max-new-tokens=12").out for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_a_message_that_cannot_fit_is_refused(said) -> None:
    out, error = said(["dog? " * POSITIONS], code=2)
    assert out == "" and error.startswith("pretune: the message has ") and f"the model reads {POSITIONS}; shorten it" in error


def test_a_long_conversation_goes_on_with_its_end(export: Path) -> None:
    talk = Conversation(module.load_model(export), module.load_tokenizer(export), "fox", 0.0, 8)
    talk.begin()
    for number in range(12):
        talk.say(f"dog {number}")
    assert talk.messages[0] == {"role": "system", "content": "fox"}
    assert [turn["role"] for turn in talk.messages[1:]] == ["user", "assistant"] * (len(talk.messages) // 2)
    assert talk.messages[-2]["content"] == "dog 11"
    assert 3 < len(talk.messages) < 25, "the oldest are gone"


def test_a_turn_that_is_interrupted_leaves_no_trace(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Conversation(module.load_model(export), module.load_tokenizer(export), None, 0.0, 8)

    def interrupted(**_: object) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(talk.model, "generate", interrupted)
    module.answer_to(talk, "the fox")
    assert talk.messages == []


def test_in_a_terminal_a_mistake_does_not_end_the_conversation(
    export: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    talk = Conversation(module.load_model(export), module.load_tokenizer(export))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    module.answer_to(talk, "dog? " * POSITIONS)
    assert "shorten it" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ConfigError):
        module.answer_to(talk, "dog? " * POSITIONS)
