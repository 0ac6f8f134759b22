"""Each text once, and the choice of the test set, against the rule written out here."""

import hashlib
import random
from collections import Counter

import pytest

from tasks.config.examples import ExamplesConfig
from tasks.data.documents.cleaning import Counts
from tasks.data.example_rows import Asked, labelled
from tasks.data.example_split import settle, split_by_file, split_by_hash
from tasks.record.errors import DataError


def asked(**settings) -> Asked:
    return Asked(ExamplesConfig(source="jsonl", path="a.jsonl", **settings), "classification", "finetune[topic].examples")


def candidates(*rows: tuple[str, str]) -> list:
    return [labelled(text, label, f"a.jsonl line {n}") for n, (text, label) in enumerate(rows, 1)]


CONFLICTS = (
    ("one", "a"),
    ("two", "a"),
    ("two", "b"),
    ("two", "b"),
    ("three", "a"),
    ("three", "b"),
    ("four", "c"),
    ("four", "c"),
)


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [
        ("drop_all", {"one": "a", "four": "c"}, {"conflicting_label": 5, "duplicate": 1}),
        ("first", {"one": "a", "two": "a", "three": "a", "four": "c"}, {"conflicting_label": 3, "duplicate": 1}),
        ("majority", {"one": "a", "two": "b", "four": "c"}, {"conflicting_label": 3, "duplicate": 2}),
    ],
)
def test_texts_with_two_labels_are_settled_by_the_policy_and_counted(policy, kept, dropped):
    counts = Counts()
    found = settle(candidates(*CONFLICTS), asked(on_conflict=policy), counts)
    assert {one.example["text"]: one.label for one in found} == kept
    assert +counts.dropped == Counter(dropped)
    assert counts.read == len(CONFLICTS) == len(found) + counts.dropped.total()


def test_the_order_of_rows_decides_nothing_unless_the_first_label_is_asked_for():
    shuffled = list(CONFLICTS)
    random.Random(3).shuffle(shuffled)
    for policy in ("drop_all", "majority"):
        one, two = (settle(candidates(*rows), asked(on_conflict=policy), Counts()) for rows in (CONFLICTS, shuffled))
        assert {c.id: c.label for c in one} == {c.id: c.label for c in two}


def test_a_conflict_can_end_the_preparation_and_names_both_rows():
    with pytest.raises(DataError) as found:
        settle(candidates(*CONFLICTS), asked(on_conflict="fail"), Counts())
    assert str(found.value) == (
        "a.jsonl line 3 has label 'b', and a.jsonl line 2 has the same text with label 'a'; correct one of them, or set "
        "finetune[topic].examples.on_conflict to 'drop_all', 'majority' or 'first'"
    )


def share(text: str) -> float:
    """Where a text lies among all hashes, from 0 to 1."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2.0**64


def chosen(rows: list[tuple[str, str]], fraction: float = 0.1) -> set[str]:
    return {one.example["text"] for one in split_by_hash(candidates(*rows), fraction, by_label=True).test}


def test_every_label_is_tested_in_proportion_and_the_rarest_at_least_once():
    rows = [(f"{label} {n}", label) for label, number in (("big", 4000), ("rare", 5), ("pair", 2)) for n in range(number)]
    rows.append(("alone", "single"))
    found = chosen(rows)
    for label in ("big", "rare", "pair"):
        below = {text for text, one in rows if one == label and share(text) < 0.1}
        expected = below or {min((text for text, one in rows if one == label), key=share)}
        assert {text for text in found if text.startswith(label)} == expected
    assert 320 < sum(text.startswith("big") for text in found) < 480
    assert "alone" not in found, "a single example is trained on"


def test_a_label_is_never_only_chosen():
    below = [text for text in (f"low {n}" for n in range(200)) if share(text) < 0.1][:3]
    assert chosen([(text, "low") for text in below]) == set(below) - {max(below, key=share)}
    assert chosen([(below[0], "low")]) == set()


def test_an_example_stays_where_it_is_while_others_come():
    rows = [(f"text {n}", f"label {n % 7}") for n in range(3000)]
    before, after = chosen(rows[:1000]), chosen(rows)
    assert after & {text for text, _ in rows[:1000]} == before
    assert len(after) > len(before) > 70


def test_without_labels_only_the_hash_decides():
    rows = [("one", "a"), ("two", "a"), ("three", "b")]
    splits = split_by_hash(candidates(*rows), 1e-9, by_label=False)
    assert (len(splits.train), splits.test) == (3, [])
    assert [one.id for one in splits.train] == sorted(one.id for one in splits.train)


def test_what_the_test_file_has_is_not_trained_on():
    train, test = candidates(("one", "a"), ("two", "b"), ("three", "a")), candidates(("two", "a"), ("four", "b"))
    counts = Counts()
    splits = split_by_file(train, test, asked(test_path="t.jsonl"), counts)
    assert {one.example["text"] for one in splits.train} == {"one", "three"}
    assert {one.example["text"] for one in splits.test} == {"two", "four"}
    assert counts.dropped == {"in_test_file": 1}


def test_a_test_file_inside_the_training_data_is_refused_with_numbers():
    train, test = candidates(*((str(n), "a") for n in range(9))), candidates(("1", "a"), ("2", "a"), ("x", "b"))
    with pytest.raises(DataError) as found:
        split_by_file(train, test, asked(test_path="t.jsonl"), Counts())
    assert str(found.value) == (
        "finetune[topic].examples.test_path='t.jsonl' is an evaluation set inside the training data: 2 of its 3 examples are "
        "in finetune[topic].examples.path='a.jsonl' too; name training files that do not have it, or remove "
        "finetune[topic].examples.test_path so that test_fraction splits one off"
    )
