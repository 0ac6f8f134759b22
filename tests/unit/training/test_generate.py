"""Text from an exported model: repeatable, within its positions, the answer alone where it was asked a question."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tasks.data.tokens.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer
from tasks.record.layout import REPOSITORY
from tasks.training.generate import NEW_TOKENS, sample_text
from tasks.training.model.model import export_model
from tests.kit.models import tiny_model

TEXT = "the quick brown fox jumps over the lazy dog and the dog sleeps"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tokenizer(train_tokenizer([TEXT] * 5, 300, 10_000), folder / "tokenizer")
    export_model(tiny_model(max_position_embeddings=96), folder / "tokenizer", folder / "export")
    return folder / "export"


def model() -> torch.nn.Module:
    return tiny_model(max_position_embeddings=96).eval()


def test_the_same_seed_gives_the_same_text_and_another_seed_another(export: Path) -> None:
    first = sample_text(model(), export, 0, "the quick")
    assert first.startswith("the quick") and len(first) > len("the quick")
    assert sample_text(model(), export, 0, "the quick") == first
    assert sample_text(model(), export, 1, "the quick") != first


def test_a_question_gives_only_its_answer(export: Path) -> None:
    answer = sample_text(model(), export, 0, "the quick brown fox", chat=True)
    assert "the quick brown fox" not in answer
    assert answer != ""


@pytest.mark.parametrize("words", [0, 60, 500])
def test_a_prompt_that_fills_the_positions_leaves_less_room_or_none(export: Path, words: int) -> None:
    prompt = " fox" * words
    text = sample_text(model(), export, 0, prompt)
    tokens = load_tokenizer(export).tokenizer.encode(text).ids
    assert text.startswith(prompt)
    assert len(tokens) <= max(words, 0) + NEW_TOKENS + 50
    if words == 500:
        assert text == prompt, "no room at all"


def test_no_special_tokens_are_shown(export: Path) -> None:
    for seed in range(3):
        assert "<|" not in sample_text(model(), export, seed)


def test_it_is_a_command(export: Path) -> None:
    command = [sys.executable, "-m", "tasks.training.generate", str(export), "--prompt", "the quick", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no bars of what is loaded"
    assert done.stdout.strip() == sample_text(model(), export, 0, "the quick").strip()
