"""What of a folder or a pattern is read, and what is passed over, by name and with the reason. Standard library only."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PassedOver = dict[str, str]
"""Names, relative to the folder that was named, and why each is not read; a folder ends with a slash."""

HIDDEN, LINK = "hidden", "a link to a folder, which is not followed"
NO_FILE = "a folder, a link that leads nowhere, or no plain file"
OTHER_SUFFIX = "its ending is none of this source's; name it, as a file or by a pattern, if it is meant"
NUM_NAMES = 20
"""So many of a kind are named; the others are counted."""
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""The words by which data sets of the hub call their splits (`datasets.data_files.SPLIT_KEYWORDS`)."""
SPLIT_OF_WORD = {word: split for split, words in SPLITS.items() for word in words}
SHARD = re.compile(r"-\d{5}-of-\d{5}\b")
"""In the names that `datasets` gives: `test-00000-of-00001.parquet`."""


def walk(folder: Path) -> tuple[list[Path], PassedOver]:
    """The files below a folder that are neither hidden nor behind a link to another folder, sorted, and what else is there."""
    found: list[Path] = []
    passed_over: PassedOver = {}
    for place, folders, files in os.walk(folder):
        below = Path(place)
        for name in list(folders):
            why = HIDDEN if name.startswith(".") else LINK if (below / name).is_symlink() else None
            if why is not None:
                folders.remove(name)
                passed_over[f"{(below / name).relative_to(folder).as_posix()}/"] = why
        for name in files:
            if name.startswith(".") or not (below / name).is_file():
                passed_over[(below / name).relative_to(folder).as_posix()] = HIDDEN if name.startswith(".") else NO_FILE
            else:
                found.append(below / name)
    return sorted(found), passed_over


def split_of(name: str) -> str | None:
    """The split that a name says: by a folder, or by the first or last word of the file's name; None for no word of a split."""
    *folders, file = name.lower().split("/")
    words = [word for word in re.split(r"[-_. ]+", SHARD.sub("", file.partition(".")[0]) or file) if word]
    last = file.split(".")[1:2]  # `wiki.train.txt`
    candidates = [*words[:1], *words[-1:], *last, *reversed(folders)]
    return next((SPLIT_OF_WORD[word] for word in candidates if word in SPLIT_OF_WORD), None)


def held_back(names: Sequence[str], in_folder: bool) -> PassedOver:
    """Those that are a test or validation split, and why: where there is a training split beside them, or by the hub's names.

    By a pattern that names them alone they are meant.
    """
    splits = {name: split_of(name) for name in names}
    beside = "train" in splits.values()
    return {
        name: f"the {split} split, which is not trained on; name it alone, as a file or by a pattern, if it is meant"
        for name, split in splits.items()
        if split not in (None, "train") and (beside or (in_folder and SHARD.search(name)))
    }


def of_suffixes(names: Iterable[Any], suffixes: tuple[str, ...] | None) -> list[Any]:
    """Those with one of the suffixes, in capitals or not; all of them for None."""
    return [name for name in names if suffixes is None or str(name).lower().endswith(suffixes)]


def by_reason(passed_over: PassedOver) -> list[dict[str, Any]]:
    """For cards and logs: each reason with how many it is about and the first of their names."""
    reasons = sorted(set(passed_over.values()))
    names = {reason: sorted(name for name, why in passed_over.items() if why == reason) for reason in reasons}
    return [{"reason": reason, "number": len(found), "names": found[:NUM_NAMES]} for reason, found in names.items()]


def passed_over_sentence(of: str, entry: dict[str, Any]) -> str:
    """An entry of `by_reason` in words; `of` says what it is a part of, such as `data.path='texts'`."""
    more = entry["number"] - len(entry["names"])
    return f"{of}: not read: {', '.join(entry['names'])}{f' and {more:,} more' if more else ''} ({entry['reason']})"
