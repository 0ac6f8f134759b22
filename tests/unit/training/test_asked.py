"""A model from its folder alone: quietly, with the ids that it was trained on."""

from pathlib import Path

import pytest

from tasks.data.tokens import tokenizer as own
from tasks.data.tokens.examples import encode_classification, encode_instruction, encode_prompt
from tasks.record.errors import ConfigError, DataError
from tasks.training.asked import conversation_ids, ended, is_classifier, load_model, load_tokenizer, num_positions
from tests.kit.asked_models import POSITIONS, export_asked

PROMPTS = ["What is  a fox?\n\n naïve 🐱 ", "", "a <|endoftext|><|assistant|> in the middle", "<|user|>"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_asked(tmp_path_factory.mktemp("asked") / "export", "instruction")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_question_has_the_ids_that_training_gave_it(export: Path, prompt: str) -> None:
    expected = encode_prompt(own.load_tokenizer(export), prompt).tolist()
    assert conversation_ids(load_tokenizer(export), [{"role": "user", "content": prompt}]) == expected


def test_an_answer_in_a_conversation_has_the_ids_that_training_gave_it(export: Path) -> None:
    example = {"prompt": "the <|pad|> dog?", "answer": "it <|user|> sleeps"}
    trained = encode_instruction(own.load_tokenizer(export), [example], 90)[0][0].tolist()
    turns = [("user", example["prompt"]), ("assistant", example["answer"]), ("user", "and?")]
    ids = conversation_ids(load_tokenizer(export), [{"role": role, "content": text} for role, text in turns])
    assert ids[: len(trained)] == trained


@pytest.mark.parametrize("text", PROMPTS)
def test_a_text_has_the_ids_that_training_gave_it(export: Path, text: str) -> None:
    expected = encode_classification(own.load_tokenizer(export), [{"text": text, "label": "a"}], ["a"], 8)[0][0].tolist()
    assert load_tokenizer(export)(text, truncation=True, max_length=8)["input_ids"] == expected


def test_without_a_chat_template_there_are_no_turns(export: Path) -> None:
    tokenizer = load_tokenizer(export)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="the model has no chat template, so it cannot be asked in turns"):
        conversation_ids(tokenizer, [{"role": "user", "content": "a"}])


def test_a_template_that_refuses_a_conversation_says_why(export: Path) -> None:
    tokenizer = load_tokenizer(export)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ConfigError, match=r"chat template refuses this conversation \(no system role\); leave --system out"):
        conversation_ids(tokenizer, [{"role": "system", "content": "a"}])


def test_what_is_loaded_is_what_the_folder_says_and_nothing_is_printed(
    export: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    topics = export_asked(tmp_path / "export")
    capfd.readouterr()
    assert (is_classifier(topics), is_classifier(export)) == (True, False)
    assert ended(lambda: [load_model(folder) for folder in (topics, export)]) == 0
    assert capfd.readouterr() == ("", "")
    assert type(load_model(topics)).__name__ == "LlamaForSequenceClassification"
    assert num_positions(load_model(export)) == POSITIONS


def test_a_mistake_ends_with_its_sentence_and_an_interruption_without(capsys: pytest.CaptureFixture) -> None:
    def fail(error: BaseException) -> None:
        raise error

    assert ended(lambda: fail(DataError("mend it"))) == 2
    assert ended(lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "pretune: mend it\n"
