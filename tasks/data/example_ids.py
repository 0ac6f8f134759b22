"""Which examples a set has, by their ids, and how many of them an earlier set did not have. Standard library only."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from tasks.record.errors import IntegrityError

FILES = ("train.jsonl", "test.jsonl")


def new_examples(old: Path, new: Path) -> int:
    """How many examples the stage folder `new` has, to train or to test on, that the earlier one `old` had on neither side.

    An id is the hash of the text, or of prompt and answer: a label that was corrected makes no new example, and what
    `max_examples` left out is in neither folder. Raises IntegrityError for a set that cannot be read.
    """
    return len(example_ids(new) - example_ids(old))


def example_ids(folder: Path) -> set[str]:
    found = set()
    for name in FILES:
        path = folder / name
        try:
            with path.open(encoding="utf-8") as file:
                found |= {json.loads(line)["id"] for line in file}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{path} cannot be read ({error}); prepare it again") from None
    return found


def ids_sha256(ids: Iterable[str]) -> str:
    """One digest for a set of examples, whatever side they are on."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
