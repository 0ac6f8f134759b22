"""Test examples that training has seen, word for word or nearly."""

import pytest

from tasks.training.leakage import leaked

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def texts(*found: str) -> list[dict[str, str]]:
    return [{"id": str(i), "text": text, "label": "a"} for i, text in enumerate(found)]


def answers(*found: tuple[str, str]) -> list[dict[str, str]]:
    return [{"id": str(i), "prompt": prompt, "answer": answer} for i, (prompt, answer) in enumerate(found)]


@pytest.mark.parametrize(
    ("train", "test", "exact", "near"),
    [
        (texts("a cat"), texts("a dog"), 0, 0),
        (texts("a cat", "an owl"), texts("a cat", "a dog", "an owl"), 2, 0),
        (texts("a cat\r\n"), texts("a cat"), 1, 0),
        (texts("caf\u00e9"), texts("cafe\u0301"), 1, 0),
        (texts("A cat"), texts("a cat"), 0, 0),
        (texts(LONG), texts(LONG), 1, 0),
        (texts(f"It began: {LONG.upper()}!"), texts(f"{LONG} and so on", "nothing of the kind"), 0, 1),
        (texts(" ".join(LONG.split()[:12])), texts(LONG), 0, 0),
        (answers(("What is a cat?", "An animal.")), answers(("What is a cat?", "A pet.")), 1, 0),
        (answers(("What is a cat?", "An animal.")), answers(("What is an owl?", "An animal.")), 0, 0),
        (answers(("Say it", LONG)), answers(("Do tell", LONG)), 0, 1),
    ],
)
def test_what_is_in_both_is_counted(train: list, test: list, exact: int, near: int) -> None:
    assert leaked(train, test) == (exact, near)


def test_of_many_training_examples_the_last_counts_too() -> None:
    train = texts(*(f"text number {i}" for i in range(25_000)), LONG)
    assert leaked(train, texts("text number 24999", f"so {LONG} it was")) == (1, 1)
