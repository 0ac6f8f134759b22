"""Packing examples of different lengths into few rows, so that little is computed on padding."""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from tasks.data.tokens.examples import IGNORED
from tasks.data.tokens.shards import Batch


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The places of `lengths` in bins that hold `capacity` each: the longest first, each where it leaves the least room.

    Best-fit decreasing takes at most 11/9 of the fewest possible bins and 4 more (Johnson et al., SIAM J. Comput. 3, 1974);
    for packing training text: Ding et al., "Fewer Truncations Improve Language Modeling", 2024. Every length goes into one bin,
    whole. The same lengths give the same bins. Raises ValueError for a length outside of [1, capacity].
    """
    if wrong := [length for length in lengths if not 1 <= length <= capacity]:
        raise ValueError(f"lengths must be in [1, {capacity}], and one is {wrong[0]}")
    bins: list[list[int]] = []
    # The bins that have a certain room left, and the rooms that some bin has, sorted: at most `capacity` of them.
    with_room: dict[int, list[int]] = {}
    rooms: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[place]
        at = bisect_left(rooms, length)
        if at == len(rooms):
            room, number = capacity, len(bins)
            bins.append([])
        else:
            room = rooms[at]
            number = with_room[room].pop()
            if not with_room[room]:
                del rooms[at]
        bins[number].append(place)
        left = with_room.setdefault(room - length, [])
        if not left:
            insort(rooms, room - length)
        left.append(number)
    return bins


def pack(input_ids: Sequence[np.ndarray], labels: Sequence[np.ndarray], pad_id: int) -> Batch:
    """Examples, each with labels at the places of their own tokens, packed into rows as long as the longest of them.

    So there is never more to compute than with a padded row for each. The labels of the batch are shifted: the target of each
    position; position_ids count from 0 in each example, and in the padding behind the last one.
    """
    lengths = [len(ids) - 1 for ids in input_ids]
    bins = best_fit(lengths, max(lengths))
    shape = (len(bins), max(lengths))
    batch = Batch(np.full(shape, pad_id), np.full(shape, IGNORED), np.zeros(shape, dtype=np.int64))
    for row, places in enumerate(bins):
        start = 0
        for place in places:
            end = start + lengths[place]
            batch.input_ids[row, start:end] = input_ids[place][:-1]
            batch.labels[row, start:end] = labels[place][1:]
            batch.position_ids[row, start:end] = np.arange(lengths[place])
            start = end
        batch.position_ids[row, start:] = np.arange(shape[1] - start)
    return batch
