"""Which templates were dropped: counted by name, in a table that does not grow, in the kernels and beyond them."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tasks.data.wikitext.bytes import inner
from tasks.data.wikitext.words import TEMPLATE, folded, word_hash

MAX_NAMES = 2048
PLACES = 4096
LONGEST_NAME = 64
NAMES, BYTES, OTHERS, OTHERS_INSIDE = range(4)
OTHER_NAMES = "(other names)"
"""Where those are counted that came when the table was full."""
COUNTED = np.dtype([("key", np.int64), ("begin", np.int64), ("end", np.int64), ("number", np.int64), ("inside", np.int64)])

Dropped = dict[str, list[int]]
"""By the name of a template how many were dropped, and how many of them stood inside a sentence."""


class Census(NamedTuple):
    table: np.ndarray
    """(PLACES,) COUNTED, open addressing by the hash of a name; names of the same 64 bits would be counted together."""
    names: np.ndarray
    """uint8: the names one after the other."""
    totals: np.ndarray
    """int64: how many names there are, their bytes, and what was counted when there was no more room."""


def new_census() -> Census:
    return Census(np.zeros(PLACES, COUNTED), np.zeros(MAX_NAMES * LONGEST_NAME, np.uint8), np.zeros(4, np.int64))


NO_CENSUS = Census(np.zeros(0, COUNTED), np.zeros(0, np.uint8), np.zeros(4, np.int64))
"""Counts nothing."""


@inner
def note(census: Census, out: np.ndarray, begin: int, end: int, inside: bool) -> None:
    """Count the template named out[begin:end]."""
    table, names, totals = census.table, census.names, census.totals
    if table.size == 0 or begin == end:
        return
    key = word_hash(out, begin, end, TEMPLATE)
    place = (key >> 20) & (table.size - 1)
    while table[place].key != 0 and table[place].key != key:
        place = (place + 1) & (table.size - 1)
    if table[place].key == 0:
        if totals[NAMES] == MAX_NAMES or end - begin > LONGEST_NAME:
            totals[OTHERS] += 1
            totals[OTHERS_INSIDE] += inside
            return
        at = totals[BYTES]
        for j in range(begin, end):
            names[at + j - begin] = folded(out[j], TEMPLATE)
        table[place].key, table[place].begin, table[place].end = key, at, at + end - begin
        totals[NAMES] += 1
        totals[BYTES] = at + end - begin
    table[place].number += 1
    table[place].inside += inside


def add(census: Census, dropped: Dropped) -> None:
    """Add what was counted to `dropped`."""
    for entry in census.table[census.table["key"] != 0]:
        name = census.names[entry["begin"] : entry["end"]].tobytes().decode(errors="replace")
        merge(dropped, [(name, [int(entry["number"]), int(entry["inside"])])])
    if census.totals[OTHERS]:
        merge(dropped, [(OTHER_NAMES, census.totals[OTHERS : OTHERS_INSIDE + 1].tolist())])


def merge(dropped: Dropped, more: Iterable[tuple[str, list[int]]]) -> None:
    for name, (number, inside) in more:
        so_far = dropped.setdefault(name, [0, 0])
        so_far[0] += number
        so_far[1] += inside
