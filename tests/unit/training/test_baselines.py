"""What a classifier must be better than."""

import pytest

from tasks.training.baselines import majority_label, tfidf_labels


@pytest.mark.parametrize(
    ("train", "label"), [(["a", "a", "b"], "a"), (["b", "a", "b", "a"], "a"), (["b"], "b"), (["a", "c", "c"], "c")]
)
def test_the_most_frequent_training_label_is_named(train: list, label: str) -> None:
    assert majority_label(train) == label


def test_words_that_tell_the_class_are_learned_and_others_are_not() -> None:
    train = [
        (f"the {word} number {i} is here", label) for i in range(30) for word, label in (("cat", "animal"), ("oak", "tree"))
    ]
    assert tfidf_labels(train, ["a cat was there", "an oak was there"]) == ["animal", "tree"]


@pytest.mark.parametrize(
    "train",
    [
        [("red fox", "a"), ("blue sky", "b"), ("green leaf", "a")],
        [("a b c", "a"), ("a b c", "b"), ("a", "b")],
        [("the cat sat", "a"), ("the cat ran", "a")],
        [("", "a"), ("", "b")],
    ],
    ids=["no word twice", "words of one letter", "one label", "no words"],
)
def test_where_there_is_nothing_to_fit_there_is_no_baseline(train: list) -> None:
    assert tfidf_labels(train, ["the red cat"]) is None
