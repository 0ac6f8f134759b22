"""What a classifier must be better than."""

import pytest

from tasks.training.baselines import majority_accuracy, tfidf_accuracy


@pytest.mark.parametrize(
    ("train", "test", "accuracy"),
    [
        (["a", "a", "b"], ["a", "b", "b", "b"], 0.25),
        (["b", "a", "b", "a"], ["a", "b", "b"], 1 / 3),
        (["a"], ["b"], 0.0),
        (["c", "c"], ["c"], 1.0),
    ],
)
def test_the_majority_of_the_training_labels_is_named_always(train: list, test: list, accuracy: float) -> None:
    assert majority_accuracy(train, test) == pytest.approx(accuracy)


def test_words_that_tell_the_class_are_learned_and_others_are_not() -> None:
    train = [
        (f"the {word} number {i} is here", label) for i in range(30) for word, label in (("cat", "animal"), ("oak", "tree"))
    ]
    test = [("a cat was there", "animal"), ("an oak was there", "tree")]
    assert tfidf_accuracy(train, test) == 1.0
    assert tfidf_accuracy(train, [(text, "tree") for text, _ in test]) == 0.5
