"""Each text once, and who is frozen for evaluation. Functions of the examples' hashes alone: the order of rows does not matter.

(Under the policy `first` it does, as that is what is asked for.)
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tasks.data.documents.cleaning import Counts, is_held_out
from tasks.data.example_rows import Asked, Candidate
from tasks.record.errors import DataError

MAX_INSIDE = 0.5
"""A test set of which more is in the training data as well was not kept apart from it."""


@dataclass
class Splits:
    """Sorted by id."""

    train: list[Candidate] = field(default_factory=list)
    test: list[Candidate] = field(default_factory=list)

    def label_counts(self) -> tuple[Counter[str], Counter[str]]:
        """Of train and test."""
        return Counter(one.label for one in self.train), Counter(one.label for one in self.test)


def settle(candidates: Iterable[Candidate], asked: Asked, counts: Counts) -> list[Candidate]:
    """Each example once, with the one label that the policy `on_conflict` gives it; what goes is counted by reason.

    Raises DataError for the first text with two labels under the policy `fail`.
    """
    policy = asked.examples.on_conflict
    found: dict[str, dict[str, tuple[Candidate, int]]] = {}
    for candidate in candidates:
        counts.read += 1
        if candidate.reason is not None:
            counts.dropped[candidate.reason] += 1
            continue
        same = found.setdefault(candidate.id, {})
        if policy == "fail" and same and candidate.label not in same:
            raise conflict(next(iter(same.values()))[0], candidate, asked)
        first, number = same.get(candidate.label, (candidate, 0))
        same[candidate.label] = first, number + 1
    kept = []
    for same in found.values():
        label = chosen_label({label: number for label, (_, number) in same.items()}, policy)
        total = sum(number for _, number in same.values())
        equal = 0 if label is None else same[label][1]
        counts.dropped.update(conflicting_label=total - equal, duplicate=max(0, equal - 1))
        if label is not None:
            kept.append(same[label][0])
    return kept


def chosen_label(numbers: dict[str, int], policy: str) -> str | None:
    """Of labels in the order in which they came, with how often each did; None where no example is to be kept."""
    if len(numbers) == 1 or policy == "first":
        return next(iter(numbers))
    most = max(numbers.values())
    frequent = [label for label, number in numbers.items() if number == most]
    return frequent[0] if policy == "majority" and len(frequent) == 1 else None


def conflict(first: Candidate, second: Candidate, asked: Asked) -> DataError:
    return DataError(
        f"{second.where} has label {second.label!r}, and {first.where} has the same text with label {first.label!r}; correct "
        f"one of them, or set {asked.section}.on_conflict to 'drop_all', 'majority' or 'first'"
    )


def split_by_hash(candidates: list[Candidate], fraction: float, by_label: bool) -> Splits:
    """The share of all hashes below `fraction` is the test set, so that an example stays where it is while others come.

    With `by_label` a label has something on both sides: if none of its two or more examples is below, the one with the smallest
    hash is tested on, and if all are, the one with the largest is trained on. A label of one example is trained on.
    """
    test = {one.id for one in candidates if is_held_out(one.split_digest, fraction)}
    if by_label:
        groups: dict[str, list[Candidate]] = {}
        for one in candidates:
            groups.setdefault(one.label, []).append(one)
        for group in groups.values():
            group.sort(key=lambda one: one.split_digest)
            num_tested = sum(one.id in test for one in group)
            if num_tested == 0 and len(group) > 1:
                test.add(group[0].id)
            elif num_tested == len(group):
                test.remove(group[-1].id)
    return sorted_splits([one for one in candidates if one.id not in test], [one for one in candidates if one.id in test])


def split_by_file(train: list[Candidate], test: list[Candidate], asked: Asked, counts: Counts) -> Splits:
    """A test set of its own. What training has in common with it (text or prompt) is taken out of training, and counted.

    Raises DataError where most of the test set is in the training data: a model would be measured on what it has seen.
    """
    trained, tested = {one.split_digest for one in train}, {one.split_digest for one in test}
    inside = sum(one.split_digest in trained for one in test)
    if inside > MAX_INSIDE * len(test):
        raise DataError(
            f"{asked.shown('test_path')} is an evaluation set inside the training data: {inside:,} of its {len(test):,} "
            f"examples are in {asked.shown('path')} too; name training files that do not have it, or remove "
            f"{asked.section}.test_path so that test_fraction splits one off"
        )
    left = [one for one in train if one.split_digest not in tested]
    counts.dropped["in_test_file"] += len(train) - len(left)
    return sorted_splits(left, test)


def sorted_splits(train: list[Candidate], test: list[Candidate]) -> Splits:
    return Splits(*(sorted(side, key=lambda one: one.id) for side in (train, test)))
