"""Finding any of a few phrases with one table look-up a byte (Aho and Corasick 1975); letters of ASCII match in either case."""

from collections import deque
from typing import NamedTuple

import numpy as np

from tasks.data.kernels.kernel import kernel

BYTES = 256


class PhraseTable(NamedTuple):
    """The automaton: both arrays are read-only, so that a kernel is compiled for one kind of array."""

    following: np.ndarray
    """(states * 256,) int32: the next state, already multiplied by 256, for a state and a byte."""
    found: np.ndarray
    """(states,) int64: the bits of the phrases that end in a state."""


def phrase_table(phrases: dict[str, int]) -> PhraseTable:
    """The automaton that sets the bits `phrases[phrase]` where a phrase, in lower case, ends."""
    children: list[dict[int, int]] = [{}]
    found = [0]
    for phrase, bits in phrases.items():
        state = 0
        for byte in phrase.encode():
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                found.append(0)
            state = children[state][byte]
        found[state] |= bits
    following = np.zeros((len(children), BYTES), dtype=np.int32)
    fallback = [0] * len(children)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        following[state] = following[fallback[state]]
        for byte, child in children[state].items():
            fallback[child] = int(following[fallback[state], byte]) if state else 0
            found[child] |= found[fallback[child]]
            following[state, byte] = child
            queue.append(child)
    following[:, ord("A") : ord("Z") + 1] = following[:, ord("a") : ord("z") + 1]
    table = PhraseTable(following.ravel() * BYTES, np.array(found, dtype=np.int64))
    for array in table:
        array.flags.writeable = False
    return table


@kernel(nogil=True)
def phrases_in(text: np.ndarray, phrases: PhraseTable) -> np.int64:
    """The bits of all phrases that occur in `text`, UTF-8."""
    following, found = phrases.following, phrases.found
    state, bits = np.int64(0), np.int64(0)
    for at in range(len(text)):
        state = np.int64(following[state + text[at]])
        bits |= found[state >> 8]
    return bits
